/** What this project uses of tfjs-node's backend and of its native part, which tfjs has no types for. */
import * as tf from '@tensorflow/tfjs-core';

export interface Attribute {
  name: string;
  /** One of the binding's `TF_ATTR_…`. */
  type: number;
  value: unknown;
}
/** A tensor of the native part. */
export interface Handle {
  id: number;
  shape: number[];
  dtype: number;
}

type AttributeType = `TF_ATTR_${'STRING' | 'INT' | 'FLOAT' | 'BOOL' | 'TYPE' | 'SHAPE'}`;
type DataType = 'TF_FLOAT' | 'TF_INT32' | 'TF_UINT8';

/** The native part, where tensors are ids. */
export interface Binding extends Record<AttributeType | DataType, number> {
  TF_Version: string;
  executeOp(name: string, attributes: Attribute[], inputs: number[], outputs: number): Handle[];
  createTensor(shape: number[], dtype: number, values: tf.TypedArray): number;
  tensorDataSync(id: number): tf.TypedArray;
}

/** The binding with some of its functions replaced. Its members can't be changed, and are not enumerable. */
export const replacing = (binding: Binding, functions: Partial<Binding>): Binding => ({
  ...(Object.fromEntries(
    Object.getOwnPropertyNames(binding).map((key) => [key, binding[key as keyof Binding]]),
  ) as unknown as Binding),
  ...functions,
});

interface NativeBackend {
  isUsingGpuDevice: boolean;
  binding: Binding;
  getInputTensorIds(tensors: tf.Tensor[]): number[];
  createOutputTensor(handle: Handle): tf.Tensor;
  executeMultipleOutputs(name: string, attributes: Attribute[], inputs: tf.Tensor[], outputs: number): tf.Tensor[];
}

/** @throws Error when another backend of tfjs is in use. */
export function backend(): NativeBackend {
  const current = tf.backend() as unknown as NativeBackend;
  if (!('executeMultipleOutputs' in current))
    throw new Error('expected the native TensorFlow backend: call loadTensorFlow() before the first tensor');
  return current;
}

export const usesGpu = (): boolean => backend().isUsingGpuDevice;
