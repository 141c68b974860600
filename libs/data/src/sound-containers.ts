/** What the containers of packed sounds promise, held against what is in the file. */

/** Bytes of the ID3v2 tags from `at` on, which players skip before any format. */
export function id3Length(bytes: Buffer, at = 0): number {
  let end = at;
  while (end + 10 <= bytes.length && bytes.toString('latin1', end, end + 3) === 'ID3') {
    const [a, b, c, d] = bytes.subarray(end + 6, end + 10) as unknown as [number, number, number, number];
    const footer = bytes[end + 5]! & 0x10 ? 10 : 0;
    end += 10 + footer + ((a & 127) << 21) + ((b & 127) << 14) + ((c & 127) << 7) + (d & 127);
  }
  return Math.min(end, bytes.length) - at;
}

const ID3V1_BYTES = 128;
const APE_BYTES = 32;

/** Bytes of the tags at the end (ID3v1, and APEv2 before it), which are no frames of any format. */
export function endTagsLength(bytes: Buffer): number {
  const at = bytes.length - ID3V1_BYTES;
  const id3 = at >= 0 && bytes.toString('latin1', at, at + 3) === 'TAG' ? ID3V1_BYTES : 0;
  const ape = bytes.length - id3 - APE_BYTES;
  if (ape < 0 || bytes.toString('latin1', ape, ape + 8) !== 'APETAGEX') return id3;
  const hasHeader = bytes.readUInt32LE(ape + 20) >= 2 ** 31;
  return Math.min(bytes.length, id3 + bytes.readUInt32LE(ape + 12) + (hasHeader ? APE_BYTES : 0));
}

export interface FlacInfo {
  rate: number;
  channels: number;
  bits: number;
  /** Of each channel; 0 where the writer did not know. */
  samples: number;
  /** Of the samples as they were, interleaved; null where the writer did not know. */
  md5: string | null;
}

/** STREAMINFO (RFC 9639, 8.2), the first block of a FLAC file. */
export function flacInfo(bytes: Buffer): FlacInfo | undefined {
  if (bytes.length < 42 || (bytes[4]! & 0x7f) !== 0 || bytes.readUIntBE(5, 3) !== 34) return undefined;
  const packed = bytes.readUInt32BE(18);
  const md5 = bytes.toString('hex', 26, 42);
  return {
    rate: packed >>> 12,
    channels: ((packed >>> 9) & 7) + 1,
    bits: ((packed >>> 4) & 31) + 1,
    samples: (packed & 15) * 2 ** 32 + bytes.readUInt32BE(22),
    md5: /^0+$/.test(md5) ? null : md5,
  };
}

/** By the polynomial of FLAC's frames, x^16 + x^15 + x^2 + 1. */
const FLAC_CRC = Uint16Array.from({ length: 256 }, (_, byte) => {
  let sum = byte << 8;
  for (let i = 0; i < 8; i++) sum = sum & 0x8000 ? (sum << 1) ^ 0x8005 : sum << 1;
  return sum & 0xffff;
});

/**
 * The frames of a FLAC are whole and the last one is complete, for a file that does not say how many samples it has:
 * behind a frame's own CRC-16 that of all of it is 0 (RFC 9639, 9.3), and so it is behind several.
 * @throws Error where it is not
 */
export function requireWholeFlac(bytes: Buffer): void {
  let at = 4;
  for (let isLast = false; !isLast && at + 4 <= bytes.length; at += 4 + bytes.readUIntBE(at + 1, 3))
    isLast = (bytes[at]! & 0x80) !== 0;
  let sum = 0;
  for (; at < bytes.length; at++) sum = FLAC_CRC[(sum >> 8) ^ bytes[at]!]! ^ ((sum << 8) & 0xffff);
  if (sum !== 0) throw new Error('the file is damaged or ends early: the CRC of its FLAC frames differs');
}

/** Kilobits a second by layer and index, of MPEG 1 and of MPEG 2 and 2.5. */
const BIT_RATES: Readonly<Record<1 | 2, readonly (readonly number[])[]>> = {
  1: [
    [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
  ],
  2: [
    [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
  ],
};
/** Bytes between a frame's header and its data, of MPEG 1 and of MPEG 2 and 2.5: mono, stereo. */
const SIDE_INFO: Readonly<Record<1 | 2, readonly [number, number]>> = { 1: [17, 32], 2: [9, 17] };
const SAMPLE_RATES = [44_100, 48_000, 32_000];

interface MpegFrame {
  bytes: number;
  /** Where the header of an encoder, Xing's, would stand. */
  xing: number;
}
/** Where that of Fraunhofer's encoders would, whatever the frame is. */
const VBRI_AT = 36;

/** The frame that begins at `at` (ISO 11172-3, 2.4.1.3); undefined where none does, or its length is left open. */
function mpegFrame(bytes: Buffer, at: number): MpegFrame | undefined {
  if (at + 4 > bytes.length || bytes[at] !== 0xff || (bytes[at + 1]! & 0xe0) !== 0xe0) return undefined;
  const head = bytes.readUInt32BE(at);
  const [version, layer] = [(head >>> 19) & 3, 4 - ((head >>> 17) & 3)];
  const [bitIndex, rateIndex] = [(head >>> 12) & 15, (head >>> 10) & 3];
  if (version === 1 || layer === 4 || bitIndex === 0 || bitIndex === 15 || rateIndex === 3) return undefined;
  const first = version === 3;
  const bitRate = 1000 * BIT_RATES[first ? 1 : 2][layer - 1]![bitIndex - 1]!;
  // MPEG 2 halves the rates, 2.5 once more.
  const rate = SAMPLE_RATES[rateIndex]! / (first ? 1 : 4 - version);
  const padding = (head >>> 9) & 1;
  const mono = ((head >>> 6) & 3) === 3;
  const sideInfo = SIDE_INFO[first ? 1 : 2][mono ? 0 : 1];
  if (layer === 1) return { bytes: 4 * (Math.floor((12 * bitRate) / rate) + padding), xing: at + 4 };
  const perFrame = layer === 3 && !first ? 72 : 144;
  return { bytes: Math.floor((perFrame * bitRate) / rate) + padding, xing: at + 4 + sideInfo };
}

/** What the first frame of a file says of all of it, where it is an encoder's header; 0 is untold. */
interface Promised {
  frames: number;
  bytes: number;
}

function xingPromise(bytes: Buffer, at: number): Promised | undefined {
  if (!/^(Xing|Info)$/.test(bytes.toString('latin1', at, at + 4)) || at + 16 > bytes.length) return undefined;
  const flags = bytes.readUInt32BE(at + 4);
  const has = [flags & 1, flags & 2].map(Boolean);
  return {
    frames: has[0] ? bytes.readUInt32BE(at + 8) : 0,
    bytes: has[1] ? bytes.readUInt32BE(at + (has[0] ? 12 : 8)) : 0,
  };
}

function vbriPromise(bytes: Buffer, at: number): Promised | undefined {
  if (bytes.toString('latin1', at, at + 4) !== 'VBRI' || at + 18 > bytes.length) return undefined;
  // Of other versions nobody has said where what stands.
  if (bytes.readUInt16BE(at + 4) !== 1) return undefined;
  return { bytes: bytes.readUInt32BE(at + 10), frames: bytes.readUInt32BE(at + 14) };
}

/** Tags, which end a file's frames. */
const isTrailer = (bytes: Buffer, at: number): boolean =>
  /^(TAG|APETAGEX|LYRICSBEGIN|3DI)/.test(bytes.toString('latin1', at, at + 11));
/** Zeros may follow the last frame: there are none between two. */
const behindZeros = (bytes: Buffer, at: number): number => {
  let end = at;
  while (bytes[end] === 0) end++;
  return end;
};

/**
 * The frames of an MP3 from `start` on follow one upon the other to the end, as many as its encoder has promised.
 * @throws Error saying where they end early or break off.
 */
export function requireWholeMp3(bytes: Buffer, start: number): void {
  const first = mpegFrame(bytes, start);
  if (!first) return;
  const promise = xingPromise(bytes, first.xing) ?? vbriPromise(bytes, start + VBRI_AT);
  if (promise && bytes.length - start < promise.bytes)
    throw new Error(
      `the file ends early: expected ${promise.bytes} bytes as its header says, found ${bytes.length - start}`,
    );
  let frames = 0;
  for (let at = start; at + 4 <= bytes.length && !isTrailer(bytes, at);) {
    const tag = id3Length(bytes, at);
    const frame = mpegFrame(bytes, at + tag);
    if (!frame) {
      const rest = behindZeros(bytes, at);
      const next = isTrailer(bytes, rest) ? undefined : nextFrames(bytes, rest);
      if (next === undefined) break;
      throw new Error(`sync is lost: ${next - at} bytes at ${at} are no frame of an MP3`);
    }
    at += tag + frame.bytes;
    if (at > bytes.length) throw new Error('the file ends early, in the middle of a frame');
    frames++;
  }
  if (promise && frames < promise.frames)
    throw new Error(`the file ends early: expected ${promise.frames} frames as its header says, found ${frames}`);
}

/** Where two frames follow one upon the other again. */
export function nextFrames(bytes: Buffer, from: number): number | undefined {
  for (let at = bytes.indexOf(0xff, from); at >= 0; at = bytes.indexOf(0xff, at + 1)) {
    const frame = mpegFrame(bytes, at);
    if (frame && mpegFrame(bytes, at + frame.bytes)) return at;
  }
  return undefined;
}

const OGG_CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let sum = byte << 24;
  for (let i = 0; i < 8; i++) sum = sum & 0x80000000 ? (sum << 1) ^ 0x04c11db7 : sum << 1;
  return sum >>> 0;
});

/** Holds the numbers of Ogg pages against each other, each of the stream that its serial number says. */
class OggNumbers {
  private readonly before = new Map<number, { number: number; hasSound: boolean }>();

  /** @throws Error where pages are missing between two of sound: recordings of a stream begin behind its first ones */
  add(bytes: Buffer, at: number): void {
    const [serial, number] = [bytes.readUInt32LE(at + 14), bytes.readUInt32LE(at + 18)];
    const isFirst = (bytes[at + 5]! & 2) !== 0;
    const before = isFirst ? undefined : this.before.get(serial);
    const missing = before?.hasSound ? number - before.number - 1 : 0;
    if (missing > 0) throw new Error(`sync is lost: ${missing} Ogg pages are missing before byte ${at}`);
    // How many samples there are up to the end of the page, or -1 where none ends in it.
    const samples = bytes.readBigInt64LE(at + 6);
    this.before.set(serial, { number, hasSound: samples > 0n || (samples < 0n && before?.hasSound === true) });
  }
}

/**
 * The pages of an Ogg file are whole, none is missing, and the last one says that it is the last (RFC 3533, 6).
 * @throws Error saying which is not.
 */
export function requireWholeOgg(bytes: Buffer): void {
  const numbers = new OggNumbers();
  let last = false;
  for (let at = 0; at + 4 <= bytes.length && bytes.toString('latin1', at, at + 4) === 'OggS';) {
    const segments = bytes[at + 26] ?? 0;
    const lengths = bytes.subarray(at + 27, at + 27 + segments);
    const end = at + 27 + segments + lengths.reduce((sum, length) => sum + length, 0);
    if (at + 27 + segments > bytes.length || end > bytes.length)
      throw new Error('the file ends early, in the middle of an Ogg page');
    let sum = 0;
    for (let i = at; i < end; i++) {
      const byte = i >= at + 22 && i < at + 26 ? 0 : bytes[i]!;
      sum = ((sum << 8) ^ OGG_CRC[((sum >>> 24) ^ byte) & 255]!) >>> 0;
    }
    if (sum !== bytes.readUInt32LE(at + 22)) throw new Error(`the Ogg page at byte ${at} is damaged: its CRC differs`);
    numbers.add(bytes, at);
    last = (bytes[at + 5]! & 4) !== 0;
    at = end;
    if (!last && at < bytes.length && bytes.toString('latin1', at, at + 4) !== 'OggS')
      throw new Error(`sync is lost: no Ogg page begins at byte ${at}`);
  }
  if (!last) throw new Error('the file ends early: its last Ogg page says that more follow');
}
