import type { DatasetManifest } from '#libs/contracts';
import { loadTensorFlow } from '#libs/tensorflow';
import { mkdtemp, open, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  balancedRows,
  BatchCursor,
  closeSplit,
  gatherLabels,
  gatherMasks,
  gatherSamples,
  openSplit,
  type SampleSplit,
} from './dataset.js';
import { labelSubset } from './label-subset.js';
import { InvalidDataError } from './invalid-data.js';
import { NpyWriter, readNpy, Rows, type NpyData, type NpyType } from './npy.js';
import { Random } from './random.js';

await loadTensorFlow({ threads: 1 });

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-dataset-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

describe('random numbers', () => {
  test('repeat by seed, differ by stream, and go on from a kept state', () => {
    const draw = (random: Random) => Array.from({ length: 5 }, () => random.uniform());
    expect(draw(Random.seeded(1, 'a'))).toEqual(draw(Random.seeded(1, 'a')));
    expect(draw(Random.seeded(1, 'a'))).not.toEqual(draw(Random.seeded(1, 'b')));
    const random = Random.seeded(2);
    random.normal();
    const kept = JSON.parse(JSON.stringify(random.state())) as number[];
    expect(draw(Random.fromState(kept))).toEqual(draw(random));
  });

  test('are uniform and normal', () => {
    const random = Random.seeded(3);
    const normals = Array.from({ length: 20_000 }, () => random.normal(1, 2));
    const mean = normals.reduce((sum, x) => sum + x, 0) / normals.length;
    const std = Math.sqrt(normals.reduce((sum, x) => sum + (x - mean) ** 2, 0) / normals.length);
    expect(Math.abs(mean - 1)).toBeLessThan(0.06);
    expect(Math.abs(std - 2)).toBeLessThan(0.04);
    expect([...random.permutation(100)].sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i));
  });
});

describe('label subsets', () => {
  const labels = Int32Array.from({ length: 1000 }, (_, i) => (i * 7) % 10);
  const split = { labels, count: 1000, classes: Array.from({ length: 10 }, (_, label) => `class ${label}`) };

  test('are stratified, nested, seeded, and told apart by their sha256', () => {
    const [one, ten] = [0.01, 0.1].map((fraction) => labelSubset(split, fraction, 5)) as [
      ReturnType<typeof labelSubset>,
      ReturnType<typeof labelSubset>,
    ];
    expect(one.rows).toHaveLength(10);
    expect(new Set([...one.rows].map((row) => labels[row])).size).toBe(10);
    expect([...one.rows].every((row) => ten.rows.includes(row))).toBe(true);
    for (let label = 0; label < 10; label++)
      expect([...ten.rows].filter((row) => labels[row] === label)).toHaveLength(10);
    expect(labelSubset(split, 0.1, 5).sha256).toBe(ten.sha256);
    expect(labelSubset(split, 0.1, 6).sha256).not.toBe(ten.sha256);
    expect(labelSubset(split, 1, 5).rows).toHaveLength(1000);
  });

  test('take their part of all samples where pixels have the labels', () => {
    const [five, all] = [0.05, 1].map((fraction) =>
      labelSubset({ labels: undefined, count: 367, classes: ['sky', 'road'] }, fraction, 1),
    ) as [ReturnType<typeof labelSubset>, ReturnType<typeof labelSubset>];
    expect([five.rows.length, all.rows.length]).toEqual([18, 367]);
  });
});

describe('batches', () => {
  const rows = Int32Array.from({ length: 23 }, (_, i) => i * 2);

  test('show each row at most once an epoch, and go on from a kept state', () => {
    const cursor = new BatchCursor(rows, 5, Random.seeded(1));
    expect(cursor.stepsPerEpoch).toBe(4);
    const epoch = Array.from({ length: 4 }, () => [...cursor.next()]).flat();
    expect(new Set(epoch).size).toBe(20);
    expect(epoch.every((row) => rows.includes(row))).toBe(true);
    cursor.next();
    const other = new BatchCursor(rows, 5, Random.seeded(99));
    other.restore(JSON.parse(JSON.stringify(cursor.state())) as ReturnType<BatchCursor['state']>);
    for (let i = 0; i < 12; i++) expect(other.next()).toEqual(cursor.next());
  });

  test('are never larger than the rows', () => {
    expect(() => new BatchCursor(rows, 24, Random.seeded(1))).toThrow('expected a batch of at most 23 images, got 24');
  });
});

test('a bank is spread evenly over the classes', () => {
  const split = {
    count: 10,
    labels: Int32Array.from([0, 0, 0, 0, 0, 0, 0, 1, 1, 2]),
    classes: ['a', 'b', 'c'],
  } as unknown as SampleSplit;
  expect([...balancedRows(split, 5)]).toEqual([0, 1, 7, 8, 9]);
  expect(balancedRows(split, 50)).toHaveLength(10);
});

describe('arrays', () => {
  test('come back as they were written', async () => {
    const file = path.join(dir, 'a.npy');
    const writer = await NpyWriter.create(file, '|u1', [2, 2, 1]);
    await writer.append(Uint8Array.of(1, 2, 3, 4));
    await writer.append(Uint8Array.of(5, 6, 7, 8, 9, 10, 11, 12));
    await writer.close();
    expect(await readNpy(file, '|u1')).toEqual({
      shape: [3, 2, 2, 1],
      data: Uint8Array.from({ length: 12 }, (_, i) => i + 1),
    });
    await expect(readNpy(file, '<i4')).rejects.toThrow(InvalidDataError);
    await expect(writer.append(Uint8Array.of(1))).rejects.toThrow('whole items of 4');
  });
});

describe('a split', () => {
  const arrays = async (name: string, type: NpyType, shape: number[], data: NpyData<NpyType>) => {
    const file = path.join(dir, name);
    await rm(file, { force: true });
    const writer = await NpyWriter.create(file, type, shape);
    await writer.append(data);
    await writer.close();
    return file;
  };
  const split = { count: 5, samples: '0'.repeat(64) };
  const manifestOf = (sample: DatasetManifest['sample'], count = 5): DatasetManifest => ({
    name: 'x',
    digest: '0'.repeat(64),
    sample,
    classes: ['a', 'b'],
    splits: { train: { ...split, count } },
  });

  test('gives the same batches from memory and from its files', async () => {
    const random = Random.seeded(7);
    const files = {
      samples: await arrays(
        'images.npy',
        '|u1',
        [2, 3, 3],
        Uint8Array.from({ length: 90 }, () => random.uint32() & 255),
      ),
      labels: await arrays('labels.npy', '<i4', [], Int32Array.of(0, 1, 1, 0, 1)),
      masks: await arrays(
        'masks.npy',
        '|u1',
        [2, 3],
        Uint8Array.from({ length: 30 }, (_, i) => [0, 1, 255][i % 3]!),
      ),
    };
    const manifest = manifestOf({ modality: 'image', height: 2, width: 3, channels: 3 });
    const [kept, read] = [await openSplit(manifest, 'train', files), await openSplit(manifest, 'train', files, 0)];
    for (const rows of [[0], [4, 0, 4, 2], [1, 2, 3]]) {
      const values = [kept, read].map((each) =>
        [gatherSamples(each, rows), gatherMasks(each, rows)].map((tensor) => {
          const data = [...tensor.dataSync()];
          tensor.dispose();
          return data;
        }),
      );
      expect(values[0]).toEqual(values[1]);
      expect(gatherLabels(kept, rows)).toEqual(gatherLabels(read, rows));
    }
    expect(() => gatherSamples(read, [5])).toThrow('expected a row from 0 to 4, got 5');
    closeSplit(read);
    expect(() => gatherSamples(read, [0])).toThrow(/EBADF|closed/);
  });

  test('gives sounds in [-1, 1)', async () => {
    const files = {
      samples: await arrays(
        'sounds.npy',
        '<i2',
        [3],
        Int16Array.from({ length: 15 }, (_, i) => [-32768, 0, 16384][i % 3]!),
      ),
    };
    for (const limit of [0, 1000]) {
      const opened = await openSplit(
        manifestOf({ modality: 'audio', sampleRate: 3, length: 3 }),
        'train',
        files,
        limit,
      );
      const tensor = gatherSamples(opened, [1, 4]);
      expect([tensor.shape, [...tensor.dataSync()]]).toEqual([
        [2, 3],
        [-1, 0, 0.5, -1, 0, 0.5],
      ]);
      tensor.dispose();
      closeSplit(opened);
    }
  });

  test('refuses arrays that are not what the manifest says', async () => {
    const manifest = manifestOf({ modality: 'image', height: 2, width: 3, channels: 1 });
    const samples = await arrays('gray.npy', '|u1', [2, 3, 1], new Uint8Array(30));
    for (const limit of [0, 1000]) {
      await expect(
        openSplit(
          manifest,
          'train',
          { samples, masks: await arrays('wrong.npy', '|u1', [2, 3], new Uint8Array(30).fill(2, 12, 13)) },
          limit,
        ),
      ).rejects.toThrow('expected train masks of 0 to 1 and 255, got 2 at row 2');
      await expect(
        openSplit(
          manifest,
          'train',
          { samples, masks: await arrays('narrow.npy', '|u1', [2, 2], new Uint8Array(20)) },
          limit,
        ),
      ).rejects.toThrow('masks of shape [5, 2, 3], got [5, 2, 2]');
      await expect(
        openSplit(manifestOf({ modality: 'audio', sampleRate: 3, length: 6 }), 'train', { samples }, limit),
      ).rejects.toThrow(InvalidDataError);
      const cut = await arrays('cut.npy', '|u1', [2, 3, 1], new Uint8Array(30));
      await truncate(cut, 150);
      await expect(openSplit(manifest, 'train', { samples: cut }, limit)).rejects.toThrow(
        /hold 30 numbers .* its data has 22 bytes/,
      );
    }
  });

  test('of 300 MB in its file takes no memory to speak of', async () => {
    const count = 25_000;
    const side = 64;
    const file = await arrays('large.npy', '|u1', [side, side, 3], new Uint8Array(side * side * 3));
    const handle = await open(file, 'r+');
    const header = Buffer.alloc(128);
    await handle.read(header, 0, 128, 0);
    await handle.write(
      Buffer.from(
        header
          .toString('latin1')
          .replace(/\(1, (.*)\), }\s+\n/, `(${count}, $1), }`)
          .padEnd(127) + '\n',
        'latin1',
      ),
      0,
      128,
      0,
    );
    await handle.truncate(128 + count * side * side * 3);
    for (let row = 0; row < count; row += 100)
      await handle.write(Uint8Array.of(row / 100), 0, 1, 128 + row * side * side * 3);
    await handle.close();
    const before = process.memoryUsage().rss;
    const opened = await openSplit(
      manifestOf({ modality: 'image', height: side, width: side, channels: 3 }, count),
      'train',
      { samples: file },
      2 ** 20,
    );
    const random = Random.seeded(1);
    for (let batch = 0; batch < 20; batch++) {
      const rows = Array.from({ length: 16 }, () => random.uint32() % 250);
      const tensor = gatherSamples(
        opened,
        rows.map((row) => row * 100),
      );
      const data = tensor.dataSync();
      tensor.dispose();
      expect(rows.map((_, i) => Math.round(data[i * side * side * 3]! * 255))).toEqual(rows);
    }
    for (let row = 0; row < count; row++) opened.samples.read(row);
    expect(process.memoryUsage().rss - before).toBeLessThan(60 * 2 ** 20);
    closeSplit(opened);
    expect((await Rows.open(file, '|u1', 0)).shape).toEqual([count, side, side, 3]);
  });
});
