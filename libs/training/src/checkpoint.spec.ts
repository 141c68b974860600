import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { createHash } from 'node:crypto';
import { mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { withFileSizeLimit } from '../../../tests/support/file-size-limit.js';
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

test(
  'a file of more than 2 GiB comes back, the tensors at its beginning and at its end',
  { timeout: 120_000 },
  async () => {
    const large = path.join(dir, 'large.safetensors');
    // A hole: no disk, and as zeros in no tensor no memory either.
    const hole = 2 ** 31;
    const entries = {
      first: { dtype: 'F32', shape: [2], data_offsets: [0, 8] },
      last: { dtype: 'F32', shape: [3, 1], data_offsets: [8 + hole, 20 + hole] },
    };
    const [first, last] = [Float32Array.of(1.5, -2), Float32Array.of(3, 4, 5.25)];
    const state = JSON.stringify({ step: 7 });
    const sum = createHash('sha256').update(state).update(JSON.stringify(entries)).update(first);
    const zeros = Buffer.alloc(2 ** 22);
    for (let done = 0; done < hole; done += zeros.length) sum.update(zeros);
    const header = Buffer.from(
      JSON.stringify({ __metadata__: { state, sha256: sum.update(last).digest('hex') }, ...entries }),
    );
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    const start = 8 + header.length;
    const handle = await open(large, 'w');
    try {
      await handle.write(Buffer.concat([length, header, new Uint8Array(first.buffer)]));
      await handle.write(new Uint8Array(last.buffer), 0, last.byteLength, start + 8 + hole);

      const stored = await readTensors(large);
      expect(stored.state).toEqual({ step: 7 });
      expect(stored.tensors).toEqual(
        new Map([
          ['first', { shape: [2], values: first }],
          ['last', { shape: [3, 1], values: last }],
        ]),
      );
    } finally {
      await handle.close();
      await rm(large);
    }
  },
);

test("a file that is written in part only takes no other one's place, and nothing is left of it", async (context) => {
  await writeTensors(file, { step: 3 }, variables());
  const large = { key: 'large', variable: tf.variable(tf.ones([64 * 1024])) };
  const limited = await withFileSizeLimit(100_000, () =>
    expect(writeTensors(file, { step: 4 }, [large])).rejects.toThrow(/EFBIG|file too large/),
  );
  if (!limited) context.skip('the size of files can be limited on Linux only');
  expect((await readTensors(file)).state).toEqual({ step: 3 });
  expect(await readdir(dir)).not.toContain('x.safetensors.tmp');
});
