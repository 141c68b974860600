/** Files of NumPy's format, written by its description. */
import { writeFile } from 'node:fs/promises';

const TYPES = { Uint8Array: '|u1', Int16Array: '<i2', Int32Array: '<i4' } as const;

/** A .npy file of version 1, in C order. Returns its path. */
export async function npy(
  file: string,
  shape: readonly number[],
  data: Uint8Array | Int16Array | Int32Array,
): Promise<string> {
  const text =
    (
      `{'descr': '${TYPES[data.constructor.name as keyof typeof TYPES]}', 'fortran_order': False, 'shape': ` +
      `(${shape.join(', ')},), }`
    ).padEnd(117) + '\n';
  const length = Buffer.alloc(2);
  length.writeUInt16LE(text.length);
  await writeFile(
    file,
    Buffer.concat([
      Buffer.from('\x93NUMPY\x01\x00', 'latin1'),
      length,
      Buffer.from(text, 'latin1'),
      new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    ]),
  );
  return file;
}
