import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { assignTensors, CheckpointError, readTensors, writeTensors } from './checkpoint.js';

let dir: string;
let file: string;
beforeAll(async () => {
  await loadTensorFlow({ threads: 1 });
  dir = await mkdtemp(path.join(tmpdir(), 'loom-checkpoint-'));
  file = path.join(dir, 'x.safetensors');
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const variables = () => [
  {
    key: 'a/kernel',
    variable: tf.variable(
      tf.tensor2d([
        [1, 2],
        [3, 4.25],
      ]),
    ),
  },
  { key: 'step', variable: tf.variable(tf.scalar(7)) },
];

test('comes back as it was written, in the safetensors layout, with nothing left beside it', async () => {
  await writeTensors(file, { step: 3, name: 'größe' }, variables());
  const { state, tensors } = await readTensors<{ step: number; name: string }>(file);
  expect(state).toEqual({ step: 3, name: 'größe' });
  const target = variables().map(({ key, variable }) => ({ key, variable: tf.variable(tf.zerosLike(variable)) }));
  assignTensors(tensors, target);
  expect(target[0]!.variable.arraySync()).toEqual([
    [1, 2],
    [3, 4.25],
  ]);
  const bytes = await readFile(file);
  const length = Number(bytes.readBigUInt64LE());
  expect(length % 8).toBe(0);
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Record<string, unknown>;
  expect(header['a/kernel']).toEqual({ dtype: 'F32', shape: [2, 2], data_offsets: [0, 16] });
  expect(bytes.length).toBe(8 + length + 20);
  expect(await readdir(dir)).toEqual(['x.safetensors']);
});

function replaced(bytes: Buffer, text: string, other: string): Buffer {
  const place = bytes.indexOf(text);
  expect(place, text).toBeGreaterThan(0);
  bytes.write(other, place);
  return bytes;
}

test.each<[string, (bytes: Buffer) => Buffer]>([
  [
    'a flipped bit',
    (bytes) => {
      bytes[bytes.length - 3]! ^= 1;
      return bytes;
    },
  ],
  ['another step in the header', (bytes) => replaced(bytes, '\\"step\\":3', '\\"step\\":4')],
  ['another shape', (bytes) => replaced(bytes, '[2,2]', '[4,1]')],
  ['another name', (bytes) => replaced(bytes, 'a/kernel', 'b/kernel')],
  ['an end too many', (bytes) => Buffer.concat([bytes, Buffer.alloc(4)])],
  ['another format', () => Buffer.from('\x04\0\0\0\0\0\0\0null', 'latin1')],
  ['a missing end', (bytes) => bytes.subarray(0, bytes.length - 4)],
  ['a cut header', (bytes) => bytes.subarray(0, 20)],
  ['no content', () => Buffer.alloc(0)],
])('%s is found', async (_, damage) => {
  await writeTensors(file, { step: 3 }, variables());
  const damaged = path.join(dir, 'damaged.safetensors');
  await writeFile(damaged, damage(await readFile(file)));
  await expect(readTensors(damaged)).rejects.toBeInstanceOf(CheckpointError);
});

test('a tensor that is missing or of another shape is named', async () => {
  await writeTensors(file, {}, variables());
  const { tensors } = await readTensors(file);
  expect(() => assignTensors(tensors, [{ key: 'b', variable: tf.variable(tf.scalar(0)) }])).toThrow(
    'expected a tensor b, found none',
  );
  expect(() => assignTensors(tensors, [{ key: 'a/kernel', variable: tf.variable(tf.zeros([4])) }])).toThrow(
    'expected a/kernel of shape [4], got [2, 2]',
  );
});
