import { expect, test } from 'vitest';
import { envelope, readWav, spectrogram } from './sound.js';

const RATE = 8000;

/** As runs write it, here by the format's description: a header of 44 bytes, 16-bit samples. */
function wav(samples: number[], { channels = 1 } = {}): ArrayBuffer {
  const bytes = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at: number, word: string) =>
    [...word].forEach((letter, i) => bytes.setUint8(at + i, letter.charCodeAt(0)));
  text(0, 'RIFF');
  bytes.setUint32(4, 36 + 2 * samples.length, true);
  text(8, 'WAVEfmt ');
  bytes.setUint32(16, 16, true);
  bytes.setUint16(20, 1, true);
  bytes.setUint16(22, channels, true);
  bytes.setUint32(24, RATE, true);
  bytes.setUint32(28, 2 * RATE, true);
  bytes.setUint16(32, 2, true);
  bytes.setUint16(34, 16, true);
  text(36, 'data');
  bytes.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, i) => bytes.setInt16(44 + 2 * i, sample, true));
  return bytes.buffer;
}

test('a WAV file is read as it was written; another file is refused', () => {
  const { samples, sampleRate } = readWav(wav([0, 16384, -32768, 32767]));
  expect([...samples]).toEqual([0, 0.5, -1, Math.fround(32767 / 32768)]);
  expect(sampleRate).toBe(RATE);
  for (const other of [new ArrayBuffer(3), new ArrayBuffer(60), wav([1, 2], { channels: 2 })])
    expect(() => readWav(other)).toThrow('expected a mono WAV file of 16-bit PCM');
});

test('the envelope holds the lowest and the highest of each stretch', () => {
  expect([...envelope(Float32Array.of(0, 1, -1, 0.5, 0.25, 0.75), 2)]).toEqual([-1, 1, 0.25, 0.75]);
  expect([...envelope(Float32Array.of(0.5), 3)]).toHaveLength(6);
  expect([...envelope(new Float32Array(), 2)]).toEqual([0, 0, 0, 0]);
});

test('a spectrogram is what the sum of the Fourier transform says', () => {
  const window = 32;
  const samples = Float32Array.from(
    { length: 100 },
    (_, n) => 0.3 * Math.sin(n * 0.7) + 0.1 * Math.cos(n * 2.1) + 0.05 * Math.sin(n * n),
  );
  const { frames, bins, values } = spectrogram({ samples, sampleRate: RATE }, window);
  expect([frames, bins]).toEqual([5, 16]);
  for (let frame = 0; frame < frames; frame++) {
    for (let bin = 0; bin < bins; bin++) {
      let [re, im] = [0, 0];
      for (let n = 0; n < window; n++) {
        const weighted = samples[frame * 16 + n]! * (0.5 - 0.5 * Math.cos((2 * Math.PI * n) / window));
        re += weighted * Math.cos((2 * Math.PI * bin * n) / window);
        im -= weighted * Math.sin((2 * Math.PI * bin * n) / window);
      }
      expect(values[frame * bins + bin]).toBeCloseTo(
        Math.min(1, Math.max(0, 1 + (20 * Math.log10((4 * Math.hypot(re, im)) / window + 1e-12)) / 80)),
        5,
      );
    }
  }
});

test('a sine on a bin has full scale there, silence nothing; what is shorter than a window is seen too', () => {
  const { values, bins } = spectrogram(
    { samples: Float32Array.from({ length: 256 }, (_, n) => Math.sin((2 * Math.PI * 8 * n) / 64)), sampleRate: RATE },
    64,
  );
  expect(values[8]).toBeCloseTo(1, 5);
  expect(Math.max(...values.subarray(0, bins).filter((_, bin) => Math.abs(bin - 8) > 1))).toBeLessThan(0.01);
  expect(Math.max(...spectrogram({ samples: new Float32Array(64), sampleRate: RATE }, 64).values)).toBe(0);
  expect(spectrogram({ samples: new Float32Array(5), sampleRate: RATE }, 64)).toMatchObject({ frames: 1, bins: 32 });
});
