import { Augmentation, SOUND_AUGMENTATIONS, type SampleShape } from '#libs/contracts';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { Random } from './random.js';
import { addNoise, amplify, augmentSounds, maskSpectrograms, shiftInTime, shiftPitch } from './sound-augmentation.js';
import { inputOf, inputShape, viewsOf, viewsOfEach } from './views.js';

await loadTensorFlow({ threads: 1 });

const RATE = 8000;
const LENGTH = 2000;
const sample: SampleShape = { modality: 'audio', sampleRate: RATE, length: LENGTH };
const everything = Augmentation.parse({
  shift: {},
  pitch: { p: 1 },
  gain: {},
  noise: { p: 1 },
  timeMask: { p: 1 },
  frequencyMask: { p: 1 },
});
const noises = (count: number, amplitude = 0.3, length = LENGTH) => {
  const random = Random.seeded(7, 'noises');
  return tf.tensor2d(
    Float32Array.from({ length: count * length }, () => random.uniform(-amplitude, amplitude)),
    [count, length],
  );
};
const sine = (hertz: number, length: number, amplitude = 0.5) =>
  tf.tensor2d(
    Float32Array.from({ length }, (_, n) => amplitude * Math.sin((2 * Math.PI * hertz * n) / RATE)),
    [1, length],
  );
const largestDifference = (a: tf.Tensor, b: tf.Tensor) => tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]!;
const rows = (x: tf.Tensor2D) => x.arraySync();

test('shifts move whole samples, and silence comes in', () => {
  const sounds = tf.tensor2d(
    [
      [1, 2, 3, 4, 5],
      [1, 2, 3, 4, 5],
      [1, 2, 3, 4, 5],
      [1, 2, 3, 4, 5],
    ],
    [4, 5],
  );
  expect(rows(shiftInTime(sounds, Int32Array.of(0, 2, -1, 5)))).toEqual([
    [1, 2, 3, 4, 5],
    [0, 0, 1, 2, 3],
    [2, 3, 4, 5, 0],
    [0, 0, 0, 0, 0],
  ]);
});

/** Frequency of the largest of the spectrum's bins, by the definition, in the middle half of a sound. */
function peakOf(sound: number[]): number {
  const [from, size] = [Math.floor(sound.length / 4), Math.floor(sound.length / 2)];
  let best = { hertz: 0, power: 0 };
  for (let hertz = 50; hertz < RATE / 2; hertz += 5) {
    let [real, imaginary] = [0, 0];
    for (let n = 0; n < size; n++) {
      const windowed = sound[from + n]! * (1 - Math.cos((2 * Math.PI * n) / size));
      real += windowed * Math.cos((2 * Math.PI * hertz * n) / RATE);
      imaginary += windowed * Math.sin((2 * Math.PI * hertz * n) / RATE);
    }
    const power = real ** 2 + imaginary ** 2;
    if (power > best.power) best = { hertz, power };
  }
  return best.hertz;
}

test('pitch moves a sine by the semitones, keeps its loudness, and what would fold back is filtered out', () => {
  const tone = sine(600, 4000);
  const semitones = [0, 12, -12, 7, -3];
  const moved = rows(shiftPitch(tf.tile(tone, [5, 1]), Float32Array.from(semitones)));
  moved.forEach((sound, i) => {
    expect(sound).toHaveLength(4000);
    expect(Math.abs(peakOf(sound) - 600 * 2 ** (semitones[i]! / 12)), `${semitones[i]} semitones`).toBeLessThanOrEqual(
      5,
    );
    expect(Math.max(...sound.slice(1500, 2500))).toBeCloseTo(0.5, 1);
  });
  expect(largestDifference(tf.tensor2d([moved[0]!]), tone)).toBeLessThan(1e-5);
  // An octave up takes half the time, about the middle.
  expect(Math.max(...moved[1]!.slice(0, 980), ...moved[1]!.slice(3020))).toBe(0);
  const [high] = rows(shiftPitch(sine(3000, 4000), Float32Array.of(12)));
  expect(Math.max(...high!.slice(1200, 2800))).toBeLessThan(0.02);
});

test('pitch leaves nothing of what it would move beyond half the sampling rate', () => {
  // 3,700 Hz at 8 kHz up two semitones are 4,153 Hz, which folded back are 3,847 Hz.
  const [sound] = rows(shiftPitch(sine(3700, 8000), Float32Array.of(2)));
  const middle = sound!.slice(1500, 6500);
  const decibels = 10 * Math.log10((2 * middle.reduce((sum, x) => sum + x * x, 0)) / middle.length / 0.25);
  expect(decibels).toBeLessThan(-85);
});

test('gain is in decibels of amplitude, and clips', () => {
  expect(
    rows(
      amplify(
        tf.tensor2d([
          [0.1, -0.5],
          [0.1, -0.5],
          [0.1, -0.5],
        ]),
        Float32Array.of(0, 20, -20),
      ),
    ).map((row) => row.map((x) => Number(x.toFixed(6)))),
  ).toEqual([
    [0.1, -0.5],
    [1, -1],
    [0.01, -0.05],
  ]);
});

test('noise has the signal-to-noise ratio that was drawn, and a silent sound stays silent', () => {
  const sounds = tf.concat2d([noises(3, 0.1), tf.zeros([1, LENGTH])], 0);
  const snrs = [0, 10, 30];
  const found = addNoise(sounds, Float32Array.of(...snrs, 10), Random.seeded(0));
  const [signal, noise] = [sounds, tf.sub(found, sounds)].map((x) => tf.mean(tf.square(x), 1).dataSync()) as [
    Float32Array,
    Float32Array,
  ];
  snrs.forEach((snr, i) => expect(10 * Math.log10(signal[i]! / noise[i]!)).toBeCloseTo(snr, 2));
  expect(rows(found)[3]!.every((x) => x === 0)).toBe(true);
  // White: no sample tells of the next.
  const [first] = rows(tf.sub(found, sounds));
  expect(Math.abs(first!.slice(1).reduce((sum, x, n) => sum + x * first![n]!, 0)) / (LENGTH * noise[0]!)).toBeLessThan(
    0.1,
  );
});

test('masks silence one block of frames and one of bands', () => {
  const masked = maskSpectrograms(
    tf.ones([50, 40, 20, 1]),
    Augmentation.parse({ timeMask: { maxFraction: 0.25, p: 1 }, frequencyMask: { maxFraction: 0.5, p: 1 } }),
    Random.seeded(1),
  ).arraySync();
  const widths = masked.map((spectrogram) => {
    const frames = spectrogram.map((frame) => frame.every(([x]) => x === 0));
    const bands = spectrogram[0]!.map((_, band) => spectrogram.every((frame) => frame[band]![0] === 0));
    spectrogram.forEach((frame, t) => frame.forEach(([x], band) => expect(x).toBe(frames[t]! || bands[band]! ? 0 : 1)));
    for (const silenced of [frames, bands]) expect(silenced.join('').match(/(true)+/g)).toHaveLength(1);
    return [frames, bands].map((silenced) => silenced.filter(Boolean).length);
  });
  expect(new Set(widths.map(([frames]) => frames))).toEqual(new Set([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
  expect(Math.max(...widths.map(([, bands]) => bands!))).toBe(10);
});

describe('a view of a sound', () => {
  test.each(SOUND_AUGMENTATIONS)('%s leaves alone the sounds that it does not fall on', (name) => {
    const sounds = noises(40, 0.3, 500);
    const augmentation = Augmentation.parse({ [name]: { p: 0.5 } });
    const spectrograms = inputOf({ ...sample, length: 500 }, sounds);
    const [views, originals] = ['timeMask', 'frequencyMask'].includes(name)
      ? [maskSpectrograms(spectrograms, augmentation, Random.seeded(9)).arraySync(), spectrograms.arraySync()]
      : [augmentSounds(sounds, augmentation, Random.seeded(9)).arraySync(), sounds.arraySync()];
    const untouched = views.filter((view, i) => JSON.stringify(view) === JSON.stringify(originals[i])).length;
    // 20 expected of 40; 8 lies four standard deviations below.
    expect(untouched).toBeGreaterThan(7);
    expect(untouched).toBeLessThan(33);
  });

  test("has the shape of an encoder's input, is the same for the same seed, and finite for silence", () => {
    const sounds = tf.concat2d([noises(8), tf.zeros([1, LENGTH]), tf.ones([1, LENGTH])], 0);
    const [first, again, other] = [3, 3, 4].map((seed) => viewsOf(sample, sounds, everything, Random.seeded(seed))) as [
      tf.Tensor4D,
      tf.Tensor4D,
      tf.Tensor4D,
    ];
    expect(first.shape.slice(1)).toEqual(inputShape(sample));
    expect(inputShape(sample)).toEqual([16, 64, 1]);
    expect(largestDifference(first, again)).toBe(0);
    expect(largestDifference(first, other)).toBeGreaterThan(0.1);
    expect(tf.min(first).dataSync()[0]).toBeGreaterThan(-1e-5);
    expect(tf.max(first).dataSync()[0]).toBeLessThan(1.1);
    expect(tf.max(tf.slice4d(first, [8, 0, 0, 0], [1, -1, -1, -1])).dataSync()[0]).toBeLessThan(1e-5);
  });

  test('as a waveform stays within [-1, 1]', () => {
    const loud = tf.mul<tf.Tensor2D>(tf.sign(noises(20)), 1);
    const views = augmentSounds(loud, everything, Random.seeded(0));
    expect(tf.max(tf.abs(views)).dataSync()[0]).toBeLessThanOrEqual(1);
    expect(views.shape).toEqual([20, LENGTH]);
  });

  test('is the sound itself where nothing is on, and a tensor of its own', () => {
    const sounds = noises(2);
    expect(largestDifference(viewsOf(sample, sounds, {}, Random.seeded(0)), inputOf(sample, sounds))).toBe(0);
    const waveforms = inputOf(sample, sounds, 'waveform');
    expect(waveforms.shape.slice(1)).toEqual(inputShape(sample, 'waveform'));
    waveforms.dispose();
    augmentSounds(sounds, {}, Random.seeded(0)).dispose();
    expect(sounds.isDisposed).toBe(false);
  });

  test('leaves no tensor behind', () => {
    const sounds = noises(6);
    viewsOf(sample, sounds, everything, Random.seeded(1)).dispose();
    const before = tf.memory().numTensors;
    viewsOf(sample, sounds, everything, Random.seeded(2)).dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('the views of each sample', () => {
  const images: SampleShape = { modality: 'image', height: 8, width: 8, channels: 3 };
  const random = Random.seeded(4);
  const samples = tf.tensor4d(
    Float32Array.from({ length: 6 * 8 * 8 * 3 }, () => random.uniform()),
    [6, 8, 8, 3],
  );

  test('are made by different combinations, one below the other', () => {
    const views = viewsOfEach(
      images,
      samples,
      [
        { augmentation: {}, count: 1 },
        { augmentation: Augmentation.parse({ solarize: { threshold: 0, p: 1 } }), count: 1 },
      ],
      Random.seeded(1),
    );
    const [first, second] = tf.split(views, 2) as [tf.Tensor4D, tf.Tensor4D];
    expect(largestDifference(first, samples)).toBe(0);
    expect(largestDifference(second, tf.sub(1, samples))).toBe(0);
  });

  test('made alike are those of one pass over the samples, twice', () => {
    const augmentation = Augmentation.parse({ crop: {}, colorJitter: {} });
    const views = viewsOfEach(images, samples, [{ augmentation, count: 2 }], Random.seeded(1));
    const twice = tf.concat([samples, samples], 0);
    expect(largestDifference(views, viewsOf(images, twice, augmentation, Random.seeded(1)))).toBe(0);
  });
});
