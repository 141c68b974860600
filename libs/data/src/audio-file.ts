/** WAV, AIFF, FLAC, MP3, Ogg Vorbis and Ogg Opus files → mono sounds of one rate and length. */
import { decoder as flac } from '@audio/decode-flac';
import { decoder as mp3 } from '@audio/decode-mp3';
import { decoder as opus } from '@audio/decode-opus';
import { decoder as vorbis } from '@audio/decode-vorbis';
import { createHash, type Hash } from 'node:crypto';
import { isAiff, openAiff } from './aiff.js';
import { reachOf, resample } from './resampling.js';
import { decodeWave, openWave } from './riff.js';
import {
  endTagsLength,
  flacInfo,
  id3Length,
  nextFrames,
  requireWholeFlac,
  requireWholeMp3,
  requireWholeOgg,
  type FlacInfo,
} from './sound-containers.js';

/** Bytes of a packed file that are decoded at once: few, since a few bytes of silence unpack to many samples. */
const PIECE_BYTES = 4096;
/** Bytes before the first sample, where pictures and other notes lie. */
const MAX_SILENT_BYTES = 32 * 2 ** 20;
const MAX_RATE = 768_000;
/** Full scale is 1. Floats may be somewhat above it (here 24 dB); what is far above are whole numbers of 16 bits. */
const MOST_PEAK = 16;
/** Bytes of a FLAC's magic and its first block, STREAMINFO. */
const FLAC_INFO_BYTES = 42;
/** Seconds of a FLAC that are decoded and held against its checksum whatever is needed of them. */
const MOST_CHECKED_SECONDS = 600;
/** Bytes of one that does not say how many samples it has. */
const MOST_CHECKED_BYTES = 128 * 2 ** 20;
export const SOUND_FORMATS = 'WAV, AIFF, FLAC, MP3, Ogg Vorbis or Opus';

interface Decoded {
  channelData: readonly Float32Array[];
  sampleRate: number;
}
interface Decoder {
  decode(piece: Uint8Array): Decoded;
  flush?(): Decoded | Promise<Decoded>;
  free(): void;
}

/** Which samples are taken of a sound: one window from its beginning on, and more of them every `hop` samples. */
export interface SoundWindows {
  length: number;
  hop: number;
  most: number;
}

export interface FittedSound {
  windows: Int16Array[];
  /** Whether sound is left over behind the last window, or that is filled up with silence. */
  fit: 'whole' | 'cut' | 'padded';
}

/**
 * Windows of the sound at `sampleRate`, the mean of the channels. Behind the end there is silence: the first window may
 * be of it to any part, others to half.
 * Loudness is kept: full scale is ±32768. What a file is, its bytes say and not its name.
 * @throws Error for what is none of these formats, has no sound in it, or less than it promises.
 */
export async function decodeSound(bytes: Buffer, sampleRate: number, windows: SoundWindows): Promise<FittedSound> {
  const length = (windows.most - 1) * windows.hop + windows.length;
  const needed = (sourceRate: number): number =>
    Math.ceil((length * sourceRate) / sampleRate) + reachOf(sourceRate, sampleRate);
  const { samples, rate } = isWave(bytes) || isAiff(bytes) ? waveOf(bytes, needed) : await decodeMono(bytes, needed);
  const sound = rate === sampleRate ? samples.subarray(0, length) : resample(samples, rate, sampleRate, length);
  const taken = windowsOf(sound, windows);
  const whole = (samples.length * sampleRate) / rate;
  const end = (taken.length - 1) * windows.hop + windows.length;
  if (whole >= end + 1) return { windows: taken, fit: 'cut' };
  return { windows: taken, fit: sound.length < end ? 'padded' : 'whole' };
}

/** As codes of 16 bits. */
function windowsOf(sound: Float32Array, { length, hop, most }: SoundWindows): Int16Array[] {
  const count = Math.max(1, Math.min(most, Math.floor((sound.length - length / 2) / hop) + 1));
  return Array.from({ length: count }, (_, w) => {
    const codes = new Int16Array(length);
    const samples = sound.subarray(w * hop, w * hop + length);
    for (let i = 0; i < samples.length; i++)
      codes[i] = Math.max(-32768, Math.min(32767, Math.round(samples[i]! * 32768)));
    return codes;
  });
}

const isWave = (bytes: Buffer): boolean => /^(RIFF|RF64|BW64)$/.test(bytes.toString('latin1', 0, 4));

interface Mono {
  samples: Float32Array;
  rate: number;
}

function waveOf(bytes: Buffer, needed: (rate: number) => number): Mono {
  const wave = isAiff(bytes) ? openAiff(bytes) : openWave(bytes);
  const rate = requireRate(wave.rate);
  const samples = decodeWave(wave, needed(rate));
  if (samples.length === 0) throw new Error('expected a sound, found no samples');
  if (!samples.every(Number.isFinite)) throw new Error('expected finite samples');
  const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
  if (peak > MOST_PEAK)
    throw new Error(`expected samples between -1 and 1, got up to ${peak.toPrecision(3)}: divide them by full scale`);
  return { samples, rate };
}

function requireRate(rate: number, before = 0): number {
  if (!(rate > 0 && rate <= MAX_RATE) || (before !== 0 && rate !== before))
    throw new Error(`expected one sample rate of up to ${MAX_RATE} Hz, got ${before ? `${before} and ` : ''}${rate}`);
  return rate;
}

interface Opened {
  decoder: Decoder;
  /** The file from its first byte of sound on. */
  content: Buffer;
  flac?: FlacInfo | undefined;
}

/** @throws Error for what is no such file, or breaks off. */
async function openPacked(bytes: Buffer): Promise<Opened> {
  const start = id3Length(bytes);
  const content = bytes.subarray(start);
  const magic = content.toString('latin1', 0, 4);
  if (magic === 'fLaC') {
    const untagged = content.subarray(0, content.length - endTagsLength(content));
    const flac = flacInfo(content);
    // As those have it that were written to a pipe.
    if (flac?.samples === 0 && untagged.length <= MOST_CHECKED_BYTES) requireWholeFlac(untagged);
    return { decoder: await flacDecoder(content), content: untagged, flac };
  }
  if (magic === 'OggS') {
    const decoder = decoderOfOgg(content);
    requireWholeOgg(content);
    return { decoder: await decoder(), content };
  }
  const isSync = content[0] === 0xff && (content[1]! & 0xe0) === 0xe0;
  // Eleven set bits begin a frame of MPEG; that of AAC has no layer.
  if (isSync && (content[1]! & 0xf6) === 0xf0)
    throw new Error(`expected ${SOUND_FORMATS}, the file is AAC: ${AS_FLAC}`);
  // Behind tags there can be something else before the first frame.
  const found = start > 0 ? nextFrames(content, 0) : undefined;
  const first = isSync ? 0 : found;
  if (first !== undefined) {
    requireWholeMp3(content, first);
    return { decoder: await mp3(), content: content.subarray(first) };
  }
  if (start > 0 && content.length === 0) throw new Error('expected a sound, found no samples');
  throw new Error(
    bytes.length === 0
      ? "the file is empty or can't be read"
      : `expected ${SOUND_FORMATS}, the file ${foreignFormat(content)}`,
  );
}

/**
 * What to do with AAC, in MP4 or alone: of its decoders those that are kept up are under the GPL, which this is not.
 */
const AS_FLAC = 'write it as FLAC (ffmpeg -i FILE FILE.flac)';

/** What else people call sounds, by how it begins. */
const FOREIGN: readonly (readonly [start: string, name: string])[] = [
  ['\x1aE\xdf\xa3', 'WebM or Matroska'],
  ['0&²u', 'WMA'],
  ['NIST_1A', 'NIST SPHERE'],
  ['.snd', 'AU'],
  ['caff', 'CAF'],
  ['#!AMR', 'AMR'],
  ['riff', 'Wave64'],
  ['wvpk', 'WavPack'],
  ['MAC ', "Monkey's Audio"],
  ['MThd', 'MIDI, which has no sound in it'],
];

/** What a file is that is not read, and what to do. */
function foreignFormat(bytes: Buffer): string {
  if (bytes.toString('latin1', 4, 8) === 'ftyp') return `is MP4 or M4A: ${AS_FLAC}`;
  const start = bytes.toString('latin1', 0, 16);
  const [, name] = FOREIGN.find(([magic]) => start.startsWith(magic)) ?? [];
  return `${name === undefined ? 'begins like none of them' : `is ${name}`}: ${AS_FLAC}`;
}

/** By the first packet of an Ogg file. @throws Error naming the codec of what is neither Vorbis nor Opus. */
function decoderOfOgg(bytes: Buffer): () => Promise<Decoder> {
  const start = 27 + (bytes[26] ?? 0);
  const codec = bytes.toString('latin1', start, start + 8);
  if (codec === 'OpusHead') return opus;
  const other = ['Speex   ', '\x7fFLAC'].find((name) => codec.startsWith(name));
  if (other)
    throw new Error(
      `expected ${SOUND_FORMATS}, the file is Ogg with ${/[A-Z]\w{3}/.exec(other)![0]}: write it as FLAC`,
    );
  return vorbis;
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

async function decodeMono(bytes: Buffer, needed: (rate: number) => number): Promise<Mono> {
  const { decoder, content, flac } = await openPacked(bytes);
  const parts: Float32Array[] = [];
  let rate = 0;
  let have = 0;
  const check = flac && new FlacCheck(flac);
  const keep = (decoded: Decoded): void => {
    const frames = decoded.channelData[0]?.length ?? 0;
    if (frames === 0) return;
    rate = requireRate(decoded.sampleRate, rate);
    check?.add(decoded);
    const mono = meanOf(decoded, Math.min(frames, needed(rate) - have), flac !== undefined);
    if (!mono.every(Number.isFinite)) throw new Error('expected finite samples');
    parts.push(mono);
    have += mono.length;
  };
  const wantsMore = (): boolean => rate === 0 || have < needed(rate) || check?.isOfAll === true;
  try {
    for (let start = 0; start < content.length && wantsMore(); start += PIECE_BYTES) {
      if (rate === 0 && start > MAX_SILENT_BYTES)
        throw new Error(`expected sound in the first ${MAX_SILENT_BYTES} bytes`);
      keep(decoder.decode(content.subarray(start, start + PIECE_BYTES)));
    }
    if (decoder.flush && wantsMore()) keep(await decoder.flush());
  } finally {
    decoder.free();
  }
  if (have === 0) throw new Error('expected a sound, found no samples');
  check?.end(needed(rate));
  const samples = new Float32Array(have);
  let at = 0;
  for (const part of parts) {
    samples.set(part, at);
    at += part.length;
  }
  return { samples, rate };
}

/** The decoder of FLAC gives the codes 32767 and -32767 as ±1: here it is 32768. */
function meanOf({ channelData }: Decoded, length: number, ofFlac: boolean): Float32Array {
  const mono = new Float32Array(length);
  for (const channel of channelData) for (let i = 0; i < length; i++) mono[i]! += channel[i]! / channelData.length;
  if (ofFlac) for (let i = 0; i < length; i++) mono[i]! *= 32767 / 32768;
  return mono;
}

/** Holds what is decoded of a FLAC against what its first block says of it. */
class FlacCheck {
  /** Whether all of the file has to be decoded. */
  readonly isOfAll: boolean;
  private readonly md5: Hash | undefined;
  private samples = 0;

  constructor(private readonly info: FlacInfo) {
    this.isOfAll = info.samples > 0 && info.samples <= MOST_CHECKED_SECONDS * info.rate;
    // Codes of more than 16 bits are not told apart by the decoder's floats.
    this.md5 = this.isOfAll && info.bits === 16 && info.md5 !== null ? createHash('md5') : undefined;
  }

  add({ channelData }: Decoded): void {
    const { length } = channelData[0]!;
    this.samples += length;
    if (!this.md5) return;
    const codes = new Int16Array(length * channelData.length);
    for (const [c, channel] of channelData.entries())
      for (let i = 0; i < length; i++) codes[i * channelData.length + c] = Math.round(channel[i]! * 32767);
    this.md5.update(new Uint8Array(codes.buffer));
  }

  /** @throws Error where samples are missing, of `needed` or of all, or are not those that were packed. */
  end(needed: number): void {
    const { samples, md5 } = this.info;
    const expected = this.isOfAll ? samples : Math.min(samples, needed);
    if (this.samples < expected)
      throw new Error(`the file is damaged: expected ${expected} samples as its header says, found ${this.samples}`);
    if (this.md5 && this.md5.digest('hex') !== md5)
      throw new Error('the file is damaged: its samples are not those of the MD5 in its header');
  }
}
