/**
 * Sounds as log-mel spectrograms and back. Magnitudes are scaled so that a sine of amplitude 1 on a bin's frequency has
 * magnitude 1 there, whatever the sampling rate. A value is (10 · log10(power + 1e-10) + 100) / 100: silence is 0, full
 * scale about 1.
 */
import type { AudioShape } from '#libs/contracts';
import { sumOf } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import type { Random } from './random.js';

const WINDOW_SECONDS = 0.032;
/** Windows that lie over each other at any time. */
const OVERLAP = 2;
const BANDS = 64;
/** Power that is added before the logarithm: −100 dB of full scale, above what rounding to 16 bits adds. */
const FLOOR = 1e-10;
const DECIBELS = 100;
const LN10 = Math.log(10);

interface Scale {
  window: number;
  hop: number;
  bins: number;
  bands: number;
}

/**
 * The spectrograms of a sampling rate: samples of a window, samples from one window to the next (`hop`), bins from 0 Hz
 * to half the sampling rate, and the bands that the bins are gathered in, on average at least two bins each.
 */
function scaleOf(sampleRate: number): Scale {
  const window = OVERLAP * 2 * Math.max(1, Math.round((sampleRate * WINDOW_SECONDS) / (OVERLAP * 2)));
  const bins = window / 2 + 1;
  return { window, hop: window / OVERLAP, bins, bands: Math.min(BANDS, Math.floor(bins / 2)) };
}

/**
 * [frames, bands] of such sounds' spectrograms. A frame every 16 ms, 64 bands at 8 kHz and above: one second is 63 x 64
 * at 8 kHz and at 16 kHz.
 */
export function spectrogramShape({
  sampleRate,
  length,
}: Omit<AudioShape, 'modality'>): [frames: number, bands: number] {
  const { hop, bands } = scaleOf(sampleRate);
  return [1 + Math.floor(length / hop), bands];
}

/** How `logMel` is computed, for those who do so elsewhere. */
export function logMelSettings(sampleRate: number) {
  const { window, hop, bands } = scaleOf(sampleRate);
  return {
    sampleRate,
    window: { samples: window, shape: 'periodic Hann' },
    hopSamples: hop,
    frames: 'centred on every hop-th sample, zeros beyond both ends',
    power: `squared magnitude of the spectrum times ${4 / window}`,
    bands,
    filters: 'triangles of height 1, corners evenly spaced in mels (Slaney) from 0 Hz to half the sampling rate',
    value: `(10 * log10(power of band + ${FLOOR}) + ${DECIBELS}) / ${DECIBELS}`,
    layout: '[frames, bands, 1], low frequencies first',
  };
}

interface Bases extends Scale {
  /** Periodic Hann window. [window] */
  hann: Float64Array;
  /** Frame → real parts, then imaginary parts of its windowed, scaled spectrum. [window, 2 · bins] */
  analysis: Float32Array;
  /** Spectrum → its frame, times the window once more. [2 · bins, window] */
  synthesis: Float32Array;
  /** Power of bins → power of bands. [bins, bands] */
  filters: Float32Array;
}

const known = new Map<number, Bases>();

function basesOf(sampleRate: number): Bases {
  let bases = known.get(sampleRate);
  if (!bases) {
    const { window, hop, bins, bands } = scaleOf(sampleRate);
    const hann = Float64Array.from({ length: window }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / window));
    const analysis = new Float32Array(window * 2 * bins);
    const synthesis = new Float32Array(window * 2 * bins);
    const cosines = Float64Array.from({ length: window }, (_, n) => Math.cos((2 * Math.PI * n) / window));
    const sines = Float64Array.from({ length: window }, (_, n) => Math.sin((2 * Math.PI * n) / window));
    // The window sums to window / 2, and a real sine has half of its amplitude at its bin.
    const scale = 4 / window;
    for (let n = 0; n < window; n++) {
      for (let k = 0; k < bins; k++) {
        const [cos, sin] = [cosines[(k * n) % window]! * hann[n]!, -sines[(k * n) % window]! * hann[n]!];
        analysis[n * 2 * bins + k] = cos * scale;
        analysis[n * 2 * bins + bins + k] = sin * scale;
        // All bins but the first and the last stand for their mirror images too.
        const back = (k === 0 || k === bins - 1 ? 1 : 2) / (window * scale);
        synthesis[k * window + n] = cos * back;
        synthesis[(bins + k) * window + n] = sin * back;
      }
    }
    bases = { window, hop, bins, bands, hann, analysis, synthesis, filters: melFilters(sampleRate, window, bands) };
    known.set(sampleRate, bases);
  }
  return bases;
}

/** Slaney's mel scale (Auditory Toolbox 1998, librosa's default): linear below 1 kHz, logarithmic above. */
const hertzOf = (mel: number): number =>
  mel < 15 ? (200 / 3) * mel : 1000 * Math.exp((mel - 15) * (Math.log(6.4) / 27));
const melOf = (hertz: number): number =>
  hertz < 1000 ? hertz / (200 / 3) : 15 + Math.log(hertz / 1000) / (Math.log(6.4) / 27);

/**
 * Triangles of height 1 whose corners are evenly spaced in mels from 0 Hz to half the sampling rate: between the first
 * centre and the last, each bin's weights sum to 1. [window / 2 + 1, bands]
 */
export function melFilters(sampleRate: number, window: number, bands: number): Float32Array {
  const bins = window / 2 + 1;
  const corners = Array.from({ length: bands + 2 }, (_, i) => hertzOf((melOf(sampleRate / 2) * i) / (bands + 1)));
  const filters = new Float32Array(bins * bands);
  for (let bin = 0; bin < bins; bin++) {
    const hertz = (bin * sampleRate) / window;
    for (let band = 0; band < bands; band++) {
      const [low, centre, high] = [corners[band]!, corners[band + 1]!, corners[band + 2]!];
      filters[bin * bands + band] = Math.max(
        0,
        Math.min((hertz - low) / (centre - low), (high - hertz) / (high - centre)),
      );
    }
  }
  return filters;
}

/**
 * Short-time Fourier transform: frames are centred on every hop-th sample, with silence beyond both ends. sounds: [N,
 * length] → [N · frames, 2 · bins], real parts, then imaginary ones. As a product with cosines and sines it needs no
 * gradient of its own; a fast Fourier transform would take half the time at 16 kHz, a hundredth of a training step
 * less.
 */
export function spectrumOf(sounds: tf.Tensor2D, sampleRate: number): tf.Tensor2D {
  return tf.tidy(() => {
    const [count, length] = sounds.shape;
    const { window, hop, bins, analysis } = basesOf(sampleRate);
    const [frames] = spectrogramShape({ sampleRate, length });
    const padded = tf.pad2d(sounds, [
      [0, 0],
      [window / 2, (frames - 1) * hop + window / 2 - length],
    ]);
    const steps = tf.reshape<tf.Rank.R3>(padded, [count, frames - 1 + OVERLAP, hop]);
    const framed = tf.concat3d(
      Array.from({ length: OVERLAP }, (_, i) => tf.slice3d(steps, [0, i, 0], [count, frames, hop])),
      2,
    );
    return tf.matMul(
      tf.reshape<tf.Rank.R2>(framed, [count * frames, window]),
      tf.tensor2d(analysis, [window, 2 * bins]),
    );
  });
}

/**
 * The sounds whose spectra come nearest in least squares (Griffin and Lim 1984, eq. 6). [N · frames, 2 · bins] → [N,
 * length]
 */
function soundsOfSpectrum(spectrum: tf.Tensor2D, { sampleRate, length }: Omit<AudioShape, 'modality'>): tf.Tensor2D {
  return tf.tidy(() => {
    const { window, hop, bins, hann, synthesis } = basesOf(sampleRate);
    const [frames] = spectrogramShape({ sampleRate, length });
    const framed = tf.reshape<tf.Rank.R3>(tf.matMul(spectrum, tf.tensor2d(synthesis, [2 * bins, window])), [
      -1,
      frames,
      window,
    ]);
    const parts = Array.from({ length: OVERLAP }, (_, i) =>
      tf.pad3d(tf.slice3d(framed, [0, 0, i * hop], [-1, -1, hop]), [
        [0, 0],
        [i, OVERLAP - 1 - i],
        [0, 0],
      ]),
    );
    const weights = new Float32Array((frames - 1) * hop + window);
    for (let frame = 0; frame < frames; frame++)
      for (let n = 0; n < window; n++) weights[frame * hop + n]! += hann[n]! ** 2;
    const added = tf.reshape<tf.Rank.R2>(sumOf(parts), [-1, weights.length]);
    return tf.slice2d(
      tf.div<tf.Tensor2D>(added, tf.maximum(tf.tensor1d(weights), 1e-8)),
      [0, window / 2],
      [-1, length],
    );
  });
}

/** Squared magnitudes [M, bins] of spectra [M, 2 · bins]. */
const powerOf = (spectrum: tf.Tensor2D): tf.Tensor2D =>
  tf.tidy(() => {
    const [real, imaginary] = tf.split(tf.square(spectrum), 2, 1) as [tf.Tensor2D, tf.Tensor2D];
    return tf.add(real, imaginary);
  });

/** sounds: [N, length] in [-1, 1] → [N, frames, bands, 1], about [0, 1]; low frequencies first. */
export function logMel(sounds: tf.Tensor2D, sampleRate: number): tf.Tensor4D {
  return tf.tidy(() => {
    const { bins, bands, filters } = basesOf(sampleRate);
    const mel = tf.matMul(powerOf(spectrumOf(sounds, sampleRate)), tf.tensor2d(filters, [bins, bands]));
    const values = tf.add(tf.mul(tf.log(tf.add(mel, FLOOR)), 10 / (LN10 * DECIBELS)), 1);
    return tf.reshape(values, [sounds.shape[0], -1, bands, 1]);
  });
}

const UNMIXING_STEPS = 50;

/**
 * Power of bands [M, bands] → power of bins [M, bins]: non-negative, by the multiplicative updates of Lee and Seung
 * 2001 for the divergence, which fits quiet bands as well as loud ones.
 */
function powerOfBands(mel: tf.Tensor2D, sampleRate: number): tf.Tensor2D {
  return tf.tidy(() => {
    const { bins, bands, filters } = basesOf(sampleRate);
    const mixing = tf.tensor2d(filters, [bins, bands]);
    const weights = tf.maximum(tf.reshape(tf.sum(mixing, 1), [1, bins]), 1e-6);
    let power = tf.div<tf.Tensor2D>(tf.matMul(mel, mixing, false, true), weights);
    for (let step = 0; step < UNMIXING_STEPS; step++) {
      const next = tf.tidy(() =>
        tf.div<tf.Tensor2D>(
          tf.mul(
            power,
            tf.matMul(tf.div<tf.Tensor2D>(mel, tf.add(tf.matMul(power, mixing), 1e-12)), mixing, false, true),
          ),
          weights,
        ),
      );
      power.dispose();
      power = next;
    }
    return power;
  });
}

const MOMENTUM = 0.99;

/**
 * Sounds [N, length] with about these log-mel spectrograms [N, frames, bands, 1]. Phases are found by Griffin and Lim
 * 1984 with the momentum of Perraudin et al. 2013, from random ones; what goes beyond [-1, 1] is clipped. The same
 * `random` state gives the same sounds.
 */
export function soundsOfLogMel(
  values: tf.Tensor4D,
  sample: Omit<AudioShape, 'modality'>,
  random: Random,
  iterations = 64,
): tf.Tensor2D {
  return tf.tidy(() => {
    const { sampleRate } = sample;
    const { bands } = basesOf(sampleRate);
    const mel: tf.Tensor2D = tf.relu(
      tf.sub(tf.exp(tf.mul(tf.sub(tf.reshape<tf.Rank.R2>(values, [-1, bands]), 1), (LN10 * DECIBELS) / 10)), FLOOR),
    );
    const magnitude = tf.sqrt(powerOfBands(mel, sampleRate));
    // The magnitudes twice, for the real and for the imaginary parts. [M, 2 · bins]
    const magnitudes = tf.concat2d([magnitude, magnitude], 1);
    const phases = Float32Array.from({ length: magnitude.size }, () => random.uniform(-Math.PI, Math.PI));
    let directions = tf.tidy(() => {
      const phase = tf.tensor2d(phases, magnitude.shape);
      return tf.concat2d([tf.cos(phase), tf.sin(phase)], 1);
    });
    let previous = tf.zerosLike(directions);
    for (let iteration = 0; iteration < iterations; iteration++) {
      const [turned, rebuilt] = tf.tidy((): [tf.Tensor2D, tf.Tensor2D] => {
        const spectrum = spectrumOf(soundsOfSpectrum(tf.mul(magnitudes, directions), sample), sampleRate);
        const ahead = tf.sub<tf.Tensor2D>(spectrum, tf.mul(previous, MOMENTUM / (1 + MOMENTUM)));
        const lengths = tf.maximum(tf.sqrt(powerOf(ahead)), 1e-12);
        return [tf.div(ahead, tf.concat2d([lengths, lengths] as tf.Tensor2D[], 1)), spectrum];
      });
      tf.dispose([directions, previous]);
      [directions, previous] = [turned, rebuilt];
    }
    return tf.clipByValue(soundsOfSpectrum(tf.mul(magnitudes, directions), sample), -1, 1);
  });
}
