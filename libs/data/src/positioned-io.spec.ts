import { mkdtemp, open, readFile, rm, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readFully, readWhole, writeFully } from './positioned-io.js';

let dir: string;
let file: FileHandle;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-io-'));
  file = await open(path.join(dir, 'file'), 'w+');
});
afterEach(async () => {
  await file.close();
  await rm(dir, { recursive: true, force: true });
});

/** The open file, which moves at most so many bytes at a time. */
function slow(most: number): Pick<FileHandle, 'read' | 'write'> {
  const read = (into: Uint8Array, offset: number, length: number, position: number | null) =>
    file.read(into, offset, Math.min(length, most), position);
  const write = (bytes: Uint8Array, offset: number, length: number, position: number | null) =>
    file.write(bytes, offset, Math.min(length, most), position);
  return { read: read as FileHandle['read'], write: write as FileHandle['write'] };
}
const content = () => readFile(path.join(dir, 'file'), 'latin1');

test.each([1, 3, 100])('all parts are written, %i bytes at a time', async (most) => {
  const parts = ['one', '', 'two and three'].map((text) => Buffer.from(text));
  await writeFully(slow(most), parts);
  await writeFully(slow(most), [Buffer.from('!')]);
  expect(await content()).toBe('onetwo and three!');
  await writeFully(slow(most), parts, 3);
  expect(await content()).toBe('oneonetwo and three');
});

test('a file that takes nothing more is an error that says what was expected', async () => {
  const full = { write: (async () => ({ bytesWritten: 0 })) as unknown as FileHandle['write'] };
  await expect(writeFully(full, [Buffer.from('some')])).rejects.toThrow('expected 4 bytes to be written');
});

test.each([1, 3, 100])('a buffer is filled, %i bytes at a time', async (most) => {
  await file.write(Buffer.from('what lies there'));
  const into = new Uint8Array(9);
  await readFully(slow(most), into, 5);
  expect(Buffer.from(into).toString()).toBe('lies ther');
});

test('a file that ends before the buffer is full is an error that says where', async () => {
  await file.write(Buffer.from('short'));
  await expect(readFully(file, new Uint8Array(8), 2)).rejects.toThrow('expected 8 bytes at 2, the file ends 5 before');
});

test('a whole file comes in a buffer of its own', async () => {
  await file.write(Buffer.from('all of it'));
  const bytes = await readWhole(path.join(dir, 'file'));
  expect(Buffer.from(bytes).toString()).toBe('all of it');
  expect(bytes.buffer.byteLength).toBe(9);
});
