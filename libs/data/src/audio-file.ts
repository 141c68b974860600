/** WAV, FLAC, MP3 and Ogg Vorbis files → mono sounds of one rate and length. */
import { decoder as flac } from '@audio/decode-flac';
import { decoder as mp3 } from '@audio/decode-mp3';
import { decoder as vorbis } from '@audio/decode-vorbis';
import { decoder as wav } from '@audio/decode-wav';

/** Bytes of a packed file that are decoded at once: few, since a few bytes of silence unpack to many samples. */
const PIECE_BYTES = 4096;
/** Bytes of a WAV, which is not packed, that are decoded at once. */
const WAV_PIECE_BYTES = 2 ** 16;
/** Bytes before the first sample, where pictures and other notes lie. */
const MAX_SILENT_BYTES = 32 * 2 ** 20;
const MAX_RATE = 768_000;
/** Bytes of a FLAC's magic and its first block, STREAMINFO. */
const FLAC_INFO_BYTES = 42;

interface Decoded {
  channelData: readonly Float32Array[];
  sampleRate: number;
}
interface Decoder {
  decode(piece: Uint8Array): Decoded;
  flush?(): Decoded | Promise<Decoded>;
  free(): void;
}

/**
 * The first `length` samples at `sampleRate`, the mean of the channels, followed by silence where the file ends before.
 * Loudness is kept: full scale is ±32768. Reads only as much of the file as is needed.
 * @throws Error for what is none of these formats, or has no sound in it.
 */
export async function decodeSound(bytes: Buffer, sampleRate: number, length: number): Promise<Int16Array> {
  const { samples, rate } = await decodeMono(
    bytes,
    (sourceRate) => Math.ceil((length * sourceRate) / sampleRate) + reachOf(sourceRate, sampleRate),
  );
  const sound = rate === sampleRate ? samples.subarray(0, length) : resample(samples, rate, sampleRate, length);
  const result = new Int16Array(length);
  for (let i = 0; i < sound.length; i++) result[i] = Math.max(-32768, Math.min(32767, Math.round(sound[i]! * 32768)));
  return result;
}

async function decoderFor(bytes: Buffer): Promise<{ decoder: Decoder; format: 'wav' | 'flac' | 'lossy' }> {
  const magic = bytes.subarray(0, 4).toString('latin1');
  if (magic === 'RIFF') return { decoder: wav(), format: 'wav' };
  if (magic === 'fLaC') return { decoder: await flacDecoder(bytes), format: 'flac' };
  if (magic === 'OggS') return { decoder: await vorbis(), format: 'lossy' };
  // A tag, or the eleven set bits that a frame begins with.
  if (magic.startsWith('ID3') || (bytes[0] === 0xff && (bytes[1]! & 0xe0) === 0xe0))
    return { decoder: await mp3(), format: 'lossy' };
  throw new Error(
    bytes.length === 0
      ? "the file is empty or can't be read"
      : 'expected WAV, FLAC, MP3 or Ogg Vorbis, the file begins like none of them',
  );
}

/**
 * The decoder hands its frames to libFLAC without what stands before them. A frame may leave its rate and its bits to
 * the file's first block (RFC 9639, 9.1), so libFLAC is given that block first.
 */
async function flacDecoder(bytes: Buffer): Promise<Decoder> {
  const decoder: Decoder & { decodeFrames?(frames: Uint8Array[]): Promise<Decoded> } = await flac();
  const first = Uint8Array.from(bytes.subarray(0, FLAC_INFO_BYTES));
  if (first.length === FLAC_INFO_BYTES && (bytes.readUInt32BE(4) & 0x7fffffff) === 34) {
    first[4] = 0x80; // The last block before the frames.
    await decoder.decodeFrames!([first]);
  }
  return decoder;
}

async function decodeMono(
  bytes: Buffer,
  needed: (rate: number) => number,
): Promise<{ samples: Float32Array; rate: number }> {
  const { decoder, format } = await decoderFor(bytes);
  const pieceBytes = format === 'wav' ? WAV_PIECE_BYTES : PIECE_BYTES;
  const parts: Float32Array[] = [];
  let rate = 0;
  let have = 0;
  const keep = ({ channelData, sampleRate }: Decoded): void => {
    const frames = channelData[0]?.length ?? 0;
    if (frames === 0) return;
    if (!(sampleRate > 0 && sampleRate <= MAX_RATE) || (rate !== 0 && sampleRate !== rate))
      throw new Error(
        `expected one sample rate of up to ${MAX_RATE} Hz, got ${rate ? `${rate} and ` : ''}${sampleRate}`,
      );
    rate = sampleRate;
    const mono = new Float32Array(Math.min(frames, needed(rate) - have));
    for (const channel of channelData)
      for (let i = 0; i < mono.length; i++) mono[i]! += channel[i]! / channelData.length;
    // The decoders give the code 32767 as 1, that of WAV -32768 as -1 and that of FLAC -32767: here it is 32768 that is
    // ±1.
    if (format !== 'lossy')
      for (let i = 0; i < mono.length; i++) if (format === 'flac' || mono[i]! > 0) mono[i]! *= 32767 / 32768;
    if (!mono.every(Number.isFinite)) throw new Error('expected finite samples');
    parts.push(mono);
    have += mono.length;
  };
  try {
    for (let start = 0; start < bytes.length && (rate === 0 || have < needed(rate)); start += pieceBytes) {
      if (rate === 0 && start > MAX_SILENT_BYTES)
        throw new Error(`expected sound in the first ${MAX_SILENT_BYTES} bytes`);
      keep(decoder.decode(bytes.subarray(start, start + pieceBytes)));
    }
    if (decoder.flush && (rate === 0 || have < needed(rate))) keep(await decoder.flush());
  } finally {
    decoder.free();
  }
  if (have === 0) throw new Error('expected a sound, found no samples');
  const samples = new Float32Array(have);
  let at = 0;
  for (const part of parts) {
    samples.set(part, at);
    at += part.length;
  }
  return { samples, rate };
}

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
const reachOf = (from: number, to: number): number => Math.ceil(CROSSINGS / cutoffOf(from, to));

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
 * samples.
 */
export function resample(samples: Float32Array, from: number, to: number, length: number): Float32Array {
  const cutoff = cutoffOf(from, to);
  const reach = reachOf(from, to);
  const weightsAt = (fraction: number): Float64Array =>
    Float64Array.from({ length: 2 * reach }, (_, i) => {
      const place = Math.min(Math.abs(i - reach + 1 - fraction) * cutoff, CROSSINGS) * STEPS;
      const step = Math.floor(place);
      return cutoff * (KERNEL[step]! + (place - step) * (KERNEL[step + 1]! - KERNEL[step]!));
    });
  const kept = new Map<number, Float64Array>();
  const result = new Float32Array(Math.min(length, Math.ceil((samples.length * to) / from)));
  for (let n = 0; n < result.length; n++) {
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
    result[n] = sum;
  }
  return result;
}
