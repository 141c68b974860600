import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { balancedRows, BatchCursor, type SampleSplit } from './dataset.js';
import { labelSubset } from './label-subset.js';
import { InvalidDataError, NpyWriter, readNpy } from './npy.js';
import { Random } from './random.js';

let dir: string;
beforeAll(async () => { dir = await mkdtemp(path.join(tmpdir(), 'loom-dataset-')); });
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
    const [one, ten] = [0.01, 0.1].map((fraction) => labelSubset(split, fraction, 5)) as [ReturnType<typeof labelSubset>, ReturnType<typeof labelSubset>];
    expect(one.rows).toHaveLength(10);
    expect(new Set([...one.rows].map((row) => labels[row])).size).toBe(10);
    expect([...one.rows].every((row) => ten.rows.includes(row))).toBe(true);
    for (let label = 0; label < 10; label++) expect([...ten.rows].filter((row) => labels[row] === label)).toHaveLength(10);
    expect(labelSubset(split, 0.1, 5).sha256).toBe(ten.sha256);
    expect(labelSubset(split, 0.1, 6).sha256).not.toBe(ten.sha256);
    expect(labelSubset(split, 1, 5).rows).toHaveLength(1000);
  });

  test('take their part of all samples where pixels have the labels', () => {
    const [five, all] = [0.05, 1].map((fraction) => labelSubset({ labels: undefined, count: 367, classes: ['sky', 'road'] }, fraction, 1)) as [ReturnType<typeof labelSubset>, ReturnType<typeof labelSubset>];
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
  const split = { count: 10, labels: Int32Array.from([0, 0, 0, 0, 0, 0, 0, 1, 1, 2]), classes: ['a', 'b', 'c'] } as unknown as SampleSplit;
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
    expect(await readNpy(file, '|u1')).toEqual({ shape: [3, 2, 2, 1], data: Uint8Array.from({ length: 12 }, (_, i) => i + 1) });
    await expect(readNpy(file, '<i4')).rejects.toThrow(InvalidDataError);
    await expect(writer.append(Uint8Array.of(1))).rejects.toThrow('whole items of 4');
  });
});
