/** BMP files, whose pixels lie in them as they are. */
import type { RawImage } from './containers.js';

/** @throws Error for an image of no or of too many pixels */
export function requireSize(width: number, height: number, limitPixels: number): void {
  if (!(width > 0 && height > 0)) throw new Error(`expected an image with pixels, got ${width} x ${height}`);
  if (width * height > limitPixels) throw new Error(`expected at most ${limitPixels} pixels, got ${width} x ${height}`);
}

export const isBmp = (bytes: Buffer): boolean => bytes.toString('latin1', 0, 2) === 'BM' && bytes.length >= 26;

const [UNPACKED, BIT_FIELDS, ALPHA_BIT_FIELDS] = [0, 3, 6];
/** Bytes of the oldest header (OS/2), of the usual one, and of the first that has a mask of alpha. */
const [CORE_HEADER, INFO_HEADER, WITH_ALPHA] = [12, 40, 56];

interface BmpHeader {
  width: number;
  height: number;
  /** Whether rows go from the top down, which a negative height says. */
  isTopDown: boolean;
  bits: number;
  compression: number;
  /** Where the palette begins, and how many bytes each of its colours has. */
  palette: { start: number; colourBytes: number };
  pixels: number;
  /** Bits of red, green, blue and alpha in a pixel of 16 or 32 bits. */
  masks: readonly [number, number, number, number];
}

function bmpHeader(bytes: Buffer): BmpHeader {
  const size = bytes.readUInt32LE(14);
  const pixels = bytes.readUInt32LE(10);
  if (size === CORE_HEADER)
    return {
      width: bytes.readUInt16LE(18),
      height: bytes.readUInt16LE(20),
      isTopDown: false,
      bits: bytes.readUInt16LE(24),
      compression: UNPACKED,
      palette: { start: 14 + size, colourBytes: 3 },
      pixels,
      masks: [0, 0, 0, 0],
    };
  if (size < INFO_HEADER || bytes.length < 14 + size) throw new Error('expected a header of a BMP, it is damaged');
  const bits = bytes.readUInt16LE(28);
  const compression = bytes.readUInt32LE(30);
  const hasMasks = compression === BIT_FIELDS || compression === ALPHA_BIT_FIELDS;
  const hasAlpha = hasMasks && (size >= WITH_ALPHA || compression === ALPHA_BIT_FIELDS);
  // Behind the usual header the masks follow, in longer ones they lie.
  const behind = compression === BIT_FIELDS ? 12 : 16;
  const maskBytes = size === INFO_HEADER && hasMasks ? behind : 0;
  const mask = (i: number): number => (54 + 4 * i + 4 <= bytes.length ? bytes.readUInt32LE(54 + 4 * i) : 0);
  const usual = bits === 16 ? ([0x7c00, 0x3e0, 0x1f, 0] as const) : ([0xff0000, 0xff00, 0xff, 0] as const);
  return {
    width: bytes.readInt32LE(18),
    height: Math.abs(bytes.readInt32LE(22)),
    isTopDown: bytes.readInt32LE(22) < 0,
    bits,
    compression,
    palette: { start: 14 + size + maskBytes, colourBytes: 4 },
    pixels,
    masks: hasMasks ? [mask(0), mask(1), mask(2), hasAlpha ? mask(3) : 0] : usual,
  };
}

/** A field of a pixel, such as its red, as a byte. */
type Field = (pixel: number) => number;

function fieldOf(mask: number): Field {
  if (mask === 0) return () => 255;
  const shift = 31 - Math.clz32(mask & -mask);
  const most = mask >>> shift;
  return (pixel) => Math.round((((pixel & mask) >>> shift) * 255) / most);
}

/**
 * Bitmaps of Windows and OS/2 without compression, on black where they say that they are transparent.
 * @throws Error for what is damaged or compressed.
 */
export function decodeBmp(bytes: Buffer, limitPixels: number): RawImage {
  const header = bmpHeader(bytes);
  const { width, height, bits, compression, pixels, isTopDown } = header;
  requireSize(width, height, limitPixels);
  if (![UNPACKED, BIT_FIELDS, ALPHA_BIT_FIELDS].includes(compression) || ![1, 4, 8, 16, 24, 32].includes(bits))
    throw new Error(`expected a BMP without compression, got method ${compression} of ${bits} bits: write it as PNG`);
  const stride = 4 * Math.ceil((width * bits) / 32);
  if (pixels + stride * height > bytes.length) throw new Error('the file ends early');
  const colourAt = colourReader(bytes, header);
  const data = Buffer.alloc(width * height * 3);
  for (let y = 0, to = 0; y < height; y++) {
    const row = pixels + stride * (isTopDown ? y : height - 1 - y);
    for (let x = 0; x < width; x++, to += 3) data.writeUIntBE(colourAt(row, x), to, 3);
  }
  return { data, width, height, channels: 3 };
}

/** Reads the colour of a place in a row as 0xRRGGBB. */
function colourReader(bytes: Buffer, { bits, palette, masks }: BmpHeader): (row: number, x: number) => number {
  if (bits <= 8) {
    const perByte = 8 / bits;
    return (row, x) => {
      const shift = 8 - bits - (x % perByte) * bits;
      const place = (bytes[row + Math.floor(x / perByte)]! >> shift) & (2 ** bits - 1);
      const at = palette.start + place * palette.colourBytes;
      return bytes.readUIntLE(at, 3);
    };
  }
  if (bits === 24) return (row, x) => bytes.readUIntLE(row + 3 * x, 3);
  const [red, green, blue, alpha] = masks.map(fieldOf) as [Field, Field, Field, Field];
  return (row, x) => {
    const pixel = bits === 16 ? bytes.readUInt16LE(row + 2 * x) : bytes.readUInt32LE(row + 4 * x);
    const opaque = alpha(pixel) / 255;
    const [r, g, b] = [red, green, blue].map((field) => Math.round(field(pixel) * opaque)) as [number, number, number];
    return (r << 16) | (g << 8) | b;
  };
}
