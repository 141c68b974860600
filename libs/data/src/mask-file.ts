/**
 * PNG files whose values say classes: gray levels, the places of a palette, whatever its colours are, or colours by a
 * table.
 */
import { UNLABELLED, type PrepareDataset } from '#libs/contracts';
import sharp from 'sharp';
import { crc32 } from 'node:zlib';
import { isPng, PNG_SIGNATURE } from './png.js';

const JPEG_START = Buffer.of(0xff, 0xd8, 0xff);
const [GRAY, PALETTE] = [0, 3];

type Masks = NonNullable<PrepareDataset['masks']>;

interface PlainPng {
  png: Buffer;
  /** Bits of a value. */
  depth: number;
}

/**
 * A PNG without what may change its values: with `asColours` with its palette, otherwise without, for decoders give
 * colours for places of a palette, so it is declared to be gray.
 * @throws Error for what is no PNG, or one of more than one value per pixel where `asColours` is not.
 */
function plainPng(bytes: Buffer, asColours: boolean): PlainPng {
  if (bytes.length === 0) throw new Error("the file is empty or can't be read");
  if (!isPng(bytes))
    throw new Error(
      bytes.subarray(0, 3).equals(JPEG_START)
        ? 'expected a PNG, got a JPEG, which does not keep the values of pixels: draw the mask anew as PNG'
        : 'expected a PNG: write the mask as one (magick mogrify -format png)',
    );
  const chunks: Buffer[] = [PNG_SIGNATURE];
  let depth: number | undefined;
  for (let at = 8; at + 12 <= bytes.length;) {
    const end = at + 12 + bytes.readUInt32BE(at);
    const type = bytes.toString('latin1', at + 4, at + 8);
    if (end > bytes.length) throw new Error('the file ends early');
    if (type === 'IHDR') {
      const header = Buffer.from(bytes.subarray(at, end));
      depth = readHeader(header, asColours);
      chunks.push(header);
    } else if (type === 'IDAT' || type === 'IEND' || (asColours && type === 'PLTE'))
      chunks.push(bytes.subarray(at, end));
    at = end;
  }
  if (depth === undefined) throw new Error('expected a PNG with a header');
  return { png: Buffer.concat(chunks), depth };
}

/**
 * Bits of a value. Declares it to be gray unless `asColours`.
 * @throws Error for a damaged header, and for what is no mask.
 */
function readHeader(header: Buffer, asColours: boolean): number {
  if (header.length !== 25 || header.readUInt32BE(21) !== crc32(header.subarray(4, 21)))
    throw new Error('the header is damaged');
  const [depth, colour] = [header[16]!, header[17]!];
  const isColoured = colour !== GRAY && colour !== PALETTE;
  if (asColours) {
    if (depth > 8) throw new Error(`expected a PNG of up to 8 bits for masks.colours, got ${depth} bits`);
    return depth;
  }
  if (isColoured)
    throw new Error(
      `expected a PNG of up to 16 bits, gray or with a palette, got ${depth} bits of colour: masks.colours says ` +
        'which class a colour means',
    );
  header[17] = GRAY;
  header.writeUInt32BE(crc32(header.subarray(4, 21)), 21);
  return depth;
}

/** The values of a mask, one number each: as they are stored, or colours as 0xRRGGBB. */
async function valuesOf(
  bytes: Buffer,
  asColours: boolean,
  limitInputPixels: number,
): Promise<{ values: ArrayLike<number>; width: number; height: number }> {
  const { png, depth } = plainPng(bytes, asColours);
  const image = sharp(png, { failOn: 'error', limitInputPixels });
  if (asColours) {
    const { data, info } = await image
      .removeAlpha()
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    const values = new Uint32Array(info.width * info.height);
    for (let i = 0; i < values.length; i++) values[i] = data.readUIntBE(3 * i, 3);
    return { values, ...info };
  }
  const deep = depth === 16;
  const { data, info } = await image
    .toColourspace(deep ? 'grey16' : 'b-w')
    .raw({ depth: deep ? 'ushort' : 'uchar' })
    .toBuffer({ resolveWithObject: true });
  if (info.channels !== 1) throw new Error(`expected one value per pixel, got ${info.channels}`);
  if (deep) return { values: new Uint16Array(Uint8Array.from(data).buffer), ...info };
  // What a gray level of fewer than 8 bits is multiplied by when it is decoded.
  const scale = 255 / (2 ** depth - 1);
  return { values: scale === 1 ? data : data.map((value) => value / scale), ...info };
}

/** The class id of each value that the spec gives a meaning; `UNLABELLED` for that of no class. */
function idsOfValues({ classes, unlabelled, values, colours }: Masks): Map<number, number> {
  const idOf = (name: string | null): number => (name === null ? UNLABELLED : classes.indexOf(name));
  const ids = new Map<number, number>();
  if (colours) for (const [colour, name] of Object.entries(colours)) ids.set(parseInt(colour.slice(1), 16), idOf(name));
  else if (values) for (const [value, name] of Object.entries(values)) ids.set(Number(value), idOf(name));
  else for (const id of classes.keys()) ids.set(id, id);
  if (unlabelled !== null && !colours) ids.set(unlabelled, UNLABELLED);
  return ids;
}

const MOST_VALUES = 10;

/** Which values a mask has that mean nothing, and what would give them a meaning. */
function strangeValues(values: ArrayLike<number>, ids: ReadonlyMap<number, number>, masks: Masks): string {
  const { classes, unlabelled, colours } = masks;
  const found = new Set<number>();
  for (let i = 0; i < values.length; i++) if (!ids.has(values[i]!)) found.add(values[i]!);
  const strange = [...found].sort((a, b) => a - b);
  const shown = strange.map((value) => (colours ? `#${value.toString(16).padStart(6, '0')}` : String(value)));
  const got =
    shown.slice(0, MOST_VALUES).join(', ') +
    (shown.length > MOST_VALUES ? ` and ${shown.length - MOST_VALUES} more` : '');
  if (colours) return `expected the colours of masks.colours, got ${got}`;
  if (masks.values)
    return `expected the values of masks.values (${[...ids.keys()].sort((a, b) => a - b).join(', ')}), got ${got}`;
  return (
    `expected class ids of 0 to ${classes.length - 1}${unlabelled === null ? '' : ` and ${unlabelled}`}, got ${got}: ` +
    'masks.values says which class a value means'
  );
}

/**
 * Class ids scaled like the image that they belong to: to cover height x width and cut to its centre, each pixel the id
 * of the nearest one; `UNLABELLED` where the spec says that an id is none. Also the mask's own size.
 * @throws Error for values that are no class.
 */
export async function decodeMask(
  bytes: Buffer,
  { height, width }: { height: number; width: number },
  masks: Masks,
  limitInputPixels: number,
): Promise<{ data: Uint8Array; size: string }> {
  const mask = await valuesOf(bytes, masks.colours !== undefined, limitInputPixels);
  const idOf = idsOfValues(masks);
  // What `fit: cover` does to images: scaled by the smaller of both ratios to whole pixels, around the same centre
  // where they become fewer, and half of what is too much taken off at the left and the top.
  const ratio = Math.min(mask.width / width, mask.height / height);
  const nearest = (side: number, target: number): Int32Array => {
    const scaled = Math.round(side / ratio);
    const offset = Math.floor((scaled - target + 1) / 2) + (ratio > 1 ? (side / ratio - scaled) / 2 : 0);
    return Int32Array.from({ length: target }, (_, place) =>
      Math.max(0, Math.min(side - 1, Math.floor((place + offset + 0.5) * ratio))),
    );
  };
  const { values } = mask;
  for (let i = 0; i < values.length; i++)
    if (!idOf.has(values[i]!)) throw new Error(strangeValues(values, idOf, masks));
  const [rows, columns] = [nearest(mask.height, height), nearest(mask.width, width)];
  const ids = new Uint8Array(height * width);
  for (let y = 0, to = 0; y < height; y++) {
    const row = rows[y]! * mask.width;
    for (let x = 0; x < width; x++, to++) ids[to] = idOf.get(values[row + columns[x]!]!)!;
  }
  return { data: ids, size: `${mask.width} x ${mask.height}` };
}
