/** FLAC files, whole or with what is wrong in them. */
import { createHash } from 'node:crypto';

const RATE = 8000;

function crc(bytes: Iterable<number>, polynomial: number, bits: number): number {
  let sum = 0;
  for (const byte of bytes) {
    sum ^= byte << (bits - 8);
    for (let i = 0; i < 8; i++) sum = ((sum << 1) ^ (sum >> (bits - 1) ? polynomial : 0)) & (2 ** bits - 1);
  }
  return sum;
}

interface Options {
  /** Equal ones, 1 or 2. */
  channels?: number;
  /** Samples of a frame; left out, one frame has all. */
  size?: number;
  /** What the header says that all samples have, as hex digits; left out, what they have. */
  md5?: string;
  /** Whether each frame says its rate, and its bits, itself. */
  rate?: boolean;
  bits?: boolean;
}

/** A FLAC file at 8 kHz whose frames, at most 128, hold 16-bit samples as they are (RFC 9639). */
export function flacOf(
  given: ArrayLike<number>,
  { channels = 1, size = given.length, md5, rate = true, bits = true }: Options = {},
): Buffer {
  const samples = Array.from(given);
  const info = Buffer.alloc(34);
  info.writeUInt16BE(size, 0);
  info.writeUInt16BE(size, 2);
  // 20 bits of rate, 3 of channels less one, 5 of bits less one, 36 of samples.
  info.writeUInt32BE(RATE * 2 ** 12 + (channels - 1) * 2 ** 9 + 15 * 2 ** 4, 10);
  info.writeUInt32BE(samples.length, 14);
  const interleaved = Int16Array.from(samples.flatMap((value) => new Array<number>(channels).fill(value)));
  info.write(md5 ?? createHash('md5').update(new Uint8Array(interleaved.buffer)).digest('hex'), 18, 'hex');
  const frames: Buffer[] = [];
  for (let at = 0; at < samples.length; at += size) {
    const part = samples.slice(at, at + size);
    const last = part.length - 1;
    const head = Buffer.of(
      0xff,
      0xf8,
      0x70 | (rate ? 4 : 0),
      ((channels - 1) << 4) | (bits ? 8 : 0),
      at / size,
      last >> 8,
      last & 255,
    );
    const body = Buffer.alloc(1 + 2 * part.length);
    body[0] = 2;
    part.forEach((value, i) => body.writeInt16BE(value, 1 + 2 * i));
    const frame = Buffer.concat([head, Buffer.of(crc(head, 0x07, 8)), ...new Array<Buffer>(channels).fill(body)]);
    const end = Buffer.alloc(2);
    end.writeUInt16BE(crc(frame, 0x8005, 16));
    frames.push(frame, end);
  }
  return Buffer.concat([Buffer.from('fLaC\x80\0\0\x22', 'latin1'), info, ...frames]);
}
