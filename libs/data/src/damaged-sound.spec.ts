import { describe, expect, test } from 'vitest';
import { flacOf } from '../../../tests/support/flac.js';
import { beginningOf, wavOf } from '../../../tests/support/sources.js';

const RATE = 8000;
/** Chunks of a RIFF file, each padded to an even length unless told otherwise. */
const riff = (
  chunks: [id: string, content: Buffer][],
  { padded = true, size = undefined as number | undefined } = {},
) => {
  const body = Buffer.concat(
    chunks.map(([id, content]) => {
      const head = Buffer.alloc(8);
      head.write(id, 0, 'latin1');
      head.writeUInt32LE(id === 'data' ? (size ?? content.length) : content.length, 4);
      return Buffer.concat([head, content, Buffer.alloc(padded ? content.length % 2 : 0)]);
    }),
  );
  const head = Buffer.from('RIFF\0\0\0\0WAVE', 'latin1');
  head.writeUInt32LE(size === undefined ? 4 + body.length : size, 4);
  return Buffer.concat([head, body]);
};
const format = (tag: number, bits: number, channels = 1): Buffer => {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16LE(tag, 0);
  bytes.writeUInt16LE(channels, 2);
  bytes.writeUInt32LE(RATE, 4);
  bytes.writeUInt32LE((RATE * channels * bits) / 8, 8);
  bytes.writeUInt16LE((channels * bits) / 8, 12);
  bytes.writeUInt16LE(bits, 14);
  return bytes;
};
const decoded = async (bytes: Buffer, length: number) => [...(await beginningOf(bytes, RATE, length))];

describe('a WAV', () => {
  const codes = [16_384, -16_384, 32_767, -32_768];
  const int = (bits: 24 | 32) =>
    Buffer.concat(
      codes.map((code) => {
        const bytes = Buffer.alloc(bits / 8);
        bytes.writeIntLE(code * 2 ** (bits - 16), 0, bits / 8);
        return bytes;
      }),
    );
  const parts = codes.map((code) => code / 32_768);

  test.each<[string, Buffer, Buffer, number[]]>([
    ['8 bits', format(1, 8), Buffer.of(192, 64, 255, 0), [16_384, -16_384, 32_512, -32_768]],
    ['24 bits', format(1, 24), int(24), codes],
    ['32 bits', format(1, 32), int(32), codes],
    ['32-bit floats', format(3, 32), Buffer.from(Float32Array.from(parts).buffer), codes],
    ['64-bit floats', format(3, 64), Buffer.from(Float64Array.from(parts).buffer), codes],
    ['A-law', format(6, 8), Buffer.of(0xd5, 0x55, 0xaa, 0x2a), [8, -8, 32_256, -32_256]],
    ['µ-law', format(7, 8), Buffer.of(0xff, 0x7f, 0x80, 0x00), [0, 0, 32_124, -32_124]],
  ])('of %s has its samples, wherever they lie', async (_, told, content, expected) => {
    // Chunks that move the data to places that no array of wide numbers can begin at.
    for (const [notes, padded] of [
      [2, true],
      [3, true],
      [3, false],
    ] as const)
      expect(
        await decoded(
          riff(
            [
              ['fmt ', told],
              ['LIST', Buffer.alloc(notes, 'x')],
              ['data', content],
            ],
            { padded },
          ),
          4,
        ),
      ).toEqual(expected);
  });

  test.each([0, 0xffffffff, 0x7ffff000])('written to a pipe, of size %d, is read to its end', async (size) => {
    const data = Buffer.from(Int16Array.from(codes).buffer);
    const bytes = riff([['fmt ', format(1, 16)], ['data', data]], { size }); // prettier-ignore
    expect(await decoded(bytes, 4)).toEqual(codes);
  });

  test('of floats that are whole numbers of 16 bits is told, one that is a little too loud is read', async () => {
    const floats = (scale: number) => {
      const content = Buffer.from(Float32Array.from(parts, (part) => scale * part).buffer);
      return riff([
        ['fmt ', format(3, 32)],
        ['data', content],
      ]);
    };
    await expect(decoded(floats(32_768), 4)).rejects.toThrow(/samples between -1 and 1, got up to 3\.28e\+4/);
    expect(await decoded(floats(2), 4)).toEqual([32_767, -32_768, 32_767, -32_768]);
  });

  test('of 64-bit sizes (RF64) is read, and held against them', async () => {
    const data = Buffer.from(Int16Array.from(codes).buffer);
    const sizes = Buffer.alloc(28);
    sizes.writeBigUInt64LE(BigInt(data.length), 8);
    const chunks: [string, Buffer][] = [
      ['ds64', sizes],
      ['fmt ', format(1, 16)],
      ['data', data],
    ];
    const bytes = riff(chunks, { size: 0xffffffff });
    bytes.write('RF64', 0, 'latin1');
    expect(await decoded(bytes, 4)).toEqual(codes);
    await expect(decoded(bytes.subarray(0, -3), 4)).rejects.toThrow(/ends early: expected 8 bytes .* found 5/);
  });

  test('cut short is damaged', async () => {
    const whole = wavOf(Array.from({ length: 100 }, (_, i) => i), RATE); // prettier-ignore
    await expect(beginningOf(whole.subarray(0, -50), RATE, 100)).rejects.toThrow(
      /ends early: expected 200 bytes of sound as its header says, found 150/,
    );
  });
});

describe('a FLAC', () => {
  /** Samples of a frame. */
  const SIZE = 64;
  const samples = Array.from({ length: 512 }, (_, i) => Math.round(20_000 * Math.sin(i / 5)));
  const tag = Buffer.concat([Buffer.from('ID3\x04\0\0\0\0\0\x40', 'latin1'), Buffer.alloc(64)]);

  test.each([1, 2])(
    'of %d channels is held against its checksum, behind a tag and before one too',
    async (channels) => {
      const whole = flacOf(samples, { size: SIZE, channels });
      expect(await decoded(whole, 512)).toEqual(samples);
      expect(await decoded(Buffer.concat([tag, whole]), 512)).toEqual(samples);
      const oldTag = Buffer.concat([Buffer.from('TAG'), Buffer.alloc(125, 65)]);
      const apeTag = Buffer.concat([Buffer.alloc(40, 65), Buffer.from('APETAGEX'), Buffer.alloc(24)]);
      apeTag.writeUInt32LE(apeTag.length, 40 + 12);
      for (const tags of [[oldTag], [apeTag], [apeTag, oldTag]])
        expect(await decoded(Buffer.concat([whole, ...tags]), 512)).toEqual(samples);
      expect(await decoded(flacOf(samples, { size: SIZE, channels, md5: '0'.repeat(32) }), 100)).toEqual(
        samples.slice(0, 100),
      );
    },
  );

  test('that is cut short, has lost a frame or holds other samples is damaged', async () => {
    const whole = flacOf(samples, { size: SIZE });
    const frame = (whole.length - 42) / 8;
    const lost = Buffer.from(whole).fill(0, 42 + 3 * frame, 42 + 4 * frame);
    for (const bytes of [whole.subarray(0, -2.5 * frame), lost, flacOf(samples, { size: SIZE, md5: 'ab'.repeat(16) })])
      await expect(beginningOf(bytes, RATE, 100)).rejects.toThrow(/the file is damaged: /);
  });
});

describe('a FLAC that was written to a pipe, and says of no number of samples,', () => {
  const SIZE = 64;
  const samples = Array.from({ length: 512 }, (_, i) => Math.round(20_000 * Math.sin(i / 5)));
  const streamed = flacOf(samples, { size: SIZE, md5: '0'.repeat(32) }).fill(0, 22, 26);
  const frame = (streamed.length - 42) / 8;

  test('is read, also before zeros', async () => {
    for (const bytes of [streamed, Buffer.concat([streamed, Buffer.alloc(100)])])
      expect(await decoded(bytes, 512)).toEqual(samples);
  });

  test.each<[string, Buffer]>([
    ['is changed', Buffer.from(streamed).fill(7, 42 + 3 * frame + 20, 42 + 3 * frame + 24)],
    [
      'lacks part of a frame',
      Buffer.concat([streamed.subarray(0, 42 + 3.5 * frame), streamed.subarray(42 + 4 * frame)]),
    ],
    ['ends within a frame', streamed.subarray(0, -0.5 * frame)],
  ])('that %s is damaged', async (_, bytes) => {
    await expect(beginningOf(bytes, RATE, 512)).rejects.toThrow(/damaged or ends early: the CRC of its FLAC frames/);
  });
});

describe('an MP3', () => {
  /** Silent frames of MPEG 1, layer III, 32 kbit/s and 32 kHz: 144 bytes each. */
  const frames = (count: number): Buffer =>
    Buffer.concat(
      Array.from({ length: count }, () => Buffer.concat([Buffer.of(0xff, 0xfb, 0x18, 0xc4), Buffer.alloc(140)])),
    );
  const promised = (count: number, bytes: number): Buffer => {
    const first = frames(1);
    first.write('Info', 4 + 17, 'latin1');
    first.writeUInt32BE(3, 25);
    first.writeUInt32BE(count, 29);
    first.writeUInt32BE(bytes, 33);
    return first;
  };
  /** The same as Fraunhofer's encoders say it. */
  const promisedByFraunhofer = (count: number, bytes: number, version = 1): Buffer => {
    const first = frames(1);
    first.write('VBRI', 36, 'latin1');
    first.writeUInt16BE(version, 40);
    first.writeUInt32BE(bytes, 46);
    first.writeUInt32BE(count, 50);
    return first;
  };
  const silence = new Array<number>(100).fill(0);

  test('whose frames follow one upon the other is read, with tags around them', async () => {
    for (const bytes of [
      frames(10),
      Buffer.concat([promised(10, 11 * 144), frames(10)]),
      Buffer.concat([promisedByFraunhofer(10, 11 * 144), frames(10)]),
      Buffer.concat([promisedByFraunhofer(20, 99 * 144, 7), frames(10)]),
      Buffer.concat([
        Buffer.from('ID3\x03\0\0\0\0\0\x02ab', 'latin1'),
        frames(10),
        Buffer.from('TAG'),
        Buffer.alloc(125),
      ]),
      Buffer.concat([frames(10), Buffer.alloc(500)]),
    ])
      expect(await decoded(bytes, 100)).toEqual(silence);
  });

  test.each<[string, Buffer, RegExp]>([
    [
      'fewer bytes than promised',
      Buffer.concat([promised(20, 21 * 144), frames(10)]),
      /expected 3024 bytes .* found 1584/,
    ],
    ['fewer frames than promised', Buffer.concat([promised(20, 0), frames(10)]), /expected 20 frames .* found 11/],
    [
      "fewer bytes than Fraunhofer's header promises",
      Buffer.concat([promisedByFraunhofer(20, 21 * 144), frames(10)]),
      /expected 3024 bytes .* found 1584/,
    ],
    [
      'fewer frames than it promises, behind a tag',
      Buffer.concat([Buffer.from('ID3\x03\0\0\0\0\0\x02ab', 'latin1'), promisedByFraunhofer(20, 0), frames(10)]),
      /expected 20 frames .* found 11/,
    ],
    ['half a frame at its end', frames(10).subarray(0, -70), /ends early, in the middle of a frame/],
    ['a gap', Buffer.concat([frames(5), Buffer.alloc(50, 'x'), frames(5)]), /sync is lost: 50 bytes at 720/],
    ['zeros in its middle', frames(10).fill(0, 700, 900), /sync is lost: 288 bytes at 720/],
    [
      'frames of AAC',
      Buffer.concat([Buffer.of(0xff, 0xf1, 0x50, 0x80), Buffer.alloc(200)]),
      /the file is AAC: write it as FLAC \(ffmpeg -i/,
    ],
    ['AAC in MP4', Buffer.from('\0\0\0\x20ftypM4A ', 'latin1'), /the file is MP4 or M4A: write it as FLAC \(ffmpeg -i/],
  ])('with %s is damaged, or named what it is', async (_, bytes, expected) => {
    await expect(beginningOf(bytes, RATE, 100)).rejects.toThrow(expected);
  });
});
