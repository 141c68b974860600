/** WAV files of any width and any writer → mono samples. */
import { decoder as adpcm } from '@audio/decode-wav';

/** How samples are coded, as the format chunk says. */
export const [PCM, FLOAT, A_LAW, MU_LAW, EXTENSIBLE] = [1, 3, 6, 7, 0xfffe];
/** Sizes from here on are what writers to a pipe put for one that they don't know yet. */
const UNKNOWN_SIZE = 0x7ffff000;

export interface Wave {
  /** The format chunk, for what is decoded by others. */
  format: Buffer;
  tag: number;
  channels: number;
  rate: number;
  /** Bytes of one sample of every channel. */
  frameBytes: number;
  data: Buffer;
}

/** @throws Error for a file that lacks a format or data, and for one with less of it than the header promises. */
export function openWave(bytes: Buffer): Wave {
  if (bytes.length < 12) throw new Error('expected a sound, found no samples');
  if (bytes.toString('latin1', 8, 12) !== 'WAVE') throw new Error('expected a WAV file, the RIFF file is none');
  const whole = bytes.readUInt32LE(4);
  const isStream = whole === 0 || whole >= UNKNOWN_SIZE;
  let format: Buffer | undefined;
  let longSize: number | undefined;
  for (let at = 12; at + 8 <= bytes.length;) {
    const [id, size, start] = [bytes.toString('latin1', at, at + 4), bytes.readUInt32LE(at + 4), at + 8];
    const content = bytes.subarray(start, start + size);
    if (id === 'fmt ') format = content;
    // The sizes of RF64, which counts in 64 bits.
    if (id === 'ds64' && content.length >= 16) longSize = Number(content.readBigUInt64LE(8));
    if (id === 'data')
      return waveOf(format, dataOf(bytes, start, size === 0xffffffff ? (longSize ?? size) : size, isStream));
    // Chunks begin at even places, by the book: not every writer keeps to it.
    at = start + size + (size % 2 === 1 && (bytes[start + size] ?? 0) === 0 ? 1 : 0);
  }
  throw new Error('expected data in a WAV file, found none');
}

function dataOf(bytes: Buffer, start: number, promised: number, isStream: boolean): Buffer {
  if (promised >= UNKNOWN_SIZE || (promised === 0 && isStream)) return bytes.subarray(start);
  const there = bytes.length - start;
  if (promised > there)
    throw new Error(`the file ends early: expected ${promised} bytes of sound as its header says, found ${there}`);
  return bytes.subarray(start, start + promised);
}

function waveOf(format: Buffer | undefined, data: Buffer): Wave {
  if (!format || format.length < 16) throw new Error('expected a format before the data of a WAV file');
  const tag = format.readUInt16LE(0);
  const wave: Wave = {
    format,
    tag: tag === EXTENSIBLE && format.length >= 26 ? format.readUInt16LE(24) : tag,
    channels: format.readUInt16LE(2),
    rate: format.readUInt32LE(4),
    frameBytes: format.readUInt16LE(12),
    data,
  };
  if (wave.channels === 0 || wave.frameBytes === 0)
    throw new Error(`expected channels in a WAV file, got ${wave.channels} in ${wave.frameBytes} bytes`);
  return wave;
}

/** Reads a sample at a place, full scale ±1. */
type Reader = (data: Buffer, at: number) => number;

/** The mean of the channels, of at most `needed` samples. @throws Error for codes that are not read. */
export function decodeWave(wave: Wave, needed: number): Float32Array {
  const { tag, channels, frameBytes, data } = wave;
  const width = frameBytes / channels;
  const read = readerOf(tag, width);
  if (!read) return decodePacked(wave, needed);
  const mono = new Float32Array(Math.min(needed, Math.floor(data.length / frameBytes)));
  for (let frame = 0, at = 0; frame < mono.length; frame++) {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++, at += width) sum += read(data, at);
    mono[frame] = sum / channels;
  }
  return mono;
}

function readerOf(tag: number, width: number): Reader | undefined {
  if (tag === PCM && width === 1) return (data, at) => (data[at]! - 128) / 128;
  if (tag === PCM && [2, 3, 4].includes(width)) {
    const scale = 2 ** (8 * width - 1);
    return (data, at) => data.readIntLE(at, width) / scale;
  }
  if (tag === FLOAT && width === 4) return (data, at) => data.readFloatLE(at);
  if (tag === FLOAT && width === 8) return (data, at) => data.readDoubleLE(at);
  if (tag === A_LAW && width === 1) return (data, at) => A_LAW_CODES[data[at]!]! / 32768;
  return tag === MU_LAW && width === 1 ? (data, at) => MU_LAW_CODES[data[at]!]! / 32768 : undefined;
}

/** ITU-T G.711, table 1a. */
const A_LAW_CODES = Int16Array.from({ length: 256 }, (_, code) => {
  const [exponent, mantissa] = [((code ^ 0x55) >> 4) & 7, (code ^ 0x55) & 15];
  const value = exponent ? ((mantissa << 4) + 0x108) << (exponent - 1) : (mantissa << 4) + 8;
  return (code ^ 0x55) & 0x80 ? value : -value;
});

/** ITU-T G.711, table 2a. */
const MU_LAW_CODES = Int16Array.from({ length: 256 }, (_, code) => {
  const value = (((~code & 15) << 3) + 0x84) << ((~code >> 4) & 7);
  return ~code & 0x80 ? 0x84 - value : value - 0x84;
});

/** ADPCM: the decoder is given the format and the data with nothing around them. */
function decodePacked({ format, data }: Wave, needed: number): Float32Array {
  const chunk = (id: string, content: Buffer): Buffer => {
    const start = Buffer.alloc(8);
    start.write(id, 0, 'latin1');
    start.writeUInt32LE(content.length, 4);
    return Buffer.concat([start, content]);
  };
  const head = Buffer.from('RIFF\0\0\0\0WAVE', 'latin1');
  const decoder = adpcm();
  try {
    const { channelData } = decoder.decode(
      Uint8Array.from(Buffer.concat([head, chunk('fmt ', format), chunk('data', data)])),
    );
    const length = Math.min(needed, channelData[0]?.length ?? 0);
    return Float32Array.from(
      { length },
      (_, i) => channelData.reduce((sum, channel) => sum + channel[i]!, 0) / channelData.length,
    );
  } finally {
    decoder.free();
  }
}
