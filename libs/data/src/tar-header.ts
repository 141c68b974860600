/** What the headers of a tar say of the entry behind them: those of Unix V7, of POSIX with its records, of GNU. */
import { nameOfBytes } from './containers.js';

export const BLOCK = 512;
/** Types of headers that say more of the entry behind them: GNU's long names and POSIX's records. */
export const EXTENDING = 'LNKxXg';
/** Records that hold for all entries behind them; a writer has one of these or two. */
const MOST_SHARED = 1000;

/** Names and values of POSIX's extended headers, in their order. */
export type Records = readonly (readonly [name: string, value: Buffer])[];

export const lastOf = (records: Records, name: string): Buffer | undefined =>
  records.findLast(([each]) => each === name)?.[1];

/** What headers before that of an entry say of it. */
export class Extensions {
  private shared: Records = [];
  private own: Records = [];
  private longName: Buffer | undefined;
  private longLink: Buffer | undefined;

  add(type: string, bytes: Buffer): void {
    if (type === 'g') this.shared = [...new Map([...this.shared, ...recordsOf(bytes)])].slice(-MOST_SHARED);
    else if (type === 'x' || type === 'X') this.own = recordsOf(bytes);
    else if (type === 'K') this.longLink = textIn(bytes);
    else this.longName = textIn(bytes);
  }

  /** Of the entry that comes now, and of none after it but for what is shared. */
  take(): { records: Records; longName: Buffer | undefined; longLink: Buffer | undefined } {
    const { longName, longLink } = this;
    const records = [...this.shared, ...this.own];
    [this.own, this.longName, this.longLink] = [[], undefined, undefined];
    return { records, longName, longLink };
  }
}

/** Lines `length name=value`, with the length of the line. */
function recordsOf(bytes: Buffer): Records {
  const records: [string, Buffer][] = [];
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(' ', at);
    const length = Number(bytes.toString('latin1', at, space));
    const equals = bytes.indexOf('=', space);
    if (space < 0 || !Number.isSafeInteger(length) || length <= 0 || equals < 0 || equals >= at + length) break;
    records.push([bytes.toString('utf8', space + 1, equals), bytes.subarray(equals + 1, at + length - 1)]);
    at += length;
  }
  return records;
}

const TYPES: Readonly<Record<string, string>> = {
  '\0': 'file',
  '0': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'is a character-device, not a file',
  '4': 'is a block-device, not a file',
  '5': 'directory',
  '6': 'is a fifo, not a file',
  '7': 'file',
  D: 'directory',
  M: 'is the rest of a file that begins in another volume of the archive, which is not read: join them',
  S: 'file',
};

/** Name, link and bytes behind the header of an entry. `type`: what it is, or why it gives no file. */
export function described(block: Buffer, { records, longName, longLink }: ReturnType<Extensions['take']>) {
  const isPosix = block.toString('latin1', 257, 263) === 'ustar\0';
  const prefix = isPosix ? textIn(block.subarray(345, 500)) : Buffer.alloc(0);
  const short = textIn(block.subarray(0, 100));
  const full = prefix.length ? Buffer.concat([prefix, Buffer.from('/'), short]) : short;
  // Sparse files have their own name among the records, beside one for programs that don't know them.
  const name = nameOfBytes(lastOf(records, 'GNU.sparse.name') ?? lastOf(records, 'path') ?? longName ?? full);
  const linkName = nameOfBytes(lastOf(records, 'linkpath') ?? longLink ?? textIn(block.subarray(157, 257)));
  const letter = typeOf(block);
  const type = TYPES[letter] ?? `is an entry of type ${JSON.stringify(letter)}, which is not read`;
  return {
    name,
    linkName,
    // Archives of Unix V7 tell folders by their names alone.
    type: type === 'file' && name.endsWith('/') ? 'directory' : type,
    // Nothing lies behind links, devices and folders, whatever size they have.
    stored: '123456'.includes(letter) ? 0 : Number(lastOf(records, 'size')?.toString() ?? numberAt(block, 124, 12)),
  };
}

export const typeOf = (block: Buffer): string => String.fromCharCode(block[156]!);

/** By the sum of its bytes, which old archives have added up with their signs. */
export function isHeader(block: Buffer): boolean {
  let [sum, signed] = [8 * 0x20, 8 * 0x20];
  for (let i = 0; i < BLOCK; i++) {
    if (i >= 148 && i < 156) continue;
    const byte = block[i]!;
    sum += byte;
    signed += byte < 0x80 ? byte : byte - 0x100;
  }
  const claimed = numberAt(block, 148, 8);
  return claimed === sum || claimed === signed;
}

/** In octal digits, or, where it is too large for them, in base 256; NaN for neither. */
export function numberAt(block: Buffer, at: number, length: number): number {
  const field = block.subarray(at, at + length);
  if (field[0]! & 0x80) return field.subarray(1).reduce((value, byte) => value * 0x100 + byte, field[0]! & 0x7f);
  const digits = field.toString('latin1').replaceAll('\0', ' ').trim();
  return /^[0-7]*$/.test(digits) ? Number.parseInt(digits || '0', 8) : Number.NaN;
}

function textIn(bytes: Buffer): Buffer {
  const end = bytes.indexOf(0);
  return end < 0 ? bytes : bytes.subarray(0, end);
}
