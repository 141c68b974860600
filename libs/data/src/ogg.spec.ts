/** Pages of Ogg (RFC 3533), made byte by byte. */
import { describe, expect, test } from 'vitest';
import { requireWholeOgg } from './sound-containers.js';

const [FIRST, LAST] = [2, 4];

/** CRC-32 of the polynomial 0x04c11db7, bit by bit, as the format has it. */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (const byte of bytes) {
    sum ^= byte << 24;
    for (let bit = 0; bit < 8; bit++) sum = sum & 0x80000000 ? (sum << 1) ^ 0x04c11db7 : sum << 1;
  }
  return sum >>> 0;
}

/** `samples`: up to its end. */
function page(flags: number, number: number, segments: readonly number[], samples = 0): Buffer {
  const head = Buffer.alloc(27);
  head.write('OggS', 0, 'latin1');
  head[5] = flags;
  head.writeBigInt64LE(BigInt(samples), 6);
  head.writeUInt32LE(number, 18);
  head[26] = segments.length;
  const body = Buffer.alloc(
    segments.reduce((sum, length) => sum + length, 0),
    (number + 1) & 255,
  );
  const bytes = Buffer.concat([head, Buffer.from(segments), body]);
  bytes.writeUInt32LE(checksum(bytes), 22);
  return bytes;
}

const whole = (): Buffer => Buffer.concat([page(FIRST, 0, [30]), page(0, 1, [255, 255, 7]), page(LAST, 2, [255, 0])]);

describe('pages of an Ogg file', () => {
  test('that follow one upon the other to the last are whole, whatever comes behind', () => {
    expect(() => requireWholeOgg(whole())).not.toThrow();
    expect(() => requireWholeOgg(page(FIRST | LAST, 0, [9]))).not.toThrow();
    expect(() => requireWholeOgg(Buffer.concat([whole(), Buffer.from('TAG')]))).not.toThrow();
  });

  test('that lack one between two of sound are named; recordings of a stream begin somewhere', () => {
    const sound = (...numbers: number[]) =>
      Buffer.concat([
        page(FIRST, 0, [30]),
        page(0, 1, [40]),
        ...numbers.map((number, i) => page(i === numbers.length - 1 ? LAST : 0, number, [9], i === 1 ? -1 : 100 + i)),
      ]);
    for (const bytes of [sound(2, 3, 4, 5), sound(5000, 5001, 5002), Buffer.concat([sound(2, 3), sound(2, 3)])])
      expect(() => requireWholeOgg(bytes)).not.toThrow();
    for (const [bytes, missing] of [
      [sound(2, 3, 5), 1],
      [sound(2, 7), 4],
    ] as const)
      expect(() => requireWholeOgg(bytes)).toThrow(`sync is lost: ${missing} Ogg pages are missing before byte`);
  });

  test.each<[string, (bytes: Buffer) => Buffer, RegExp]>([
    ['cut in a page', (bytes) => bytes.subarray(0, -3), /ends early, in the middle of an Ogg page/],
    ['cut in a head', (bytes) => bytes.subarray(0, 58 + 28), /ends early, in the middle of an Ogg page/],
    ['without the last page', (bytes) => bytes.subarray(0, -284), /its last Ogg page says that more follow/],
    ['with a changed byte', (bytes) => bytes.fill(9, 40, 41), /the Ogg page at byte 0 is damaged: its CRC differs/],
    ['with a changed sum', (bytes) => bytes.fill(9, 58 + 22, 58 + 23), /the Ogg page at byte 58 is damaged/],
    [
      'with bytes between pages',
      (bytes) => Buffer.concat([bytes.subarray(0, 58), Buffer.of(1), bytes.subarray(58)]),
      /sync is lost: no Ogg page begins at byte 58/,
    ],
  ])('%s are named', (_, change, why) => {
    expect(() => requireWholeOgg(change(whole()))).toThrow(why);
  });
});
