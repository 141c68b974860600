/** Sounds as WAV files (RIFF, 16-bit PCM, mono) that every player opens. */
import { InvalidDataError } from './invalid-data.js';

const HEADER_BYTES = 44;
const SAMPLE_BYTES = 2;
const PCM = 1;
const FULL_SCALE = 32768;

/** `samples` in [-1, 1]; what goes beyond is clipped. */
export function encodeWav(samples: ArrayLike<number>, sampleRate: number): Buffer {
  const dataBytes = samples.length * SAMPLE_BYTES;
  const bytes = Buffer.alloc(HEADER_BYTES + dataBytes);
  bytes.write('RIFF', 0, 'latin1');
  bytes.writeUInt32LE(HEADER_BYTES - 8 + dataBytes, 4);
  bytes.write('WAVEfmt ', 8, 'latin1');
  bytes.writeUInt32LE(16, 16);
  bytes.writeUInt16LE(PCM, 20);
  bytes.writeUInt16LE(1, 22);
  bytes.writeUInt32LE(sampleRate, 24);
  bytes.writeUInt32LE(sampleRate * SAMPLE_BYTES, 28);
  bytes.writeUInt16LE(SAMPLE_BYTES, 32);
  bytes.writeUInt16LE(8 * SAMPLE_BYTES, 34);
  bytes.write('data', 36, 'latin1');
  bytes.writeUInt32LE(dataBytes, 40);
  for (let i = 0; i < samples.length; i++)
    bytes.writeInt16LE(
      Math.max(-FULL_SCALE, Math.min(FULL_SCALE - 1, Math.round(samples[i]! * FULL_SCALE))),
      HEADER_BYTES + i * SAMPLE_BYTES,
    );
  return bytes;
}

/**
 * The samples in [-1, 1) of a mono file of 16-bit PCM, whatever other chunks are in it. @throws InvalidDataError for
 * anything else.
 */
export function decodeWav(bytes: Buffer): { samples: Float32Array; sampleRate: number } {
  if (bytes.length < 12 || bytes.toString('latin1', 0, 4) !== 'RIFF' || bytes.toString('latin1', 8, 12) !== 'WAVE')
    throw new InvalidDataError('expected a WAV file, found no RIFF WAVE header');
  let sampleRate: number | undefined;
  for (let at = 12; at + 8 <= bytes.length;) {
    const [id, size, start] = [bytes.toString('latin1', at, at + 4), bytes.readUInt32LE(at + 4), at + 8];
    if (start + size > bytes.length)
      throw new InvalidDataError(
        `expected ${size} bytes in the chunk ${JSON.stringify(id)} of a WAV file, found ${bytes.length - start}`,
      );
    if (id === 'fmt ') {
      if (size < 16) throw new InvalidDataError(`expected a format of at least 16 bytes in a WAV file, got ${size}`);
      const [format, channels, bits] = [
        bytes.readUInt16LE(start),
        bytes.readUInt16LE(start + 2),
        bytes.readUInt16LE(start + 14),
      ];
      if (format !== PCM || channels !== 1 || bits !== 8 * SAMPLE_BYTES)
        throw new InvalidDataError(
          `expected mono 16-bit PCM in a WAV file, got format ${format}, ${channels} channels, ${bits} bits`,
        );
      sampleRate = bytes.readUInt32LE(start + 4);
    }
    if (id === 'data') {
      if (sampleRate === undefined)
        throw new InvalidDataError('expected a format before the data of a WAV file, found none');
      return {
        samples: Float32Array.from(
          { length: Math.floor(size / SAMPLE_BYTES) },
          (_, i) => bytes.readInt16LE(start + i * SAMPLE_BYTES) / FULL_SCALE,
        ),
        sampleRate,
      };
    }
    // Chunks begin at even places.
    at = start + size + (size % 2);
  }
  throw new InvalidDataError('expected data in a WAV file, found none');
}
