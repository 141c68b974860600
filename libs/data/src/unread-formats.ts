/** Formats of pictures that are not read, told by their bytes or their names, so that a refusal says what was found. */

/** A file of these brands is HEIC, unless it is AVIF as well: both lie in the same container (ISO/IEC 23008-12). */
const HEIC_BRANDS = ['heic', 'heix', 'heim', 'heis', 'hevc', 'hevx', 'hevm', 'hevs'];
/** Brands of one box that are looked at: files have two to six. */
const MOST_BRANDS = 32;

const BY_ENDING: readonly (readonly [RegExp, string])[] = [
  [/\.(heic|heif|hif)$/i, 'HEIC'],
  [/\.jxl$/i, 'JPEG XL'],
  [/\.(jp2|j2k|jpf|jpx)$/i, 'JPEG 2000'],
  [/\.(cr2|cr3|nef|arw|dng|raf|orf|rw2)$/i, 'a raw photograph'],
  [/\.psd$/i, 'a Photoshop document'],
  [/\.svgz?$/i, 'SVG'],
  [/\.(dcm|nii)$/i, 'a medical image'],
];

/** What the ending of a name says; undefined for what is none of these. */
export const formatOfName = (name: string): string | undefined => BY_ENDING.find(([ending]) => ending.test(name))?.[1];

/** What the first bytes of a file say; undefined for what is none of these. */
export function formatOfBytes(bytes: Buffer): string | undefined {
  if (bytes.toString('latin1', 4, 8) === 'ftyp') return isHeic(bytes) ? 'HEIC' : undefined;
  const start = bytes.toString('latin1', 0, 12);
  if (start.startsWith('\xff\x0a') || start === '\0\0\0\fJXL \r\n\x87\n') return 'JPEG XL';
  if (start.startsWith('\xff\x4f\xff\x51') || start === '\0\0\0\fjP  \r\n\x87\n') return 'JPEG 2000';
  if (isSvg(bytes)) return 'SVG';
  return start.startsWith('8BPS') ? 'a Photoshop document' : undefined;
}

/** A drawing is no picture whatever it is called: it has no pixels, and may name other files. */
const isSvg = (bytes: Buffer): boolean =>
  /^\ufeff?\s{0,100}<(?:svg|\?xml|!--|!doctype)/i.test(bytes.toString('utf8', 0, 128)) &&
  /<svg[\s>]/i.test(bytes.toString('latin1', 0, 4096));

function isHeic(bytes: Buffer): boolean {
  const end = Math.min(bytes.readUInt32BE(0), bytes.length, 16 + 4 * MOST_BRANDS);
  const brands: string[] = [bytes.toString('latin1', 8, 12)];
  for (let at = 16; at + 4 <= end; at += 4) brands.push(bytes.toString('latin1', at, at + 4));
  return brands.some((brand) => HEIC_BRANDS.includes(brand)) && !brands.includes('avif');
}

/** Says of a picture what was expected, what was found, where that can be told, and what to do. */
export const refusalOf = (found: string | undefined): string =>
  `expected JPEG, PNG, WebP, GIF, TIFF, AVIF, BMP or PPM${found ? `, found ${found}` : ''}: write it as PNG or JPEG ` +
  '(magick mogrify -format png)';
