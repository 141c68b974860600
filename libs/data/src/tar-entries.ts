/** A tar as a stream of its entries. */
import { tooLarge, type Bytes } from './containers.js';
import { BLOCK, described, EXTENDING, Extensions, isHeader, numberAt, typeOf } from './tar-header.js';
import { sparseOf, unfolded } from './tar-sparse.js';

export interface TarEntry {
  name: string;
  /** Or, for all else, why it gives no file. */
  type: 'file' | 'directory' | 'link' | 'symlink' | (string & {});
  linkName: string;
  /** Bytes of the file, with the holes of a sparse one. */
  size: number;
  /** Bytes of the file, which are to be asked for before the next entry is. */
  read(): Promise<Bytes>;
}

/** What is read is no whole tar. */
export class DamagedTar extends Error {}

/** Bytes of a header that says more of the entry behind it. */
const MOST_EXTENDING_BYTES = 4 * 2 ** 20;

/**
 * The entries in their order; bytes that nobody reads are passed over. Another archive behind the end of this one is
 * read too, anything else there is not.
 * @throws DamagedTar
 */
export async function* tarEntries(source: AsyncIterable<Uint8Array>): AsyncGenerator<TarEntry> {
  const stream = new Taken(source);
  const extensions = new Extensions();
  let hasEnded = false;
  for (;;) {
    const block = await stream.block();
    if (!block) return;
    if (isEmpty(block)) hasEnded = true;
    else if (isHeader(block)) {
      hasEnded = false;
      const entry = await entryAt(block, stream, extensions);
      if (!entry) continue;
      yield entry;
      await entry.pass();
    } else if (hasEnded) await stream.drain();
    else throw new DamagedTar('Invalid tar header. Maybe the tar is corrupted or it needs to be gunzipped?');
  }
}

const isEmpty = (block: Buffer): boolean => block.every((byte) => byte === 0);

/** Undefined for a header that is not of an entry. */
async function entryAt(
  block: Buffer,
  stream: Taken,
  extensions: Extensions,
): Promise<(TarEntry & { pass: () => Promise<void> }) | undefined> {
  const letter = typeOf(block);
  if (EXTENDING.includes(letter)) {
    const size = numberAt(block, 124, 12);
    if (!(size <= MOST_EXTENDING_BYTES)) throw new DamagedTar('Header exceeds max size');
    extensions.add(letter, await stream.take(size));
    await stream.pass(paddingOf(size));
    return undefined;
  }
  const extended = extensions.take();
  const { stored, ...entry } = described(block, extended);
  const sparse = await sparseOf(block, extended.records, () => stream.take(BLOCK));
  if (!(stored >= 0)) throw new DamagedTar('Invalid header');
  // A sparse file whose size can't be made out is damaged, and the archive is not.
  const size = sparse && sparse.size >= 0 ? sparse.size : stored;
  let left = stored;
  const take = async (length: number): Promise<Buffer> => {
    const bytes = await stream.take(Math.min(length, left));
    left -= bytes.length;
    return bytes;
  };
  const pass = () => stream.pass(left + paddingOf(stored));
  // What the archive calls itself.
  if (letter === 'V') return void (await pass());
  const read = async (): Promise<Bytes> => tooLarge(size) ?? (sparse ? unfolded(sparse, take) : take(size));
  return { ...entry, size, read, pass };
}

/** What fills up the last block of so many bytes. */
const paddingOf = (size: number): number => (BLOCK - (size % BLOCK)) % BLOCK;

const endsEarly = (): DamagedTar => new DamagedTar('Unexpected end of data');

/** A stream of bytes, of which one takes as many as one needs. */
class Taken {
  private readonly chunks: AsyncIterator<Uint8Array>;
  private held: Buffer[] = [];
  private length = 0;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.chunks = source[Symbol.asyncIterator]();
  }

  /** Undefined at the end. */
  async block(): Promise<Buffer | undefined> {
    return this.length === 0 && !(await this.more()) ? undefined : this.take(BLOCK);
  }

  /** @throws DamagedTar where the stream ends within them */
  async take(length: number): Promise<Buffer> {
    while (this.length < length) if (!(await this.more())) throw endsEarly();
    const all = this.held.length === 1 ? this.held[0]! : Buffer.concat(this.held);
    this.hold(all.subarray(length));
    return all.subarray(0, length);
  }

  async pass(length: number): Promise<void> {
    let left = length;
    while (left > this.length) {
      left -= this.length;
      this.hold(Buffer.alloc(0));
      if (!(await this.more())) throw endsEarly();
    }
    await this.take(left);
  }

  /** Passes over the rest, which whatever unpacks it still checks. */
  async drain(): Promise<void> {
    do this.hold(Buffer.alloc(0));
    while (await this.more());
  }

  private async more(): Promise<boolean> {
    for (;;) {
      const next = await this.chunks.next();
      if (next.done) return false;
      const { buffer, byteOffset, byteLength } = next.value;
      if (byteLength === 0) continue;
      this.held.push(Buffer.from(buffer, byteOffset, byteLength));
      this.length += byteLength;
      return true;
    }
  }

  private hold(bytes: Buffer): void {
    this.held = bytes.length ? [bytes] : [];
    this.length = bytes.length;
  }
}
