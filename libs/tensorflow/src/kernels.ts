/** TensorFlow kernels that tfjs has no function for, called by their name in the C API. */
import * as tf from '@tensorflow/tfjs-core';
import { backend } from './binding.js';

type AttributeType = 'int' | 'float' | 'bool' | 'type' | 'string' | 'shape';
export type Attributes = Record<string, { type: AttributeType; value: number | boolean | string | readonly number[] }>;

/** The type attribute that most kernels have: float32. */
export const float = (): Attributes => ({ T: { type: 'type', value: backend().binding.TF_FLOAT } });
export const typeAttribute = (name: 'TF_FLOAT' | 'TF_INT32'): Attributes[string] => ({
  type: 'type',
  value: backend().binding[name],
});

/** Bytes, as `tensorOf` makes them, as float32, 0 to 255: tfjs has no type for bytes. */
export const floatsOfBytes = (bytes: tf.Tensor): tf.Tensor =>
  kernel(
    'Cast',
    {
      SrcT: { type: 'type', value: backend().binding.TF_UINT8 },
      DstT: typeAttribute('TF_FLOAT'),
      Truncate: { type: 'bool', value: false },
    },
    [bytes],
  )[0]!;

/**
 * Sum of tensors of one shape, added in their order. `tf.addN` begins with whichever of them it may overwrite, which
 * depends on what other threads still read: of three or more its last bit is another at times.
 */
export const sumOf = <T extends tf.Tensor>(tensors: readonly T[]): T =>
  tensors.reduce((sum, each) => tf.add(sum, each));

/**
 * [N, N], 1 on the diagonal. `tf.eye` makes its values in JavaScript, and so a constant of a step's graph: TensorFlow
 * copies it some fifty times while it goes over the graph.
 */
export const identity = (width: number): tf.Tensor2D =>
  kernel('OneHot', { ...float(), TI: typeAttribute('TF_INT32'), axis: { type: 'int', value: -1 } }, [
    tf.range(0, width, 1, 'int32'),
    tf.scalar(width, 'int32'),
    tf.scalar(1),
    tf.scalar(0),
  ])[0] as tf.Tensor2D;

/**
 * Runs a kernel and gives its `outputs` results. No gradient is recorded: inside `tf.customGrad` the caller says what
 * it is.
 * @throws Error of TensorFlow for an unknown name or a shape that does not fit.
 */
export function kernel(name: string, attributes: Attributes, inputs: tf.Tensor[], outputs = 1): tf.Tensor[] {
  const { binding } = backend();
  const types = {
    int: binding.TF_ATTR_INT,
    float: binding.TF_ATTR_FLOAT,
    bool: binding.TF_ATTR_BOOL,
    type: binding.TF_ATTR_TYPE,
    string: binding.TF_ATTR_STRING,
    shape: binding.TF_ATTR_SHAPE,
  };
  const list = Object.entries(attributes).map(([key, { type, value }]) => ({ name: key, type: types[type], value }));
  return backend().executeMultipleOutputs(name, list, inputs, outputs);
}
