import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { download } from './download.js';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-download-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const named = (name: string) => ({
  runId: 'run',
  id: 'id',
  name,
  sha256: createHash('sha256').update('weights').digest('hex'),
});
const serving = (content: string, fault?: Error) => ({
  download: () =>
    Promise.resolve(
      new ReadableStream<Uint8Array>({
        start(stream) {
          stream.enqueue(Buffer.from(content));
          if (fault) stream.error(fault);
          else stream.close();
        },
      }),
    ),
});

test.each(['a.onnx', '../../a.onnx'])('%s arrives in the folder that was named', async (name) => {
  const folder = path.join(dir, 'new', 'folder');
  expect(await download(serving('weights'), named(name), folder)).toBe(path.join(folder, 'a.onnx'));
  expect(await readFile(path.join(folder, 'a.onnx'), 'utf8')).toBe('weights');
  expect(await readdir(folder)).toEqual(['a.onnx']);
});

test.each<[string, Error | undefined, RegExp]>([
  ['another content', undefined, /a.onnx arrived damaged: its sha256 is not [0-9a-f]{64}/],
  ['a broken connection', new Error('reset'), /reset/],
])('%s leaves nothing behind', async (_, fault, message) => {
  await expect(download(serving('weight5', fault), named('a.onnx'), dir)).rejects.toThrow(message);
  expect(await readdir(dir)).toEqual([]);
});

test('one that is broken off leaves nothing behind', async () => {
  const broken = new AbortController();
  const endless = {
    download: () =>
      Promise.resolve(
        new ReadableStream<Uint8Array>({
          start: (stream) => {
            stream.enqueue(Buffer.from('weigh'));
            setImmediate(() => broken.abort(new Error('interrupted')));
          },
        }),
      ),
  };
  await expect(download(endless, named('a.onnx'), dir, broken.signal)).rejects.toThrow();
  expect(await readdir(dir)).toEqual([]);
});
