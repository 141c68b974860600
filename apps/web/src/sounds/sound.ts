/** What a sound looks like: its course over time, and its frequencies. Pure. */

export interface Sound {
  samples: Float32Array;
  sampleRate: number;
}

/** A mono WAV file of 16-bit PCM, as runs store them; samples in [-1, 1). @throws for anything else */
export function readWav(file: ArrayBuffer): Sound {
  const view = new DataView(file);
  const word = (at: number) => String.fromCharCode(...new Uint8Array(file, at, 4));
  let sampleRate = 0;
  if (file.byteLength >= 12 && word(0) === 'RIFF' && word(8) === 'WAVE') {
    for (let at = 12; at + 8 <= file.byteLength;) {
      const [id, size] = [word(at), view.getUint32(at + 4, true)];
      if (
        id === 'fmt ' &&
        size >= 16 &&
        view.getUint16(at + 8, true) === 1 &&
        view.getUint16(at + 10, true) === 1 &&
        view.getUint16(at + 22, true) === 16
      )
        sampleRate = view.getUint32(at + 12, true);
      if (id === 'data' && sampleRate > 0)
        return {
          samples: Float32Array.from(
            { length: Math.floor(Math.min(size, file.byteLength - at - 8) / 2) },
            (_, i) => view.getInt16(at + 8 + 2 * i, true) / 32768,
          ),
          sampleRate,
        };
      // Chunks begin at even places.
      at += 8 + size + (size % 2);
    }
  }
  throw new Error('expected a mono WAV file of 16-bit PCM, got something else');
}

/**
 * Lowest and highest sample in each of `columns` stretches of about one length: [2 · columns], low and high in turn.
 */
export function envelope(samples: Float32Array, columns: number): Float32Array {
  const found = new Float32Array(2 * columns);
  for (let column = 0; column < columns; column++) {
    let [low, high] = [Infinity, -Infinity];
    const from = Math.floor((column * samples.length) / columns);
    for (
      let i = from;
      i < Math.max(from + 1, Math.floor(((column + 1) * samples.length) / columns)) && i < samples.length;
      i++
    ) {
      low = Math.min(low, samples[i]!);
      high = Math.max(high, samples[i]!);
    }
    if (low <= high) found.set([low, high], 2 * column);
  }
  return found;
}

const DECIBELS = 80;

/**
 * Magnitudes in [0, 1], from 80 dB below full scale to full scale: frame after frame of `window` samples (a power of
 * two) under a periodic Hann window, half a window apart; a sine of amplitude 1 has full scale. [frames · window / 2],
 * low frequencies first
 */
export function spectrogram(
  { samples }: Sound,
  window: number,
): { frames: number; bins: number; values: Float32Array } {
  const [bins, hop] = [window / 2, window / 2];
  const frames = Math.max(1, 1 + Math.floor((samples.length - window) / hop));
  const values = new Float32Array(frames * bins);
  const hann = Float64Array.from({ length: window }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / window));
  const [real, imaginary] = [new Float64Array(window), new Float64Array(window)];
  for (let frame = 0; frame < frames; frame++) {
    for (let n = 0; n < window; n++) real[n] = (samples[frame * hop + n] ?? 0) * hann[n]!;
    imaginary.fill(0);
    transform(real, imaginary);
    // The window sums to window / 2, and a real sine has half of its amplitude at its bin.
    for (let bin = 0; bin < bins; bin++)
      values[frame * bins + bin] = Math.min(
        1,
        Math.max(0, 1 + (20 * Math.log10((4 * Math.hypot(real[bin]!, imaginary[bin]!)) / window + 1e-12)) / DECIBELS),
      );
  }
  return { frames, bins, values };
}

/** Fast Fourier transform in place (Cooley and Tukey 1965, radix 2): the length is a power of two. */
function transform(real: Float64Array, imaginary: Float64Array): void {
  const length = real.length;
  for (let i = 1, j = 0; i < length; i++) {
    let bit = length >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j]!, real[i]!];
      [imaginary[i], imaginary[j]] = [imaginary[j]!, imaginary[i]!];
    }
  }
  for (let size = 2; size <= length; size *= 2) {
    for (let k = 0; k < size / 2; k++) {
      const [cos, sin] = [Math.cos((-2 * Math.PI * k) / size), Math.sin((-2 * Math.PI * k) / size)];
      for (let a = k; a < length; a += size) {
        const b = a + size / 2;
        const [re, im] = [real[b]! * cos - imaginary[b]! * sin, real[b]! * sin + imaginary[b]! * cos];
        real[b] = real[a]! - re;
        imaginary[b] = imaginary[a]! - im;
        real[a]! += re;
        imaginary[a]! += im;
      }
    }
  }
}
