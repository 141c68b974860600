import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import sharp from 'sharp';
import { extract } from 'tar-stream';
import { StackError } from './stack-lock.js';

/** CIFAR-10 (Krizhevsky 2009) as its author publishes it, with the checksum that its page names. */
export const CIFAR10 = {
  url: 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
  md5: 'c32a1d4ab5d03f1284b67883e8d87530',
};

const CLASSES = ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck'];
const SIDE = 32;
/** A label and three planes. */
const RECORD = 1 + 3 * SIDE * SIDE;

/**
 * Fetches the archive, compares it with its checksum and writes `folder/{train,test}/<class>/<n>.png`. A folder that is
 * there is left as it is.
 * @throws StackError when it can't be fetched, or is not what was expected
 */
export async function fetchCifar10(
  folder: string,
  { url, md5 } = CIFAR10,
  log: (line: string) => void = () => {},
): Promise<void> {
  if (existsSync(folder)) return;
  const draft = `${folder}.${process.pid}`;
  await rm(draft, { recursive: true, force: true });
  await mkdir(draft, { recursive: true });
  try {
    const file = path.join(draft, 'archive');
    log('fetching CIFAR-10 (170 MB)');
    const response = await fetch(url).catch((error: unknown) => {
      throw new StackError(
        `CIFAR-10 can't be fetched from ${url} (${error instanceof Error ? error.message : String(error)}): get ` +
          'it elsewhere and give its path',
      );
    });
    if (!response.ok || !response.body)
      throw new StackError(`expected CIFAR-10 at ${url}, got ${response.status}: get it elsewhere and give its path`);
    const hash = createHash('md5');
    await pipeline(
      Readable.fromWeb(response.body as never),
      async function* (chunks: AsyncIterable<Uint8Array>) {
        for await (const chunk of chunks) {
          hash.update(chunk);
          yield chunk;
        }
      },
      createWriteStream(file),
    );
    const found = hash.digest('hex');
    if (found !== md5)
      throw new StackError(
        `expected the archive with md5 ${md5}, got ${found}: the download was damaged or changed and was not used`,
      );
    log('writing its images');
    const archive = extract();
    const reading = pipeline(createReadStream(file), createGunzip(), archive);
    for await (const entry of archive) {
      const name = path.posix.basename(entry.header.name);
      const split = splitOf(name);
      if (!split) {
        entry.resume();
        continue;
      }
      const chunks: Buffer[] = [];
      for await (const chunk of entry) chunks.push(chunk as Buffer);
      await writeRecords(Buffer.concat(chunks), path.join(draft, split), path.basename(name, '.bin'));
    }
    await reading;
    await rm(file);
    await rename(draft, folder);
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

async function writeRecords(records: Buffer, folder: string, batch: string): Promise<void> {
  for (const name of CLASSES) await mkdir(path.join(folder, name), { recursive: true });
  const count = records.length / RECORD;
  if (!Number.isInteger(count))
    throw new StackError(`expected records of ${RECORD} bytes in ${batch}, got ${records.length} bytes`);
  for (let start = 0; start < count; start += 64) {
    await Promise.all(
      Array.from({ length: Math.min(64, count - start) }, async (_, i) => {
        const record = records.subarray((start + i) * RECORD, (start + i + 1) * RECORD);
        const pixels = Buffer.alloc(RECORD - 1);
        for (let place = 0; place < SIDE * SIDE; place++)
          for (let c = 0; c < 3; c++) pixels[place * 3 + c] = record[1 + c * SIDE * SIDE + place]!;
        const image = await sharp(pixels, { raw: { width: SIDE, height: SIDE, channels: 3 } })
          .png()
          .toBuffer();
        await writeFile(
          path.join(folder, CLASSES[record[0]!]!, `${batch}-${String(start + i).padStart(5, '0')}.png`),
          image,
        );
      }),
    );
  }
}

/** Which split a file of the archive is part of; undefined for what holds no images. */
function splitOf(name: string): 'train' | 'test' | undefined {
  if (/^data_batch_\d+\.bin$/.test(name)) return 'train';
  return name === 'test_batch.bin' ? 'test' : undefined;
}
