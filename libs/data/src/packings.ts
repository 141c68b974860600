/** How an archive is compressed, by its first bytes: what it is called says less. */
import { open } from 'node:fs/promises';
import { Duplex, Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import unbzip2 from 'unbzip2-stream';
import xz from 'xz-decompress';
import { InvalidDataError } from './invalid-data.js';

export interface Packing {
  /** What a tar that is packed so is called. */
  name: string;
  /** Fails with an error of zlib, or a `DamagedPacking`, where what is packed is damaged or ends early. */
  unpack: () => NodeJS.ReadWriteStream;
}

export class DamagedPacking extends Error {}

const PACKINGS: readonly [magic: string, packing: Packing | string][] = [
  ['1f8b', { name: 'tar.gz', unpack: () => createGunzip() }],
  ['28b52ffd', { name: 'tar.zst', unpack: () => createZstdDecompress() }],
  ['425a68', { name: 'tar.bz2', unpack: () => Duplex.from(unpackBzip2) }],
  ['fd377a585a00', { name: 'tar.xz', unpack: () => Duplex.from(unpackXz) }],
  ['04224d18', 'LZ4'],
];

/** @throws InvalidDataError for what is not read, with what to do */
export async function packingOf(file: string, shown: string): Promise<Packing | undefined> {
  const handle = await open(file);
  const start = Buffer.alloc(6);
  try {
    await handle.read(start);
  } finally {
    await handle.close();
  }
  const packing = PACKINGS.find(([magic]) => start.toString('hex').startsWith(magic))?.[1];
  if (typeof packing === 'string')
    throw new InvalidDataError(
      `expected ${shown} to be a tar, plain or compressed by gzip, bzip2, xz or Zstandard, it is compressed by ` +
        `${packing}: unpack it and give the folder, or pack it anew as .tar.zst`,
    );
  return packing;
}

/** What may wait to be taken: one block of bzip2 unpacks to up to 46 MB, and has as few as 50 bytes. */
const MOST_WAITING_BYTES = 256 * 2 ** 20;

/** The unpacker is a stream of the first kind, which asks nobody whether he can take more: it is fed by hand. */
async function* unpackBzip2(packed: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const unpacker = unbzip2();
  const unpacked: Buffer[] = [];
  let waiting = 0;
  let fault: Error | undefined;
  unpacker.on('data', (bytes: Buffer) => {
    if ((waiting += bytes.length) > MOST_WAITING_BYTES)
      throw new DamagedPacking(`expected at most ${MOST_WAITING_BYTES} bytes of a piece of bzip2`);
    unpacked.push(bytes);
  });
  unpacker.on('error', (error: Error) => (fault ??= error));
  const take = (): Buffer[] => {
    if (fault instanceof DamagedPacking) throw fault;
    // The unpacker's own words are of its variables.
    if (fault) throw new DamagedPacking('its bzip2 is damaged or ends early');
    waiting = 0;
    return unpacked.splice(0);
  };
  for await (const bytes of packed) {
    unpacker.write(bytes);
    yield* take();
  }
  unpacker.end();
  yield* take();
}

/** By code of XZ Embedded. */
const XZ_FAULTS: Readonly<Record<string, string>> = {
  5: 'begins like none',
  6: 'has options that are not read, such as --check=sha256: pack it anew as .tar.zst',
  7: 'is damaged',
  8: 'ends early',
};

async function* unpackXz(packed: AsyncIterable<Buffer>): AsyncGenerator<Uint8Array> {
  try {
    yield* new xz.XzReadableStream(Readable.toWeb(Readable.from(packed)) as ReadableStream<Uint8Array>);
  } catch (error) {
    const code = /error code (\d+)/.exec((error as Error).message)?.[1];
    if (code === undefined) throw error;
    throw new DamagedPacking(`its xz ${XZ_FAULTS[code] ?? `can't be unpacked (${code})`}`, { cause: error });
  }
}
