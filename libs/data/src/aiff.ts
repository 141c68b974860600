/** AIFF and AIFF-C files (Apple, 1989 and 1991): as WAV, but with the other byte order. */
import { A_LAW, FLOAT, MU_LAW, PCM, type Wave } from './riff.js';

export const isAiff = (bytes: Buffer): boolean =>
  bytes.toString('latin1', 0, 4) === 'FORM' && /^AIF[FC]$/.test(bytes.toString('latin1', 8, 12));

/** By the type of compression: how samples are coded, and whether their lowest byte comes first. */
const CODINGS: Readonly<Record<string, { tag: number; isLittle?: boolean }>> = {
  NONE: { tag: PCM },
  twos: { tag: PCM },
  in24: { tag: PCM },
  in32: { tag: PCM },
  sowt: { tag: PCM, isLittle: true },
  fl32: { tag: FLOAT },
  FL32: { tag: FLOAT },
  fl64: { tag: FLOAT },
  FL64: { tag: FLOAT },
  alaw: { tag: A_LAW },
  ALAW: { tag: A_LAW },
  ulaw: { tag: MU_LAW },
  ULAW: { tag: MU_LAW },
};

interface Common {
  channels: number;
  frames: number;
  width: number;
  rate: number;
  coding: { tag: number; isLittle?: boolean };
}

/** An 80-bit number of the 68881: sign and exponent in two bytes, then 64 bits of its mantissa. */
const extended = (bytes: Buffer, at: number): number =>
  Number(bytes.readBigUInt64BE(at + 2)) * 2 ** ((bytes.readUInt16BE(at) & 0x7fff) - 16_383 - 63);

function commonOf(content: Buffer): Common {
  if (content.length < 18) throw new Error('expected a whole COMM chunk in an AIFF file, it is damaged');
  const type = content.length >= 22 ? content.toString('latin1', 18, 22) : 'NONE';
  const coding = CODINGS[type];
  if (!coding) throw new Error(`expected an AIFF of plain samples, got the compression ${type}: write it as FLAC`);
  const bits = content.readInt16BE(6);
  const packed = coding.tag === A_LAW || coding.tag === MU_LAW;
  return {
    channels: content.readUInt16BE(0),
    frames: content.readUInt32BE(2),
    width: packed ? 1 : Math.ceil(bits / 8),
    rate: extended(content, 8),
    coding,
  };
}

/** @throws Error where there is no description or no sound */
function chunksOf(bytes: Buffer): { common: Common; data: Buffer } {
  let common: Common | undefined;
  let data: Buffer | undefined;
  for (let at = 12; at + 8 <= bytes.length && !(common && data);) {
    const [id, size, start] = [bytes.toString('latin1', at, at + 4), bytes.readUInt32BE(at + 4), at + 8];
    const content = bytes.subarray(start, start + size);
    if (id === 'COMM') common = commonOf(content);
    if (id === 'SSND' && content.length >= 8) data = content.subarray(8 + content.readUInt32BE(0));
    at = start + size + (size % 2);
  }
  if (!common || !data) throw new Error('expected COMM and SSND in an AIFF file, found no samples');
  return { common, data };
}

/** @throws Error for a file without samples or with fewer than it promises, and for codings that are not read. */
export function openAiff(bytes: Buffer): Wave {
  const { common, data } = chunksOf(bytes);
  const { channels, frames, width, rate, coding } = common;
  const frameBytes = channels * width;
  if (frameBytes === 0 || !(rate > 0)) throw new Error('expected channels and a rate in an AIFF file, it is damaged');
  const promised = frames * frameBytes;
  if (data.length < promised)
    throw new Error(
      `the file ends early: expected ${promised} bytes of sound as its header says, found ${data.length}`,
    );
  const samples = Buffer.from(data.subarray(0, promised));
  if (width > 1 && !coding.isLittle) reverseEach(samples, width);
  // Bytes have a sign here, in WAV they have none.
  if (width === 1 && coding.tag === PCM) for (let i = 0; i < samples.length; i++) samples[i]! ^= 0x80;
  return { format: Buffer.alloc(0), tag: coding.tag, channels, rate: Math.round(rate), frameBytes, data: samples };
}

function reverseEach(bytes: Buffer, width: number): void {
  for (let start = 0; start + width <= bytes.length; start += width) bytes.subarray(start, start + width).reverse();
}
