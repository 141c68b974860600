/** Sparse files of a tar, of which only what is no hole is stored: GNU's old kind, and the three of POSIX archives. */
import type { Bytes } from './containers.js';
import { BLOCK, lastOf, numberAt, typeOf, type Records } from './tar-header.js';

type Piece = readonly [offset: number, length: number];

export interface Sparse {
  /** Bytes of the whole file. */
  size: number;
  /** Where the pieces lie that are stored one behind the other; absent where it begins what is stored. */
  map?: readonly Piece[];
}

/** Pieces of a map: one of a file of 256 MiB that had a hole in every second page would have half of them. */
const MOST_PIECES = 65_536;
const damaged = (): Error => new Error('its map of a sparse file is damaged');

/** @param next blocks behind the header, in which long maps of the old kind go on */
export async function sparseOf(
  header: Buffer,
  records: Records,
  next: () => Promise<Buffer>,
): Promise<Sparse | undefined> {
  if (typeOf(header) === 'S') return { size: numberAt(header, 483, 12), map: await oldMap(header, next) };
  if (!records.some(([name]) => name.startsWith('GNU.sparse.'))) return undefined;
  const text = (name: string) => lastOf(records, `GNU.sparse.${name}`)?.toString('latin1');
  const size = Number(text('realsize') ?? text('size'));
  if (text('major') === '1') return { size };
  const numbers = text('map')?.split(',') ?? piecewise(records);
  return { size, map: pairsOf(numbers.map(Number)) };
}

const piecewise = (records: Records): string[] =>
  records
    .filter(([name]) => /^GNU\.sparse\.(offset|numbytes)$/.test(name))
    .map(([, value]) => value.toString('latin1'));

async function oldMap(header: Buffer, next: () => Promise<Buffer>): Promise<Piece[]> {
  const map: Piece[] = [];
  const add = (block: Buffer, from: number, count: number) => {
    for (let at = from; at < from + 24 * count && map.length <= MOST_PIECES; at += 24)
      if (block[at] !== 0) map.push([numberAt(block, at, 12), numberAt(block, at + 12, 12)]);
  };
  add(header, 386, 4);
  let goesOn = header[482];
  while (goesOn) {
    const block = await next();
    add(block, 0, 21);
    goesOn = block[504];
  }
  return map;
}

/**
 * The file as it was before it was stored, with zeros in its holes.
 * @param take so many of the stored bytes, or what is left of them
 */
export async function unfolded({ size, map }: Sparse, take: (length: number) => Promise<Buffer>): Promise<Bytes> {
  const pieces = map ?? (await mapIn(take));
  if (!(size >= 0) || !pieces || pieces.length > MOST_PIECES) return damaged();
  const whole = Buffer.alloc(size);
  for (const [offset, length] of pieces) {
    if (!(offset >= 0 && length >= 0 && offset + length <= size)) return damaged();
    const piece = await take(length);
    if (piece.length < length) return damaged();
    piece.copy(whole, offset);
  }
  return whole;
}

/** How many pieces there are, and their numbers, as decimal lines that fill up whole blocks. */
async function mapIn(take: (length: number) => Promise<Buffer>): Promise<Piece[] | undefined> {
  const blocks: Buffer[] = [];
  let lines = 0;
  let needed = 1;
  while (lines < needed) {
    const block = await take(BLOCK);
    if (block.length < BLOCK) return undefined;
    blocks.push(block);
    if (blocks.length === 1) needed = 1 + 2 * Number.parseInt(block.toString('latin1'), 10);
    if (!(needed <= 1 + 2 * MOST_PIECES)) return undefined;
    for (let at = block.indexOf('\n'); at >= 0; at = block.indexOf('\n', at + 1)) lines++;
  }
  const numbers = Buffer.concat(blocks).toString('latin1').split('\n').slice(1, needed);
  return pairsOf(numbers.map(Number));
}

const pairsOf = (numbers: readonly number[]): Piece[] =>
  Array.from({ length: Math.floor(numbers.length / 2) }, (_, i) => [numbers[2 * i]!, numbers[2 * i + 1]!]);
