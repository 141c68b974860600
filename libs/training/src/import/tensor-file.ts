/** Files of named tensors, whatever their format, and the numbers in them. */
import { InvalidDataError } from '#libs/data';

/** Bytes of a number. */
export const BYTES_OF = { F32: 4, F16: 2, BF16: 2, I64: 8 } as const;
export type Dtype = keyof typeof BYTES_OF;

export interface TensorEntry {
  dtype: Dtype;
  shape: number[];
  /** Where its bytes lie behind the header. */
  begin: number;
  end: number;
}

export interface TensorFile {
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** What the file says of itself. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The values of a tensor that has real numbers. @throws InvalidDataError for others, and for what is not finite */
  floats(name: string): Promise<Float32Array>;
  close(): Promise<void>;
}

/** The numbers of a tensor's bytes. @throws InvalidDataError for whole numbers, and for what is not finite */
export function floatsOf(name: string, dtype: Dtype, bytes: Uint8Array<ArrayBuffer>): Float32Array {
  if (dtype === 'I64') throw new InvalidDataError(`expected ${name} to have real numbers, got I64`);
  const values = FLOATS_OF[dtype](bytes.buffer);
  const at = values.findIndex((value) => !Number.isFinite(value));
  if (at >= 0) throw new InvalidDataError(`expected finite values in ${name}, found ${values[at]} at ${at}`);
  return values;
}

const FLOATS_OF: Record<Exclude<Dtype, 'I64'>, (bytes: ArrayBuffer) => Float32Array> = {
  F32: (bytes) => new Float32Array(bytes),
  // The upper half of a float32.
  BF16: (bytes) => new Float32Array(Uint32Array.from(new Uint16Array(bytes), (half) => half << 16).buffer),
  F16: (bytes) => Float32Array.from(new Uint16Array(bytes), ofHalf),
};

/** IEEE 754 binary16: a sign, 5 bits of exponent, 10 of fraction. */
function ofHalf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
