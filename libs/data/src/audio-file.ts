/** WAV, FLAC, MP3 and Ogg Vorbis files → mono sounds of one rate and length. */
import { decoder as flac } from '@audio/decode-flac';
import { decoder as mp3 } from '@audio/decode-mp3';
import { decoder as vorbis } from '@audio/decode-vorbis';
import { decoder as wav } from '@audio/decode-wav';
import { reachOf, resample } from './resampling.js';

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
