import { describe, expect, test } from 'vitest';
import { flacOf } from '../../../tests/support/flac.js';
import { beginningOf, wavOf } from '../../../tests/support/sources.js';
import { decodeSound } from './audio-file.js';
import { resample } from './resampling.js';
import { Random } from './random.js';

/** 0.2 s of a sine of 500 Hz and amplitude 0.5, mono at 8 kHz and 8 kbit/s, by LAME. */
const MP3 = Buffer.from(
  '' +
    '/+MYxAANMAMGWUEAApJIRf//wAfB8H3ygIBjB8H3xBlwQduWD78QAhKcoH+DhzEAP6wcOYgB/WBDmQB/gQ5w/0e9MiaIETP+/+MYxAYOaPa4AZSgAEVGVJoc7/EJhjQyKA5Pwif4RPgFtQbwigSaIMRYGVvgyt8xLpdSLxeRO/yoiCoKiI9/4Kr//fv38IwS/+MYxAcJAMYgAZe4ADwjBI8IwSIM/LPgz8s+DPyz7Ozs///R9H0af0/pBAbJHrdlEVKRNkW9k03HSOQOaKS4RugTBGgV2MeL/+MYxB4UmZK8yZOgAJgvSF7QZI+C4Uihmm6BAQ+EYwnSBFP/QZNOyE2IqUGLx1y7/7vtvnGCpVgV//KsHoYP//0VxpcutLJy/+MYxAYOqOpwAcwYAWL2rVruNGRk7i5cuuciSDU+uciSJJ7AIQEj1MZHz1mjoy46Mj79ZWu6gKsBRwUdiC9Ffl+STEFNRaqq',
  'base64',
);

/**
 * The same, by an encoder that puts a header before it: 576 samples of its own delay, and how many fill the last frame.
 */
const MP3_WITH_HEADER = Buffer.from(
  '' +
    '/+M4wAAAAAAAAAAAAEluZm8AAAAPAAAABQAAAkAAgICAgICAgICAgICAgICAgICAgKCgoKCgoKCgoKCgoKCgoKCgoKCgwMDAwMDAwMDAwMDAwMDAwMDAwMDg4ODg4ODg4ODg4ODg4ODg4ODg4P//////////////////////////AAAAAExhdmM2My4xLgAAAAAAAAAAAAAAACQCwAAAAAAAAAJA9mE8oQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA/+MYxAAL6K60UU8AAA/wC973ve970pSlKUpS973ve990pR48eTIsW8BYAgCYGQyRKBiJw/wQdd0+7p93SiaIsQImf8ioypDh/+MYxAsPiUK0AZSgAJb/EBhXQwCAhjwin4RTgB2QbGRBUhw5w5wMzfBmb5iTpMmReLyKP//mKgaEoSBr/xKdClX//fv38IwR/+MYxAcN2uYgAZe4APwjBH8IwR4M/KPgz8o+DPyj/1f1f1f/Of85/zhLfb5Lfb5Lfb7/+WT9//LJ+//lk+r1vUXSkXy97Om5/+MYxAoOMSrEAZKgAESYJ0h3CNoFwogh0dY5weyHugxh8HWS4mm7EyK1IYXSaM/9D+kXTjBUr/7Aqhg+xpcue1kxMXtWrXaL/+MYxAwPyO5sAcwYAYlCU7AdGR9c5EEGplckiCIpZQgSAkWUwlGS6zRkZcdGR89VatdNQESUIKyCvBTYpvBvBtVMQU1FVVVV',
  'base64',
);

/** 0.2 s of a sine of 440 Hz and amplitude 0.5, mono at 16 kHz, by libopus; with much room for tags. */
const OPUS = Buffer.from(
  '' +
    'T2dnUwACAAAAAAAAAAB0ZjYrAAAAAFMf6TABE09wdXNIZWFkAQE4AYA+AAAAAABPZ2dTAAAAAAAAAAAAAHRmNisBAAAAsj2w3AT/' +
    '//8aT3B1c1RhZ3MLAAAAbGlib3B1cyAxLjQ' +
    'A'.repeat(1023) +
    'BPZ2dTAAS4JgAAAAAAAHRmNisCAAAANqQzfgsPFhAQFBATEhUQCgiE5HULn4wvWR0gzSt5wAi0r7nspIiCA2UUTNUE8YBd/qHsyQ' +
    'oIrOeK+v7iyMiWqH9u4Z5ACKznivr6ZyjegygWlPCI4Ais54r6/uLJGXVodZdLNi9acgqACK6NYvsyoSVv2Qeeg/JSMAiumkr6/u' +
    'K+vllJdqefluokxrAIro1i+zKhJW/vrlhglYpFA8AIrppJBPq1rQ9kNaEo5DVZYPvb554IrppK+v7iyRl2n+L352OoAL1QfPo5mZ' +
    'r7gA==',
  'base64',
);

const sine = (hertz: number, rate: number, count: number, amplitude = 0.5) =>
  Float32Array.from({ length: count }, (_, i) => amplitude * Math.sin((2 * Math.PI * hertz * i) / rate));
const pcm = (samples: Float32Array) => Int16Array.from(samples, (value) => Math.round(value * 32767));
const rms = (values: ArrayLike<number>) =>
  Math.sqrt(Array.from(values).reduce((sum, value) => sum + value * value, 0) / values.length);

describe('resampling', () => {
  test.each([
    [44_100, 16_000],
    [8000, 16_000],
    [16_000, 44_100],
    [48_000, 8000],
    [22_050, 22_051],
  ])("from %i to %i Hz keeps a sine's frequency, phase and amplitude", (from, to) => {
    for (const hertz of [440, 0.4 * Math.min(from, to)]) {
      const result = resample(sine(hertz, from, from / 4), from, to, to);
      expect(result).toHaveLength(Math.ceil((Math.floor(from / 4) * to) / from));
      // Away from the ends, where silence begins.
      const margin = Math.ceil((80 * to) / Math.min(from, to));
      const expected = sine(hertz, to, result.length);
      for (let i = margin; i < result.length - margin; i++)
        expect(Math.abs(result[i]! - expected[i]!)).toBeLessThan(2e-4);
    }
  });

  test("lets nothing through that the lower rate can't hold", () => {
    for (const hertz of [8001, 9000, 12_000, 20_000]) {
      const result = resample(sine(hertz, 44_100, 22_050), 44_100, 16_000, 16_000);
      expect(20 * Math.log10(rms(result.subarray(200, -200)) / rms(sine(hertz, 44_100, 22_050)))).toBeLessThan(-80);
    }
  });

  test('keeps a constant', () => {
    const result = resample(new Float32Array(4000).fill(0.25), 11_025, 16_000, 4000);
    for (const value of result.subarray(200, -200)) expect(value).toBeCloseTo(0.25, 4);
  });
});

describe('a sound file', () => {
  const loud = [32767, -32768, 1, -1, 0, 12_345, -20_001];

  test('of 16 bits at its own rate keeps its samples, cut or followed by silence', async () => {
    for (const file of [wavOf(loud, 8000), flacOf(Array.from({ length: 16 }, (_, i) => loud[i] ?? 0))]) {
      expect([...(await beginningOf(file, 8000, 9))]).toEqual([...loud, 0, 0]);
      expect([...(await beginningOf(file, 8000, 3))]).toEqual(loud.slice(0, 3));
    }
  });

  test('in FLAC whose frames leave rate or bits to the beginning of the file is read all the same', async () => {
    const samples = Array.from({ length: 4000 }, (_, i) => ((i * 7919) % 65_536) - 32_768);
    for (const told of [{ rate: false }, { bits: false }, { rate: false, bits: false }])
      expect([...(await beginningOf(flacOf(samples, told), 8000, 4000))]).toEqual(samples);
  });

  test('of two channels becomes their mean', async () => {
    expect([...(await beginningOf(wavOf([100, 300, -100, 100, 32767, 32767], 8000, 2), 8000, 4))]).toEqual([
      200, 0, 32767, 0,
    ]);
  });

  test('of another rate is resampled, and no more of it is read than is needed', async () => {
    const whole = await beginningOf(wavOf(pcm(sine(440, 44_100, 441_000)), 44_100), 16_000, 1600);
    const expected = pcm(sine(440, 16_000, 1600));
    for (let i = 100; i < 1600; i++) expect(Math.abs(whole[i]! - expected[i]!)).toBeLessThan(12);
    // All that is behind the first tenth of a second and what the filter reaches is of no concern.
    const damaged = wavOf(pcm(sine(440, 44_100, 441_000)), 44_100);
    damaged.fill(0x7f, 44 + 2 * 4410 + 400);
    expect(await beginningOf(damaged, 16_000, 1600)).toEqual(whole);
  });

  test('in MP3 has the sine that it was made from', async () => {
    // Behind what an encoder puts before.
    const middle = (await beginningOf(MP3, 8000, 2400)).subarray(1400, 1800);
    expect(rms(middle) / 32768).toBeCloseTo(0.5 / Math.SQRT2, 1);
    const rises = [...middle].filter((value, i) => i > 0 && value >= 0 && middle[i - 1]! < 0).length;
    expect(rises).toBe(400 / (8000 / 500));
  });

  test('in MP3 whose header tells what the encoder added begins and ends with the sound itself', async () => {
    const decoded = await beginningOf(MP3_WITH_HEADER, 8000, 2400);
    expect([...decoded.subarray(1600)]).toEqual(new Array(800).fill(0));
    const expected = pcm(sine(500, 8000, 1600));
    const error = Float64Array.from(expected.subarray(100, 1500), (value, i) => decoded[i + 100]! - value);
    expect(rms(error) / rms(expected)).toBeLessThan(0.1);
    expect(rms(decoded.subarray(0, 100))).toBeGreaterThan(0.8 * rms(expected));
  });

  test('in Opus begins and ends with the sound itself, at whatever rate', async () => {
    for (const rate of [16_000, 48_000]) {
      const decoded = await beginningOf(OPUS, rate, rate / 4);
      const expected = pcm(sine(440, rate, rate / 5));
      expect([...decoded.subarray(expected.length + 40)].every((value) => value === 0)).toBe(true);
      const margin = rate / 100;
      const inside = expected.subarray(margin, -margin);
      const error = Float64Array.from(inside, (value, i) => decoded[i + margin]! - value);
      expect(rms(error) / rms(inside)).toBeLessThan(0.15);
    }
  });

  test.each<[string, { length: number; hop: number; most: number }, number[][], string]>([
    [
      'one behind another',
      { length: 3, hop: 3, most: 9 },
      [
        [1, 2, 3],
        [4, 5, 6],
        [7, 8, 0],
      ],
      'padded',
    ],
    [
      'that overlap',
      { length: 4, hop: 2, most: 9 },
      [
        [1, 2, 3, 4],
        [3, 4, 5, 6],
        [5, 6, 7, 8],
        [7, 8, 0, 0],
      ],
      'padded',
    ],
    ['without one that is mostly silence', { length: 6, hop: 6, most: 9 }, [[1, 2, 3, 4, 5, 6]], 'cut'],
    [
      'with room between',
      { length: 2, hop: 3, most: 9 },
      [
        [1, 2],
        [4, 5],
        [7, 8],
      ],
      'whole',
    ],
    [
      'no more than wanted',
      { length: 2, hop: 2, most: 2 },
      [
        [1, 2],
        [3, 4],
      ],
      'cut',
    ],
    ['of a sound shorter than half of one', { length: 20, hop: 1, most: 9 }, [[1, 2, 3, 4, 5, 6, 7, 8]], 'padded'],
  ])('is taken in windows %s', async (_, windows, expected, fit) => {
    const decoded = await decodeSound(wavOf([1, 2, 3, 4, 5, 6, 7, 8], 8000), 8000, windows);
    const filled = expected.map((window) => [...window, ...new Array<number>(windows.length - window.length).fill(0)]);
    expect({ windows: decoded.windows.map((window) => [...window]), fit: decoded.fit }).toEqual({
      windows: filled,
      fit,
    });
  });

  test('in Opus that is cut or changed is refused', async () => {
    await expect(beginningOf(OPUS.subarray(0, -10), 16_000, 100)).rejects.toThrow(/ends early/);
    const changed = Buffer.from(OPUS);
    changed[OPUS.length - 40]! ^= 1;
    await expect(beginningOf(changed, 16_000, 100)).rejects.toThrow(/CRC differs/);
  });

  test.each<[string, Buffer, RegExp]>([
    ['nothing', Buffer.alloc(0), /empty or can't be read/],
    ['text', Buffer.from('no sound at all'), /begins like none of them/],
    ['a WAV without samples', wavOf([], 8000), /found no samples/],
    ['a WAV of no rate', wavOf([1, 2], 0), /one sample rate/],
    ['a beginning only', Buffer.from('RIFF'), /found no samples/],
    ['a tag only', Buffer.from('ID3\x04\0\0\0\0\0\0', 'latin1'), /found no samples/],
  ])('with %s in it is told', async (_, bytes, expected) => {
    await expect(beginningOf(bytes, 8000, 10)).rejects.toThrow(expected);
  });

  test('that is damaged gives a sound or an error, soon', async () => {
    const random = Random.seeded(1);
    const wholes = [wavOf(pcm(sine(440, 8000, 4000)), 8000), flacOf(pcm(sine(440, 8000, 4000))), MP3, OPUS];
    let [sounds, errors] = [0, 0];
    for (let round = 0; round < 150; round++) {
      const bytes = Buffer.from(wholes[round % wholes.length]!);
      for (let i = 0; i < 1 + (round % 20); i++)
        bytes[random.uint32() % (i % 2 ? 64 : bytes.length)] = random.uint32() & 255;
      const file = round % 5 === 0 ? bytes.subarray(0, random.uint32() % bytes.length) : bytes;
      await beginningOf(file, 16_000, 16_000).then(
        (sound) => {
          sounds++;
          expect(sound).toHaveLength(16_000);
        },
        (error: unknown) => {
          errors++;
          expect(error).toBeInstanceOf(Error);
        },
      );
    }
    expect(sounds).toBeGreaterThan(10);
    expect(errors).toBeGreaterThan(10);
  });
});
