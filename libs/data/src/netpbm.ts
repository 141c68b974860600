/** The portable formats of Netpbm: PBM, PGM and PPM, as text (P1 to P3) or as bytes (P4 to P6). */
import { requireSize } from './bmp.js';
import type { RawImage } from './containers.js';

export const isNetpbm = (bytes: Buffer): boolean => /^P[1-7Ff]\s/.test(bytes.toString('latin1', 0, 3));

const [HASH, NEWLINE] = [0x23, 0x0a];
const isBlank = (byte: number | undefined): boolean => byte !== undefined && /\s/.test(String.fromCharCode(byte));

/** Numbers as text, between which there are blanks and comments. */
class Numbers {
  at = 2;

  constructor(private readonly bytes: Buffer) {}

  /** The next number, of at most `digits`. @throws Error where none follows. */
  next(digits = 9): number {
    const { bytes } = this;
    while (isBlank(bytes[this.at]) || bytes[this.at] === HASH)
      if (bytes[this.at] === HASH) while (this.at < bytes.length && bytes[this.at] !== NEWLINE) this.at++;
      else this.at++;
    const start = this.at;
    while (this.at < Math.min(bytes.length, start + digits) && !isBlank(bytes[this.at])) this.at++;
    const text = bytes.toString('latin1', start, this.at);
    if (text === '') throw new Error('the file ends early');
    if (!/^\d+$/.test(text)) throw new Error(`expected a whole number, got ${text}: the file is damaged`);
    return Number(text);
  }
}

/**
 * Values that end elsewhere than at 255 are scaled to it; a bit of 1 is black.
 * @throws Error for PAM and PFM, for numbers that are no pixels, and for a file that ends early.
 */
export function decodeNetpbm(bytes: Buffer, limitPixels: number): RawImage {
  const kind = bytes[1]! - 48;
  if (!(kind >= 1 && kind <= 6))
    throw new Error(`expected PBM, PGM or PPM, got P${String.fromCharCode(bytes[1]!)} (PAM or PFM): write it as PNG`);
  const numbers = new Numbers(bytes);
  const [width, height] = [numbers.next(), numbers.next()];
  requireSize(width, height, limitPixels);
  const isBits = kind === 1 || kind === 4;
  const most = isBits ? 1 : numbers.next();
  if (!(most > 0 && most < 65_536)) throw new Error(`expected values of up to 65535, got ${most}`);
  const channels = kind % 3 === 0 ? 3 : 1;
  const data = Buffer.alloc(width * height * channels);
  const values =
    kind <= 3 ? () => numbers.next(isBits ? 1 : 9) : valuesOf(bytes, numbers.at + 1, width * channels, most);
  // Also where the last byte of a row has bits of no pixel.
  for (let i = 0; i < data.length; i++) {
    const value = Math.min(255, Math.round((values(i) * 255) / most));
    data[i] = isBits ? 255 - value : value;
  }
  return { data, width, height, channels };
}

/** Reads the value at a place of a body of bytes. @throws Error where it is shorter than its rows. */
function valuesOf(bytes: Buffer, start: number, perRow: number, most: number): (place: number) => number {
  const read = (at: number): number => {
    if (at >= bytes.length) throw new Error('the file ends early');
    return bytes[at]!;
  };
  if (most === 1 && bytes[1] === 0x34) {
    const stride = Math.ceil(perRow / 8);
    return (place) => {
      const x = place % perRow;
      return (read(start + stride * Math.floor(place / perRow) + (x >> 3)) >> (7 - (x & 7))) & 1;
    };
  }
  if (most > 255) return (place) => 256 * read(start + 2 * place) + read(start + 2 * place + 1);
  return (place) => read(start + place);
}
