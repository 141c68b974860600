/** Sounds at another sampling rate. */

/** Zero crossings of the sinc on each side of its centre. */
const CROSSINGS = 32;
/** Shape of the Kaiser window: its side lobes lie 90 dB down. */
const KAISER_BETA = 9;
/** End of the passband in Nyquist frequencies, so that nothing is left at the lower of both. */
const ROLLOFF = 0.91;
/** Kernel values kept per crossing; between them it is linear. */
const STEPS = 512;

const cutoffOf = (from: number, to: number): number => ROLLOFF * Math.min(1, to / from);
/** How many samples on each side of a place its value depends on. */
export const reachOf = (from: number, to: number): number => Math.ceil(CROSSINGS / cutoffOf(from, to));

/** Modified Bessel function of the first kind, order 0, by its series. */
function bessel(x: number): number {
  let sum = 1;
  for (let k = 1, term = 1; term > 1e-12 * sum; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}

/** sinc(x) under a Kaiser window, x from 0 to CROSSINGS in steps of 1 / STEPS. */
const KERNEL = Float64Array.from({ length: CROSSINGS * STEPS + 2 }, (_, i) => {
  const x = i / STEPS;
  return x >= CROSSINGS
    ? 0
    : (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x)) *
        (bessel(KAISER_BETA * Math.sqrt(1 - (x / CROSSINGS) ** 2)) / bessel(KAISER_BETA));
});

/** Places between two samples whose weights are kept: two usual rates have no more between them. */
const KEPT_PLACES = 1024;

/**
 * Band-limited resampling (Smith, "Digital audio resampling"): the sum of the samples around each place, weighted by a
 * windowed sinc whose band ends below the lower of both Nyquist frequencies. Silence before and after. At most `length`
 * samples of the result, from its sample `start` on.
 */
export function resample(samples: Float32Array, from: number, to: number, length: number, start = 0): Float32Array {
  const cutoff = cutoffOf(from, to);
  const reach = reachOf(from, to);
  const weightsAt = (fraction: number): Float64Array => {
    const weights = new Float64Array(2 * reach);
    for (let i = 0; i < weights.length; i++) {
      const place = Math.min(Math.abs(i - reach + 1 - fraction) * cutoff, CROSSINGS) * STEPS;
      const step = Math.floor(place);
      weights[i] = cutoff * (KERNEL[step]! + (place - step) * (KERNEL[step + 1]! - KERNEL[step]!));
    }
    return weights;
  };
  const kept = new Map<number, Float64Array>();
  const result = new Float32Array(Math.min(length, Math.ceil((samples.length * to) / from) - start));
  for (let at = 0; at < result.length; at++) {
    const n = start + at;
    // Exact as long as n · from is, and the same for every place with the same weights.
    const remainder = (n * from) % to;
    const first = (n * from - remainder) / to - reach + 1;
    let weights = kept.get(remainder);
    if (!weights) {
      weights = weightsAt(remainder / to);
      if (kept.size < KEPT_PLACES) kept.set(remainder, weights);
    }
    const end = Math.min(2 * reach, samples.length - first);
    let sum = 0;
    for (let i = Math.max(0, -first); i < end; i++) sum += samples[first + i]! * weights[i]!;
    result[at] = sum;
  }
  return result;
}
