/** What a TIFF says of its samples, which decoders turn into bytes in ways of their own. */

const [SUBFILE, BITS, PHOTOMETRIC, SAMPLES_PER_PIXEL, EXTRA_SAMPLES, SAMPLE_FORMAT] = [254, 258, 262, 277, 338, 339];
/** Values of a pixel by what they mean together (TIFF 6.0, 262): gray, colours, places of a palette, a mask, CMYK. */
const COLOURS: Readonly<Record<number, number>> = { 0: 1, 1: 1, 2: 3, 3: 1, 4: 1, 5: 4, 6: 3, 8: 3 };
/** Bits of a value that decoders read. */
const READ_BITS = [1, 2, 4, 8, 16];
const FORMATS = ['whole numbers', 'signed whole numbers', 'floating-point numbers', 'untyped data', 'complex numbers'];
/** Bytes of a value by its type: BYTE, SHORT, LONG. */
const TYPE_BYTES: Readonly<Record<number, 1 | 2 | 4>> = { 1: 1, 3: 2, 4: 4 };

const MOST_ENTRIES = 65_535;
const MOST_DIRECTORIES = 1000;

export interface TiffSamples {
  bits: number;
  /** 1 for whole numbers without a sign, 2 with one, 3 for floating point. */
  format: number;
  /** What lies beside gray or colour: 0 unspecified, as what the file does not tell of is, 1 and 2 alpha. */
  extra: readonly number[];
  /** Whether other images follow, that are no smaller versions of the first or masks of it. */
  isStack: boolean;
}

/** Of the first image of a TIFF in its classic form (TIFF 6.0, 2) or as BigTIFF; undefined for what is none. */
export function tiffSamples(bytes: Buffer): TiffSamples | undefined {
  const order = bytes.toString('latin1', 0, 4);
  const isBig = order === 'II+\0' || order === 'MM\0+';
  if (bytes.length < 16 || !(isBig || order === 'II*\0' || order === 'MM\0*')) return undefined;
  const little = order.startsWith('I');
  const number = (at: number, size: 1 | 2 | 4 | 8): number => {
    if (at + size > bytes.length) return 0;
    if (size === 8) return Number(little ? bytes.readBigUInt64LE(at) : bytes.readBigUInt64BE(at));
    return little ? bytes.readUIntLE(at, size) : bytes.readUIntBE(at, size);
  };
  // Bytes of a place or a count, of the number of entries, and of an entry.
  const [place, counted, each] = isBig ? ([8, 8, 20] as const) : ([4, 2, 12] as const);
  const first = number(isBig ? 8 : 4, place);
  const entriesOf = (directory: number): number => Math.min(number(directory, counted), MOST_ENTRIES);
  const next = (directory: number): number => number(directory + counted + each * entriesOf(directory), place);
  const values = (tag: number, directory = first): number[] => {
    for (let i = 0; i < entriesOf(directory); i++) {
      const entry = directory + counted + each * i;
      const size = TYPE_BYTES[number(entry + 2, 2)];
      if (number(entry, 2) !== tag || size === undefined) continue;
      const count = Math.min(number(entry + 4, place), 16);
      const field = entry + 4 + place;
      const start = count * size <= place ? field : number(field, place);
      return Array.from({ length: count }, (_, n) => number(start + n * size, size));
    }
    return [];
  };
  let isStack = false;
  for (let at = next(first), n = 1; at > 0 && at < bytes.length && n < MOST_DIRECTORIES && !isStack; at = next(at), n++)
    isStack = ((values(SUBFILE, at)[0] ?? 0) & 5) === 0;
  const extra = extraOf(values(EXTRA_SAMPLES), values(SAMPLES_PER_PIXEL)[0], values(PHOTOMETRIC)[0]);
  return { bits: values(BITS)[0] ?? 1, format: values(SAMPLE_FORMAT)[0] ?? 1, extra, isStack };
}

/** What lies beside the colours: as many are unspecified as the file has, and does not tell of. */
function extraOf(told: readonly number[], samples = 1, photometric = -1): number[] {
  const untold = samples - (COLOURS[photometric] ?? samples) - told.length;
  return [...told, ...new Array<number>(Math.max(0, untold)).fill(0)];
}

/**
 * Samples that are one byte each, or two whose upper one is taken, have one meaning as pixels; nobody says what is
 * black and white of others. @throws Error saying what the samples are and what to do.
 */
export function requirePixels({ bits, format, extra }: TiffSamples): void {
  if (format !== 1 || bits > 16)
    throw new Error(
      `expected whole numbers of up to 16 bits in a TIFF, got ${FORMATS[format - 1] ?? 'unknown numbers'} of ` +
        `${bits} bits: scale them to 8 bits, for nothing says which are black and white`,
    );
  if (!READ_BITS.includes(bits))
    throw new Error(
      `expected whole numbers of ${READ_BITS.join(', ')} bits in a TIFF, got ${bits} bits: scale it to 16 bits`,
    );
  if (extra.length > 1)
    throw new Error(
      `expected gray or RGB with at most one more value per pixel in a TIFF, got ${extra.length}: choose three ` +
        'channels',
    );
}

/** Whether the value beside the colour is something else than alpha, such as infrared. */
export const hasForeignChannel = ({ extra }: TiffSamples): boolean => extra.length === 1 && extra[0] === 0;
