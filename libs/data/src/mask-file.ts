/** PNG files whose values are class ids: gray levels, or the places of a palette, whatever its colours are. */
import { UNLABELLED, type PrepareDataset } from '#libs/contracts';
import sharp from 'sharp';
import { crc32 } from 'node:zlib';

const SIGNATURE = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');
const [GRAY, PALETTE] = [0, 3];

/**
 * A PNG without its palette, and without what else may change values: decoders give colours for places of a palette, so
 * it is declared to be gray. `scale` is what a gray level of fewer than 8 bits is multiplied by when it is decoded.
 * @throws Error for what is no PNG, or one of more than one value per pixel.
 */
function withoutPalette(bytes: Buffer): { png: Buffer; scale: number } {
  if (bytes.length === 0) throw new Error("the file is empty or can't be read");
  if (!bytes.subarray(0, 8).equals(SIGNATURE)) throw new Error('expected a PNG');
  const chunks: Buffer[] = [SIGNATURE];
  let scale = 0;
  for (let at = 8; at + 12 <= bytes.length;) {
    const end = at + 12 + bytes.readUInt32BE(at);
    const type = bytes.toString('latin1', at + 4, at + 8);
    if (end > bytes.length) throw new Error('the file ends early');
    if (type === 'IHDR') {
      const header = Buffer.from(bytes.subarray(at, end));
      if (header.length !== 25 || header.readUInt32BE(21) !== crc32(header.subarray(4, 21)))
        throw new Error('the header is damaged');
      const [depth, colour] = [header[16]!, header[17]!];
      if (depth > 8 || (colour !== GRAY && colour !== PALETTE))
        throw new Error(
          `expected a PNG of up to 8 bits, gray or with a palette, got ${depth} bits of ` +
            `${colour === GRAY ? 'gray' : 'colour'}`,
        );
      header[17] = GRAY;
      header.writeUInt32BE(crc32(header.subarray(4, 21)), 21);
      scale = 255 / (2 ** depth - 1);
      chunks.push(header);
    } else if (type === 'IDAT' || type === 'IEND') chunks.push(bytes.subarray(at, end));
    at = end;
  }
  if (scale === 0) throw new Error('expected a PNG with a header');
  return { png: Buffer.concat(chunks), scale };
}

/**
 * Class ids scaled like the image that they belong to: to cover height x width and cut to its centre, each pixel the id
 * of the nearest one; `UNLABELLED` where the spec says that an id is none. Also the mask's own size.
 * @throws Error for ids that are no class.
 */
export async function decodeMask(
  bytes: Buffer,
  { height, width }: { height: number; width: number },
  { classes, unlabelled }: NonNullable<PrepareDataset['masks']>,
  limitInputPixels: number,
): Promise<{ data: Uint8Array; size: string }> {
  const { png, scale } = withoutPalette(bytes);
  const { data, info } = await sharp(png, { failOn: 'error', limitInputPixels })
    .toColourspace('b-w')
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true });
  if (info.channels !== 1) throw new Error(`expected one value per pixel, got ${info.channels}`);
  // What `fit: cover` does to images: scaled by the smaller of both ratios to whole pixels, around the same centre
  // where they become fewer, and half of what is too much taken off at the left and the top.
  const ratio = Math.min(info.width / width, info.height / height);
  const nearest = (side: number, target: number): Int32Array => {
    const scaled = Math.round(side / ratio);
    const offset = Math.floor((scaled - target + 1) / 2) + (ratio > 1 ? (side / ratio - scaled) / 2 : 0);
    return Int32Array.from({ length: target }, (_, place) =>
      Math.max(0, Math.min(side - 1, Math.floor((place + offset + 0.5) * ratio))),
    );
  };
  const [rows, columns] = [nearest(info.height, height), nearest(info.width, width)];
  const ids = new Uint8Array(height * width);
  for (let y = 0, to = 0; y < height; y++) {
    const row = rows[y]! * info.width;
    for (let x = 0; x < width; x++, to++) {
      const id = data[row + columns[x]!]! / scale;
      ids[to] = id === unlabelled ? UNLABELLED : id;
    }
  }
  const stranger = data.find((value) => value / scale >= classes.length && value / scale !== unlabelled);
  if (stranger !== undefined)
    throw new Error(
      `expected class ids of 0 to ${classes.length - 1}${unlabelled === null ? '' : ` and ${unlabelled}`}, got ` +
        `${stranger / scale}`,
    );
  return { data: ids, size: `${info.width} x ${info.height}` };
}
