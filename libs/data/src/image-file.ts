/** Image files → pixels of one size. */
import type { ImageShape } from '#libs/contracts';
import sharp, { type Sharp } from 'sharp';
import { decodeBmp, isBmp } from './bmp.js';
import type { Payload, RawImage } from './containers.js';
import { bitsOfDark, significantBits } from './image-depth.js';
import { decodeNetpbm, isNetpbm } from './netpbm.js';
import { hasForeignChannel, requirePixels, tiffSamples } from './tiff.js';
import { formatOfBytes, refusalOf } from './unread-formats.js';

// One image at a time on each thread of the pool, instead of many threads on one image.
sharp.concurrency(1);
sharp.cache(false);
// Nothing else that libvips could read is tried on bytes that somebody gave.
sharp.block({ operation: ['VipsForeignLoad'] });
sharp.unblock({
  operation: ['Jpeg', 'Png', 'Webp', 'Nsgif', 'Tiff', 'Heif'].map((format) => `VipsForeignLoad${format}`),
});

interface DecodedImage {
  data: Uint8Array;
  size: string;
  isTurned: boolean;
  isStack: boolean;
  isDeep: boolean;
  darkAs: number | undefined;
}

/**
 * Scaled to cover height x width and cut to its centre, on black where it is transparent; upright, or, with `asStored`,
 * as its pixels lie whatever it says of its orientation: masks say nothing of theirs. With `asStored`, also the
 * image's own size, and whether its EXIF says that it is turned or mirrored. `isStack`: a TIFF of several images, of
 * which this is the first. `isDeep`: of 16 bits a value, of which the upper 8 are taken, whatever is said to be
 * significant of them, as libpng and Pillow have it; `darkAs`: where all are small, of how many bits they seem to be.
 * @throws Error for what is no image, for one of more than `limitInputPixels`, and for numbers that are no pixels.
 */
export async function decodeImage(
  given: Exclude<Payload, Error>,
  { height, width, channels }: ImageShape,
  limitInputPixels: number,
  asStored: boolean,
): Promise<DecodedImage> {
  if ('length' in given && given.length === 0) throw new Error("the file is empty or can't be read");
  const payload = 'data' in given ? given : pixelsOf(given, limitInputPixels);
  const tiff = 'data' in payload ? undefined : tiffSamples(payload);
  if (tiff) requirePixels(tiff);
  const image = await openImage(payload, limitInputPixels, asStored, tiff !== undefined && hasForeignChannel(tiff));
  const significant = 'data' in payload ? undefined : significantBits(payload, tiff);
  const stored = asStored ? await image.metadata() : undefined;
  const { data, info } = await image
    .flatten({ background: 'black' })
    .resize(width, height, { fit: 'cover' })
    .toColourspace(channels === 1 ? 'b-w' : 'srgb')
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true });
  if (info.channels !== channels) throw new Error(`expected ${channels} channels after decoding, got ${info.channels}`);
  return {
    data,
    size: `${stored?.width} x ${stored?.height}`,
    isTurned: (stored?.orientation ?? 1) !== 1,
    isStack: tiff?.isStack === true,
    isDeep: significant !== undefined,
    darkAs: bitsOfDark(data, significant),
  };
}

/** Pixels of a file that libvips does not read; else its bytes. @throws Error for a known format that is not read */
function pixelsOf(bytes: Buffer, limitInputPixels: number): Buffer | RawImage {
  const unread = formatOfBytes(bytes);
  if (unread !== undefined) throw new Error(refusalOf(unread));
  if (isBmp(bytes)) return decodeBmp(bytes, limitInputPixels);
  return isNetpbm(bytes) ? decodeNetpbm(bytes, limitInputPixels) : bytes;
}

async function openImage(
  payload: Exclude<Payload, Error>,
  limitInputPixels: number,
  asStored: boolean,
  hasForeign: boolean,
): Promise<Sharp> {
  if ('data' in payload)
    return sharp(payload.data, {
      raw: { height: payload.height, width: payload.width, channels: payload.channels },
    });
  const image = sharp(payload, { failOn: 'error', limitInputPixels, autoOrient: !asStored });
  // Before it is resized, which weighs colours by what is taken for alpha.
  return hasForeign ? sharp(await image.removeAlpha().png({ compressionLevel: 0 }).toBuffer()) : image;
}
