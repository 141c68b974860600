import { describe, expect, test } from 'vitest';
import { beginningOf } from '../../../tests/support/sources.js';

const chunk = (id: string, content: Buffer): Buffer => {
  const head = Buffer.alloc(8);
  head.write(id, 0, 'latin1');
  head.writeUInt32BE(content.length, 4);
  return Buffer.concat([head, content, Buffer.alloc(content.length % 2)]);
};

interface Aiff {
  data: Buffer;
  frames: number;
  bits?: number;
  channels?: number;
  type?: string;
  padding?: number;
}

/** At 8 kHz; as AIFF-C where there is a type of compression. */
function aiffOf({ data, frames, bits = 16, channels = 1, type, padding = 0 }: Aiff): Buffer {
  const common = Buffer.alloc(18);
  common.writeUInt16BE(channels, 0);
  common.writeUInt32BE(frames, 2);
  common.writeUInt16BE(bits, 6);
  // 8000 = 1.953125 · 2^12
  common.writeUInt16BE(16_383 + 12, 8);
  common.writeBigUInt64BE(8000n << 51n, 10);
  const sound = Buffer.alloc(8 + padding);
  sound.writeUInt32BE(padding, 0);
  const body = Buffer.concat([
    Buffer.from(type ? 'AIFC' : 'AIFF'),
    chunk('COMM', type ? Buffer.concat([common, Buffer.from(type), Buffer.from('\x03abc')]) : common),
    chunk('NAME', Buffer.from('odd')),
    chunk('SSND', Buffer.concat([sound, data])),
  ]);
  return Buffer.concat([chunk('FORM', body)]);
}

const VALUES = [0, 1000, -1000, 32767, -32768];
const bytesOf = (width: number, write: (bytes: Buffer, value: number, at: number) => void): Buffer => {
  const bytes = Buffer.alloc(width * VALUES.length);
  VALUES.forEach((value, i) => write(bytes, value, i * width));
  return bytes;
};
const decoded = async (bytes: Buffer) => [...(await beginningOf(bytes, 8000, 6))];
const frames = VALUES.length;

describe('AIFF', () => {
  test.each<[string, Aiff]>([
    ['16 bits', { data: bytesOf(2, (to, value, at) => to.writeInt16BE(value, at)), frames }],
    [
      '16 bits behind an offset',
      { data: bytesOf(2, (to, value, at) => to.writeInt16BE(value, at)), frames, padding: 6 },
    ],
    ['24 bits', { data: bytesOf(3, (to, value, at) => to.writeIntBE(value * 256, at, 3)), frames, bits: 24 }],
    [
      'little-endian samples',
      { data: bytesOf(2, (to, value, at) => to.writeInt16LE(value, at)), frames, type: 'sowt' },
    ],
    [
      'floating-point numbers',
      { data: bytesOf(4, (to, value, at) => to.writeFloatBE(value / 32768, at)), frames, bits: 32, type: 'fl32' },
    ],
  ])('of %s is read', async (_, aiff) => {
    expect(await decoded(aiffOf(aiff))).toEqual([...VALUES, 0]);
  });

  test('has bytes with a sign, and channels whose mean is taken', async () => {
    expect(await decoded(aiffOf({ data: Buffer.of(0, 64, 0xc0, 0x80), frames: 4, bits: 8 }))).toEqual([
      ...[0, 16_384, -16_384, -32_768],
      ...[0, 0],
    ]);
    const stereo = Buffer.alloc(4);
    stereo.writeInt16BE(100, 0);
    stereo.writeInt16BE(300, 2);
    expect((await decoded(aiffOf({ data: stereo, frames: 1, channels: 2 })))[0]).toBe(200);
  });

  test.each<[string, Buffer, RegExp]>([
    ['cut short', aiffOf({ data: Buffer.alloc(10), frames: 50 }), /ends early: expected 100 bytes .*, found 10/],
    [
      'packed',
      aiffOf({ data: Buffer.alloc(10), frames: 5, type: 'ima4' }),
      /got the compression ima4: write it as FLAC/,
    ],
    ['without samples', aiffOf({ data: Buffer.alloc(0), frames: 0 }), /found no samples/],
  ])('that is %s is named', async (_, bytes, why) => {
    await expect(decoded(bytes)).rejects.toThrow(why);
  });
});
