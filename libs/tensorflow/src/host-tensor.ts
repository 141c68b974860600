/** Tensors as arrays of JavaScript, which go to TensorFlow when a graph runs. */
import * as tf from '@tensorflow/tfjs-core';
import { backend } from './binding.js';

/** `values` in C order; bool as bytes 0 and 1. Double precision is for graphs alone: tfjs has none. */
export type HostTensor = { shape: readonly number[] } & (
  | { dtype: 'float32' | 'int32' | 'uint8' | 'bool'; values: Float32Array | Int32Array | Uint8Array }
  | { dtype: 'float64'; values: Float64Array }
);

/** Numbers of the types of tensors, as types.proto and the C API have them. */
export const DATA_TYPES: Readonly<Record<string, number>> = { float32: 1, float64: 2, int32: 3, uint8: 4, bool: 10 };

export const floats = (values: Float32Array, shape: readonly number[]): HostTensor => ({
  dtype: 'float32',
  shape,
  values,
});
export const doubles = (values: Float64Array, shape: readonly number[]): HostTensor => ({
  dtype: 'float64',
  shape,
  values,
});
export const integers = (values: Int32Array, shape: readonly number[]): HostTensor => ({
  dtype: 'int32',
  shape,
  values,
});

/**
 * The tensor, which the caller owns and which shares the values. Bytes are for kernels that take them (`Cast`).
 * @throws Error for double precision
 */
export function tensorOf({ dtype, shape, values }: HostTensor): tf.Tensor {
  if (dtype === 'float64') throw new Error('expected a type that tfjs has, got float64');
  if (dtype !== 'uint8') return tf.tensor(values, [...shape], dtype);
  const { binding } = backend();
  const id = binding.createTensor([...shape], binding.TF_UINT8, values);
  return backend().createOutputTensor({ id, shape: [...shape], dtype: binding.TF_UINT8 });
}

/** A tensor's values, read. Not for bytes. */
export const hostTensorOf = (tensor: tf.Tensor): HostTensor => ({
  dtype: tensor.dtype as 'float32' | 'int32' | 'bool',
  shape: tensor.shape,
  values: tensor.dataSync(),
});
