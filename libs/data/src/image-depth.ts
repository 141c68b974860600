/** Images of 16 bits whose values are of fewer, as microscopes store them: their upper 8 bits are dark. */
import { isPng } from './png.js';
import type { TiffSamples } from './tiff.js';

/** Images of 16 bits, `of` so many, whose values seem to be of so many bits at most. */
export interface DarkImages {
  names: string[];
  bits: number;
  of: number;
}

const DEEP = 16;
/** What cameras of microscopes have. */
const USUAL_BITS = 12;

/** How many bits of 16 are significant, as the file says (of PNG, in its chunk sBIT); undefined for other images. */
export function significantBits(bytes: Buffer, tiff: TiffSamples | undefined): number | undefined {
  if (tiff) return tiff.bits === DEEP ? DEEP : undefined;
  if (!isPng(bytes) || bytes[24] !== DEEP) return undefined;
  for (let at = 8; at + 12 <= bytes.length; at += 12 + bytes.readUInt32BE(at)) {
    const type = bytes.toString('latin1', at + 4, at + 8);
    if (type === 'IDAT') break;
    const size = bytes.readUInt32BE(at);
    // Of gray, gray with alpha, colour, and colour with alpha.
    const colours = size > 2 ? 3 : 1;
    if (type === 'sBIT' && size > 0 && size <= 4) return Math.max(...bytes.subarray(at + 8, at + 8 + colours));
  }
  return DEEP;
}

/**
 * As of how many bits the values of an image look that was stored with 16, of which the upper 8 are `pixels`: undefined
 * where they go beyond these, or the image has other bits.
 */
export function bitsOfDark(pixels: Uint8Array, significant: number | undefined): number | undefined {
  if (significant === undefined) return undefined;
  const bits = significant < DEEP ? significant : USUAL_BITS;
  const end = 2 ** (bits - 8);
  return pixels.every((value) => value < end) ? bits : undefined;
}
