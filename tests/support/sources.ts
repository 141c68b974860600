/** Small sources made on the spot, and what is prepared from them. */
import { PrepareDataset, type LogLevel } from '#libs/contracts';
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { crc32, createGzip, createZstdCompress, deflateRawSync } from 'node:zlib';
import sharp from 'sharp';
import { pack } from 'tar-stream';
import { expect } from 'vitest';
import type { z } from 'zod';
import { decodeSound } from '../../libs/data/src/audio-file.js';
import { InvalidDataError } from '../../libs/data/src/invalid-data.js';
import { readNpy } from '../../libs/data/src/npy.js';
import { prepareDataset } from '../../libs/data/src/prepare.js';

export type Files = Record<string, Buffer | Promise<Buffer>>;

export const colour = (r: number, g: number, b: number, size = 8) =>
  sharp({ create: { width: size, height: size, channels: 3, background: { r, g, b } } });

/** Ten images of each of two classes. The red of the first is 0, of the second 200; the green tells them apart. */
export const twoClasses = (): Files =>
  Object.fromEntries(
    ['cats', 'dogs'].flatMap((name, label) =>
      Array.from(
        { length: 10 },
        (_, n) =>
          [
            `${name}/${n}.png`,
            colour(label * 200, n * 20, 50)
              .png()
              .toBuffer(),
          ] as const,
      ),
    ),
  );

export interface ZipOptions {
  flags?: number;
  method?: number;
  claimedSize?: number;
}

/** A zip, deflated; the options go into each entry as they are, true or not. */
export async function zipOf(files: Files, { flags = 0, method = 8, claimedSize }: ZipOptions = {}): Promise<Buffer> {
  const bodies: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [name, given] of Object.entries(files)) {
    const bytes = await given;
    const packed = deflateRawSync(bytes);
    const shared = Buffer.alloc(26);
    shared.writeUInt16LE(20, 0);
    shared.writeUInt16LE(flags | 0x800, 2);
    shared.writeUInt16LE(method, 4);
    shared.writeUInt32LE(crc32(bytes), 10);
    shared.writeUInt32LE(packed.length, 14);
    shared.writeUInt32LE(claimedSize ?? bytes.length, 18);
    shared.writeUInt16LE(Buffer.byteLength(name), 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), shared, Buffer.from(name), packed]);
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE(offset, 10);
    directory.push(Buffer.from('PK\x01\x02\x14\x03', 'latin1'), shared, rest, Buffer.from(name));
    bodies.push(local);
    offset += local.length;
  }
  const listed = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(bodies.length, 8);
  end.writeUInt16LE(bodies.length, 10);
  end.writeUInt32LE(listed.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...bodies, listed, end]);
}

/** Mono or interleaved 16-bit PCM. */
export function wavOf(samples: ArrayLike<number>, sampleRate: number, channels = 1): Buffer {
  const header = Buffer.alloc(44);
  header.write('RIFF', 0, 'latin1');
  header.writeUInt32LE(36 + 2 * samples.length, 4);
  header.write('WAVEfmt ', 8, 'latin1');
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(channels, 22);
  header.writeUInt32LE(sampleRate, 24);
  header.writeUInt32LE(2 * channels * sampleRate, 28);
  header.writeUInt16LE(2 * channels, 32);
  header.writeUInt16LE(16, 34);
  header.write('data', 36, 'latin1');
  header.writeUInt32LE(2 * samples.length, 40);
  return Buffer.concat([header, Buffer.from(Int16Array.from(samples).buffer)]);
}

/** The first `length` samples of a sound file at `rate`, as codes of 16 bits. */
export const beginningOf = async (file: Buffer, rate: number, length: number): Promise<Int16Array> =>
  (await decodeSound(file, rate, { length, hop: length, most: 1 })).windows[0]!;

/** A data root of its own, with ways to fill it. */
export class DataRoot {
  private constructor(readonly root: string) {}

  static async create(): Promise<DataRoot> {
    return new DataRoot(await mkdtemp(path.join(tmpdir(), 'loom-sources-')));
  }

  remove = (): Promise<void> => rm(this.root, { recursive: true, force: true });

  async folder(name: string, files: Files): Promise<string> {
    for (const [file, bytes] of Object.entries(files)) {
      await mkdir(path.join(this.root, name, path.dirname(file)), { recursive: true });
      await writeFile(path.join(this.root, name, file), await bytes);
    }
    return name;
  }

  /** A tar, a tar.gz, a tar.zst or a zip, as its name ends. */
  async archive(name: string, files: Files, options?: ZipOptions): Promise<string> {
    const target = path.join(this.root, name);
    await mkdir(path.dirname(target), { recursive: true });
    if (name.endsWith('.zip')) {
      await writeFile(target, await zipOf(files, options));
      return name;
    }
    const tar = pack();
    for (const [file, bytes] of Object.entries(files)) tar.entry({ name: file }, await bytes);
    tar.finalize();
    const packed = createWriteStream(target);
    if (name.endsWith('gz')) await pipeline(tar, createGzip(), packed);
    else if (name.endsWith('zst')) await pipeline(tar, createZstdCompress(), packed);
    else await pipeline(tar, packed);
    return name;
  }

  /**
   * The dataset of what lies at `source`, with no splits drawn unless asked for; `arrays` by name, such as
   * `train-labels`.
   */
  async prepare(source: string, more: Partial<z.input<typeof PrepareDataset>> = {}) {
    const lines: { level: LogLevel; message: string }[] = [];
    const workDir = await mkdtemp(path.join(tmpdir(), 'loom-work-'));
    try {
      const spec = PrepareDataset.parse({
        kind: 'prepare-dataset',
        name: 'x',
        path: source,
        imageSize: 8,
        valFraction: 0,
        testFraction: 0,
        ...more,
      });
      const { manifest, files, summary, preview } = await prepareDataset(spec, {
        dataRoot: this.root,
        workDir,
        signal: new AbortController().signal,
        progress: () => {},
        log: (level, message) => lines.push({ level, message }),
      });
      const arrays: Record<string, { shape: number[]; data: number[] }> = {};
      const paths: Record<string, string[]> = {};
      for (const { name, path: file } of files) {
        if (name.endsWith('-paths.txt')) {
          paths[name.replace('-paths.txt', '')] = (await readFile(file, 'utf8')).split('\n').slice(0, -1);
          continue;
        }
        const sound = name.endsWith('-samples.npy') && summary.sample.modality === 'audio';
        const typeOfSamples = sound ? '<i2' : '|u1';
        const { shape, data } = await readNpy(file, name.endsWith('-labels.npy') ? '<i4' : typeOfSamples);
        arrays[name.replace('.npy', '')] = { shape, data: [...data] };
      }
      const messages = (level: LogLevel) => lines.filter((line) => line.level === level).map(({ message }) => message);
      const told = { warnings: messages('warn'), infos: messages('info') };
      return { manifest: manifest!, arrays, paths, summary, preview, ...told };
    } finally {
      await rm(workDir, { recursive: true, force: true });
    }
  }
}

/** Red of the first pixel of each image, which tells one from another. */
export const reds = ({ data: bytes, shape }: { data: number[]; shape: number[] }) =>
  Array.from({ length: shape[0]! }, (_, i) => bytes[i * shape[1]! * shape[2]! * shape[3]!]!);

/** What a user is told of data that can't be used. */
export async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  expect(error).toBeInstanceOf(InvalidDataError);
  return (error as Error).message;
}
