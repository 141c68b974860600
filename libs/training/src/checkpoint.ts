/**
 * Checkpoints and models in one format: safetensors (8 bytes of little-endian length, a JSON header, the data), with
 * what is no tensor as JSON under `__metadata__`, next to a sha256 over all the rest of the file.
 */
import { readFully, writeFully } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import { constants } from 'node:buffer';
import { createHash, type Hash } from 'node:crypto';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';

/** The file is not what was written: it must not be used. */
export class CheckpointError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'CheckpointError';
  }
}

export interface StoredTensor {
  shape: number[];
  values: Float32Array;
}
export interface Stored<State> {
  state: State;
  tensors: Map<string, StoredTensor>;
}

interface HeaderEntry {
  dtype: 'F32';
  shape: number[];
  data_offsets: [number, number];
}

/** Bytes that are read and hashed at once. */
const PIECE_BYTES = 4 * 2 ** 20;

/** Begins the checksum over what the file says: its state, the description of its tensors, then their data. */
const checksum = (state: string, entries: Record<string, HeaderEntry>): Hash =>
  createHash('sha256').update(state).update(JSON.stringify(entries));

/**
 * A safetensors file that any reader of the format takes. `metadata` gives what stands under `__metadata__`, from the
 * description of the tensors and their data. Writes all or nothing: under a temporary name, flushed to disk, renamed.
 */
export async function writeSafetensors(
  file: string,
  tensors: readonly { key: string; variable: tf.Tensor }[],
  metadata: (entries: Record<string, HeaderEntry>, data: readonly Uint8Array[]) => Record<string, string>,
): Promise<void> {
  const header: Record<string, HeaderEntry> = {};
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const { key, variable } of tensors) {
    const values = (await variable.data()) as Float32Array;
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    header[key] = { dtype: 'F32', shape: variable.shape, data_offsets: [offset, offset + bytes.length] };
    parts.push(bytes);
    offset += bytes.length;
  }
  const text = JSON.stringify({ __metadata__: metadata(header, parts), ...header });
  // The data starts at a multiple of eight.
  const json = Buffer.from(text + ' '.repeat((8 - (Buffer.byteLength(text) % 8)) % 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));

  const temporary = `${file}.tmp`;
  const handle = await open(temporary, 'w');
  try {
    await writeFully(handle, [length, json, ...parts]);
    await handle.sync();
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
}

/** With a state, and the checksum by which `readTensors` knows that the file is whole. */
export async function writeTensors(
  file: string,
  state: unknown,
  tensors: readonly { key: string; variable: tf.Tensor }[],
): Promise<void> {
  const text = JSON.stringify(state);
  await writeSafetensors(file, tensors, (entries, data) => {
    const sum = checksum(text, entries);
    for (const part of data)
      for (let start = 0; start < part.length; start += PIECE_BYTES)
        sum.update(part.subarray(start, start + PIECE_BYTES));
    return { state: text, sha256: sum.digest('hex') };
  });
}

/**
 * Of a file of any size: besides its tensors, each in a buffer of its own, only pieces are in memory.
 * @throws CheckpointError when the file is cut short, changed, or of another format.
 */
export async function readTensors<State>(file: string): Promise<Stored<State>> {
  const handle = await open(file);
  try {
    const { state, entries, dataStart } = await readHeader(file, handle);
    const tensors = new Map<string, StoredTensor>();
    for (const [key, { shape, data_offsets: offsets }] of Object.entries(entries)) {
      const bytes = new Uint8Array(offsets[1] - offsets[0]);
      await readFully(handle, bytes, dataStart + offsets[0]);
      tensors.set(key, { shape, values: new Float32Array(bytes.buffer) });
    }
    return { state: JSON.parse(state) as State, tensors };
  } finally {
    await handle.close();
  }
}

/** State of a file that is whole: its content has been compared with its checksum. */
async function readHeader(
  file: string,
  handle: FileHandle,
): Promise<{ state: string; entries: Record<string, HeaderEntry>; dataStart: number }> {
  const fail = (what: string): never => {
    throw new CheckpointError(`expected ${file} to be a whole safetensors file of this program: ${what}`);
  };
  const { size } = await handle.stat();
  if (size < 8) fail(`it has ${size} bytes`);
  const eight = Buffer.alloc(8);
  await readFully(handle, eight, 0);
  const length = Number(eight.readBigUInt64LE());
  if (length > size - 8) fail('its header is cut off');
  if (length > constants.MAX_STRING_LENGTH) fail('its header is no JSON');
  let header: Record<string, HeaderEntry> & { __metadata__?: { state?: string; sha256?: string } };
  const json = Buffer.alloc(length);
  await readFully(handle, json, 8);
  try {
    header = JSON.parse(json.toString('utf8')) as typeof header;
  } catch {
    return fail('its header is no JSON');
  }
  const { __metadata__: metadata, ...rest } = header ?? {};
  const entries = rest as Record<string, HeaderEntry>;
  const { state, sha256 } = metadata ?? {};
  if (!state) return fail('its content does not match its checksum');
  const dataStart = 8 + length;
  const sum = checksum(state, entries);
  const piece = Buffer.alloc(Math.min(PIECE_BYTES, size - dataStart));
  for (let at = dataStart; at < size; at += piece.length) {
    const part = piece.subarray(0, size - at);
    await readFully(handle, part, at);
    sum.update(part);
  }
  if (sum.digest('hex') !== sha256) fail('its content does not match its checksum');
  return { state, entries, dataStart };
}

/** Sets each variable from the tensor of its key. @throws CheckpointError when one is missing or of another shape. */
export function assignTensors(
  tensors: ReadonlyMap<string, StoredTensor>,
  variables: readonly { key: string; variable: tf.Variable }[],
): void {
  for (const { key, variable } of variables) {
    const stored = tensors.get(key);
    if (!stored) throw new CheckpointError(`expected a tensor ${key}, found none`);
    if (stored.shape.join() !== variable.shape.join())
      throw new CheckpointError(
        `expected ${key} of shape [${variable.shape.join(', ')}], got [${stored.shape.join(', ')}]`,
      );
    tf.tidy(() => {
      variable.assign(tf.tensor(stored.values, stored.shape));
    });
  }
}
