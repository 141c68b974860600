/** Messages in protobuf's wire format, written field by field: for files of ONNX and graphs of TensorFlow. */

/** Pieces of a message: large fields are not copied into it. */
export type Pieces = Uint8Array[];

/** Seven bits a byte, low ones first; negative numbers as 64 bits of two's complement. */
function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  if (value < 0) {
    let rest = BigInt.asUintN(64, BigInt(value));
    for (; rest >= 128n; rest >>= 7n) bytes.push(Number(rest & 127n) + 128);
    return Uint8Array.from([...bytes, Number(rest)]);
  }
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
  return Uint8Array.from([...bytes, value]);
}

const VARINT = 0;
const DELIMITED = 2;
const FIXED32 = 5;

export const whole = (field: number, value: number): Pieces => [varint(field * 8 + VARINT), varint(value)];
export const message = (field: number, pieces: Pieces): Pieces => [
  varint(field * 8 + DELIMITED),
  varint(pieces.reduce((sum, { length }) => sum + length, 0)),
  ...pieces,
];
export const bytes = (field: number, value: Uint8Array): Pieces => message(field, [value]);
export const text = (field: number, value: string): Pieces => bytes(field, Buffer.from(value));
/** Whole numbers in one field. */
export const packed = (field: number, values: readonly number[]): Pieces => message(field, values.map(varint));
export function float(field: number, value: number): Pieces {
  const four = Buffer.alloc(4);
  four.writeFloatLE(value);
  return [varint(field * 8 + FIXED32), four];
}
