import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { InvalidDataError } from './invalid-data.js';
import { Random } from './random.js';
import { logMel, melFilters, soundsOfLogMel, spectrogramShape, spectrumOf } from './sound.js';
import { decodeWav, encodeWav } from './wav.js';

await loadTensorFlow({ threads: 1 });

const RATE = 8000;
const sines = (length: number, ...parts: [amplitude: number, hertz: number, phase: number][]) =>
  tf.tensor2d(
    Float32Array.from({ length }, (_, n) =>
      parts.reduce(
        (sum, [amplitude, hertz, phase]) => sum + amplitude * Math.sin((2 * Math.PI * hertz * n) / RATE + phase),
        0,
      ),
    ),
    [1, length],
  );

describe('the short-time Fourier transform', () => {
  test('meets a loop over the definition', () => {
    const sound = sines(1000, [0.5, 440, 0], [0.2, 3000, 1]);
    const samples = sound.dataSync();
    const found = spectrumOf(sound, RATE).arraySync();
    expect(found).toHaveLength(1 + Math.floor(1000 / 128));
    // A frame that begins before the sound, one inside, one that ends after it; both ends of the spectrum.
    for (const frame of [0, 3, 7]) {
      for (const bin of [0, 1, 14, 96, 128]) {
        let [real, imaginary] = [0, 0];
        for (let n = 0; n < 256; n++) {
          const windowed =
            ((samples[frame * 128 - 128 + n] ?? 0) * (0.5 - 0.5 * Math.cos((2 * Math.PI * n) / 256))) / 64;
          real += windowed * Math.cos((2 * Math.PI * bin * n) / 256);
          imaginary -= windowed * Math.sin((2 * Math.PI * bin * n) / 256);
        }
        expect(found[frame]![bin]).toBeCloseTo(real, 5);
        expect(found[frame]![129 + bin]).toBeCloseTo(imaginary, 5);
      }
    }
  });

  test.each([
    [8000, 256],
    [16_000, 512],
    [11_025, 352],
  ])('at %i Hz: a sine of amplitude 1 has magnitude 1 at its bin', (rate, window) => {
    const bin = 20;
    const sound = tf.tensor2d(
      Float32Array.from({ length: rate }, (_, n) => Math.sin((2 * Math.PI * bin * n) / window)),
      [1, rate],
    );
    const middle = spectrumOf(sound, rate).arraySync()[20]!;
    const bins = window / 2 + 1;
    expect(middle).toHaveLength(2 * bins);
    expect(Math.hypot(middle[bin]!, middle[bins + bin]!)).toBeCloseTo(1, 4);
    expect(Math.hypot(middle[bin + 1]!, middle[bins + bin + 1]!)).toBeCloseTo(0.5, 4);
    expect(Math.hypot(middle[bin + 2]!, middle[bins + bin + 2]!)).toBeCloseTo(0, 4);
  });
});

describe('mel bands', () => {
  // librosa 0.11.0: filters.mel(sr=8000, n_fft=256, n_mels=64, fmin=0, fmax=4000, htk=False, norm=None)
  test("are librosa's triangles on Slaney's scale", () => {
    const filters = melFilters(8000, 256, 64);
    const weights = (band: number) => [...filters].filter((_, i) => i % 64 === band);
    const expected: Record<number, [first: number, weights: number[]]> = {
      0: [1, [0.866482, 0.267037]],
      20: [24, [0.795557, 0.337961]],
      40: [51, [0.255369, 0.77782, 0.710693, 0.207318]],
      63: [119, [0.039086, 0.261176, 0.483266, 0.705355, 0.927445, 0.855925, 0.641944, 0.427962, 0.213981]],
    };
    for (const [band, [first, values]] of Object.entries(expected)) {
      weights(Number(band)).forEach((weight, bin) =>
        expect(weight, `band ${band}, bin ${bin}`).toBeCloseTo(values[bin - first] ?? 0, 5),
      );
    }
    expect(filters.reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(125.006293, 3);
  });

  test.each([1000, 4000, 8000, 16_000, 22_050, 44_100, 48_000])('at %i Hz each has bins of its own', (rate) => {
    const [, bands] = spectrogramShape({ sampleRate: rate, length: rate });
    const window = 4 * Math.round((rate * 0.032) / 4);
    const filters = melFilters(rate, window, bands);
    const sums = new Float64Array(bands);
    filters.forEach((weight, i) => {
      sums[i % bands]! += weight;
    });
    expect(Math.min(...sums)).toBeGreaterThan(0);
  });
});

describe('log-mel spectrograms', () => {
  test('have a frame every 16 ms', () => {
    expect(spectrogramShape({ sampleRate: 8000, length: 8000 })).toEqual([63, 64]);
    expect(spectrogramShape({ sampleRate: 16_000, length: 16_000 })).toEqual([63, 64]);
    expect(spectrogramShape({ sampleRate: 1000, length: 10 })).toEqual([1, 8]);
    expect(logMel(tf.zeros([2, 10]), 1000).shape).toEqual([2, 1, 8, 1]);
  });

  // From |librosa.stft(x, n_fft=256, hop_length=128, pad_mode='constant')|, scaled by 4 / 256, and the filters above.
  test('meet librosa', () => {
    const found = logMel(sines(2000, [0.5, 440, 0], [0.25, 1730, 1]), RATE).arraySync()[0]!;
    expect(found).toHaveLength(16);
    for (const [frame, band, expected] of [
      [0, 3, 0.695378],
      [5, 6, 0.272418],
      [8, 7, 0.332188],
      [8, 30, 0.040381],
      [15, 50, 0.449385],
      [8, 63, 0.000119],
    ] as const) {
      expect(found[frame]![band]![0], `frame ${frame}, band ${band}`).toBeCloseTo(expected, 4);
    }
  });

  test('are 0 for silence and about 1 at full scale', () => {
    expect(tf.max(tf.abs(logMel(tf.zeros([1, 4000]), RATE))).dataSync()[0]).toBeLessThan(1e-6);
    expect(tf.max(logMel(sines(4000, [1, 1000, 0]), RATE)).dataSync()[0]).toBeCloseTo(1, 1);
  });

  test('have the gradient that differences give', () => {
    const random = Random.seeded(3);
    const noise = () =>
      tf.tensor2d(
        Float32Array.from({ length: 700 }, () => random.uniform(-0.5, 0.5)),
        [1, 700],
      );
    // Towards the sound itself, everything gets louder.
    const sound = noise();
    const direction = tf.add(sound, noise());
    const of = (step: number) => tf.mean(logMel(tf.add(sound, tf.mul(direction, step)), RATE)).dataSync()[0]!;
    const slope = tf
      .sum(tf.mul(tf.grad((x) => tf.mean(logMel(x as tf.Tensor2D, RATE)))(sound), direction))
      .dataSync()[0]!;
    expect(slope).toBeCloseTo((of(1e-3) - of(-1e-3)) / 2e-3, 3);
    expect(slope).toBeGreaterThan(0.05);
  });

  test('leave no tensor behind', () => {
    const sound = sines(2000, [0.5, 440, 0]);
    const before = tf.memory().numTensors;
    const values = logMel(sound, RATE);
    soundsOfLogMel(values, { sampleRate: RATE, length: 2000 }, Random.seeded(0), 3).dispose();
    values.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('Griffin and Lim', () => {
  const length = 8000;
  const sample = { sampleRate: RATE, length };
  const chord = tf.tidy(() =>
    tf.mul<tf.Tensor2D>(
      sines(length, [0.2, 261.6, 0], [0.2, 329.6, 1], [0.2, 392, 2], [0.2, 1046.5, 0]),
      tf.exp(tf.mul(tf.range(0, length), -2 / RATE)),
    ),
  );
  const decibels = (signal: tf.Tensor, error: tf.Tensor) =>
    10 * Math.log10(tf.sum(tf.square(signal)).dataSync()[0]! / tf.sum(tf.square(error)).dataSync()[0]!);

  // Measured: 22 to 25 dB; phases as they are drawn give 12.
  test('find a sound with the spectrogram of a chord', () => {
    const values = logMel(chord, RATE);
    const near = (iterations: number) =>
      decibels(values, tf.sub(logMel(soundsOfLogMel(values, sample, Random.seeded(0), iterations), RATE), values));
    expect(near(64)).toBeGreaterThan(20);
    expect(near(64)).toBeGreaterThan(near(0) + 6);
  });

  test('keep the length, the loudness and each sound apart, and are the same for the same seed', () => {
    const both = tf.concat2d([chord, tf.zeros([1, length])], 0);
    const [first, again, other] = [5, 5, 6].map((seed) =>
      soundsOfLogMel(logMel(both, RATE), sample, Random.seeded(seed), 8),
    ) as [tf.Tensor2D, tf.Tensor2D, tf.Tensor2D];
    expect(first.shape).toEqual([2, length]);
    expect(tf.max(tf.abs(tf.sub(first, again))).dataSync()[0]).toBe(0);
    expect(tf.max(tf.abs(tf.sub(first, other))).dataSync()[0]).toBeGreaterThan(0.01);
    expect(tf.max(tf.abs(tf.slice2d(first, [1, 0], [1, -1]))).dataSync()[0]).toBeLessThan(1e-3);
    const power = (x: tf.Tensor) => tf.mean(tf.square(x)).dataSync()[0]!;
    expect(power(tf.slice2d(first, [0, 0], [1, -1])) / power(chord)).toBeCloseTo(1, 0);
  });
});

describe('WAV files', () => {
  test('give back the samples, rounded to 16 bits, and what goes beyond is clipped', () => {
    const samples = Float32Array.of(0, 0.5, -1, 0.25, 1, -3, 1 / 32768, 0.1);
    const bytes = encodeWav(samples, 8000);
    expect(bytes).toHaveLength(44 + 16);
    expect(bytes.toString('latin1', 0, 4) + bytes.toString('latin1', 8, 16)).toBe('RIFFWAVEfmt ');
    const read = decodeWav(bytes);
    expect(read.sampleRate).toBe(8000);
    expect([...read.samples]).toEqual([0, 0.5, -1, 0.25, 32767 / 32768, -1, 1 / 32768, 3277 / 32768]);
  });

  test('may have other chunks, of odd sizes too', () => {
    const bytes = encodeWav([0.5], 16_000);
    const list = Buffer.from('LIST\x03\x00\x00\x00abc\x00', 'latin1');
    expect([...decodeWav(Buffer.concat([bytes.subarray(0, 36), list, bytes.subarray(36)])).samples]).toEqual([0.5]);
  });

  test.each([
    ['something else', (bytes: Buffer) => bytes.subarray(1), 'no RIFF'],
    [
      'stereo',
      (bytes: Buffer) => {
        bytes.writeUInt16LE(2, 22);
        return bytes;
      },
      '2 channels',
    ],
    ['a file that ends early', (bytes: Buffer) => bytes.subarray(0, -1), 'found 3'],
    ['a file without data', (bytes: Buffer) => bytes.subarray(0, 36), 'found none'],
  ])('refuses %s', (_, damage, message) => {
    const read = () => decodeWav(damage(encodeWav([0, 0], 8000)));
    expect(read).toThrow(InvalidDataError);
    expect(read).toThrow(message);
  });
});
