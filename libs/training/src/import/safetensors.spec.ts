import { InvalidDataError } from '#libs/data';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bytesOf, writeTensorsTo } from '../../../../tests/support/safetensors.js';
import { SafetensorsFile } from './safetensors.js';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-safetensors-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const opened = async (bytes: Uint8Array): Promise<SafetensorsFile> => {
  const file = path.join(dir, 'given.safetensors');
  await writeFile(file, bytes);
  return SafetensorsFile.open(file, 'given.safetensors');
};

test('numbers of 32 and 16 bits are read as they are meant', async () => {
  const halves = Uint16Array.from([0x3c00, 0xc000, 0x3555, 0x0001, 0x7bff, 0x8000]);
  const upper = Uint16Array.from([0x3f80, 0xc020]);
  const file = await writeTensorsTo(
    path.join(dir, 'types.safetensors'),
    new Map([
      ['half', { dtype: 'F16', shape: [2, 3], bytes: new Uint8Array(halves.buffer) }],
      ['upper', { dtype: 'BF16', shape: [2], bytes: new Uint8Array(upper.buffer) }],
      ['single', { dtype: 'F32', shape: [], bytes: new Uint8Array(Float32Array.from([0.1]).buffer) }],
      ['count', { dtype: 'I64', shape: [], bytes: new Uint8Array(8) }],
      ['none', { dtype: 'F32', shape: [0, 4], bytes: new Uint8Array(0) }],
    ]),
    { format: 'pt' },
  );
  const read = await SafetensorsFile.open(file, file);
  try {
    expect(read.metadata).toEqual({ format: 'pt' });
    expect(read.tensors.get('half')).toMatchObject({ dtype: 'F16', shape: [2, 3] });
    expect([...(await read.floats('half'))]).toEqual([1, -2, 0.333251953125, 2 ** -24, 65504, -0]);
    expect([...(await read.floats('upper'))]).toEqual([1, -2.5]);
    expect([...(await read.floats('single'))]).toEqual([Math.fround(0.1)]);
    expect([...(await read.floats('none'))]).toEqual([]);
    await expect(read.floats('count')).rejects.toThrow('expected count to have real numbers, got I64');
  } finally {
    await read.close();
  }
});

describe('what is no such file is refused with why', () => {
  const entry = (begin: number, end: number, more: object = {}) => ({
    dtype: 'F32',
    shape: [(end - begin) / 4],
    data_offsets: [begin, end],
    ...more,
  });
  const data = new Uint8Array(16);
  test.each<[string, Uint8Array, RegExp]>([
    ['nothing', new Uint8Array(3), /it has 3 bytes/],
    ['a header beyond the end', bytesOf({}, data, 2n ** 40n), /header should have 1099511627776 bytes, it has 26/],
    ['the longest header', bytesOf({}, data, 2n ** 64n - 1n), /its header should have/],
    ['no JSON', bytesOf('{"a"', data), /no JSON/],
    ['no object', bytesOf('[1]', data), /no JSON object/],
    ['no description', bytesOf({ a: 3 }, data), /a is no description of a tensor/],
    ['a type that is not read', bytesOf({ a: entry(0, 16, { dtype: 'F64' }) }, data), /a has numbers of type F64/],
    ['a type that is none', bytesOf({ a: entry(0, 16, { dtype: 'toString' }) }, data), /of type toString/],
    ['a negative side', bytesOf({ a: entry(0, 16, { shape: [-2, -2] }) }, data), /the shape of a is none/],
    ['a side that is no number', bytesOf({ a: entry(0, 16, { shape: ['4'] }) }, data), /the shape of a is none/],
    ['too many sides', bytesOf({ a: entry(0, 16, { shape: Array(9).fill(1) }) }, data), /the shape of a is none/],
    ['a huge shape', bytesOf({ a: entry(0, 16, { shape: [2 ** 40, 2 ** 40] }) }, data), /should have .* bytes/],
    ['too few bytes for its shape', bytesOf({ a: entry(0, 16, { shape: [5] }) }, data), /should have 20 bytes/],
    ['one place', bytesOf({ a: entry(0, 16, { data_offsets: [0] }) }, data), /the place of a is none/],
    [
      'an end before the beginning',
      bytesOf({ a: entry(0, 16, { data_offsets: [16, 0] }) }, data),
      /a lies outside of it/,
    ],
    ['an end beyond the file', bytesOf({ a: entry(0, 20) }, data), /a lies outside of it/],
    ['tensors that share bytes', bytesOf({ a: entry(0, 12), b: entry(8, 16) }, data), /overlap or leave a gap/],
    ['a gap', bytesOf({ a: entry(0, 4), b: entry(8, 16) }, data), /overlap or leave a gap at byte 4/],
    ['bytes over', bytesOf({ a: entry(0, 12) }, data), /have 12 bytes of the 16/],
    ['metadata that is none', bytesOf({ __metadata__: { a: 1 }, a: entry(0, 16) }, data), /no map of texts/],
  ])('%s', async (_, bytes, why) => {
    const refusal = opened(bytes);
    await expect(refusal).rejects.toThrow(InvalidDataError);
    await expect(refusal).rejects.toThrow(why);
  });

  test('numbers that are none', async () => {
    const file = await opened(bytesOf({ a: entry(0, 8) }, new Uint8Array(Float32Array.from([1, Number.NaN]).buffer)));
    await expect(file.floats('a')).rejects.toThrow('expected finite values in a, found NaN at 1');
    await file.close();
  });
});
