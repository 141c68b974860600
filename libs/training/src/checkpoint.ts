/**
 * Checkpoints and models in one format: safetensors (8 bytes of little-endian length, a JSON header, the data), with
 * what is no tensor as JSON under `__metadata__`, next to a sha256 over all the rest of the file.
 */
import * as tf from '@tensorflow/tfjs-core';
import { createHash } from 'node:crypto';
import { open, readFile, rename, rm } from 'node:fs/promises';

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

/** Of what the file says: its state, the description of its tensors, and their data. */
function checksum(state: string, entries: Record<string, HeaderEntry>, data: readonly Uint8Array[]): string {
  const sum = createHash('sha256').update(state).update(JSON.stringify(entries));
  for (const part of data) sum.update(part);
  return sum.digest('hex');
}

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
    await handle.writev([length, json, ...parts]);
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
  await writeSafetensors(file, tensors, (entries, data) => ({ state: text, sha256: checksum(text, entries, data) }));
}

/** @throws CheckpointError when the file is cut short, changed, or of another format. */
export async function readTensors<State>(file: string): Promise<Stored<State>> {
  const bytes = await readFile(file);
  const fail = (what: string): never => {
    throw new CheckpointError(`expected ${file} to be a whole safetensors file of this program: ${what}`);
  };
  if (bytes.length < 8) fail(`it has ${bytes.length} bytes`);
  const length = Number(bytes.readBigUInt64LE());
  if (length > bytes.length - 8) fail('its header is cut off');
  let header: Record<string, HeaderEntry> & { __metadata__?: { state?: string; sha256?: string } };
  try {
    header = JSON.parse(bytes.subarray(8, 8 + length).toString('utf8')) as typeof header;
  } catch {
    return fail('its header is no JSON');
  }
  const { __metadata__: metadata, ...entries } = header ?? {};
  const data = bytes.subarray(8 + length);
  if (!metadata?.state || checksum(metadata.state, entries, [data]) !== metadata.sha256)
    return fail('its content does not match its checksum');
  const tensors = new Map(
    Object.entries(entries as Record<string, HeaderEntry>).map(
      ([
        key,
        {
          shape,
          data_offsets: [start, end],
        },
      ]) => [key, { shape, values: new Float32Array(new Uint8Array(data.subarray(start, end)).buffer) }],
    ),
  );
  return { state: JSON.parse(metadata.state) as State, tensors };
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
