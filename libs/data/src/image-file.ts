/** Image files → pixels of one size. */
import type { ImageShape } from '#libs/contracts';
import sharp from 'sharp';
import type { Payload } from './containers.js';

// One image at a time on each thread of the pool, instead of many threads on one image.
sharp.concurrency(1);
sharp.cache(false);

/**
 * Scaled to cover height x width and cut to its centre, on black where it is transparent; upright, or, with `asStored`,
 * as its pixels lie whatever it says of its orientation: masks say nothing of theirs. Also the image's own size, with
 * `asStored`.
 * @throws Error for what is no image, and for one of more than `limitInputPixels`.
 */
export async function decodeImage(
  payload: Exclude<Payload, Error>,
  { height, width, channels }: ImageShape,
  limitInputPixels: number,
  asStored: boolean,
): Promise<{ data: Uint8Array; size: string }> {
  if ('length' in payload && payload.length === 0) throw new Error("the file is empty or can't be read");
  const image =
    'data' in payload
      ? sharp(payload.data, { raw: { height: payload.height, width: payload.width, channels: payload.channels } })
      : sharp(payload, { failOn: 'error', limitInputPixels, autoOrient: !asStored });
  const stored = asStored ? await image.metadata() : undefined;
  const { data, info } = await image
    .flatten({ background: 'black' })
    .resize(width, height, { fit: 'cover' })
    .toColourspace(channels === 1 ? 'b-w' : 'srgb')
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true });
  if (info.channels !== channels) throw new Error(`expected ${channels} channels after decoding, got ${info.channels}`);
  return { data, size: `${stored?.width} x ${stored?.height}` };
}
