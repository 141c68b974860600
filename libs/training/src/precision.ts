/** What of a step in bfloat16 stays in float32. In a step in float32 none of this changes anything. */
import { float, kernel, typeAttribute } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';

/** Set while a part of a step is computed: tfjs passes kernels no more than what they take. */
let isExact = false;

/** What `compute` gives, its products too in float32. What their gradients multiply later is not among them. */
export function inFloat32<T>(compute: () => T): T {
  const before = isExact;
  isExact = true;
  try {
    return compute();
  } finally {
    isExact = before;
  }
}

/** Whether what is computed now is to be in float32, whatever the step is in. */
export const computesInFloat32 = (): boolean => isExact;

/** Product of matrices in float32, as losses have it: eight bits are too few to tell apart what is alike. */
export const exactProduct = (a: tf.Tensor2D, b: tf.Tensor2D, transposeA = false, transposeB = false): tf.Tensor2D =>
  inFloat32(() => tf.matMul(a, b, transposeA, transposeB));

/**
 * The same numbers. TensorFlow's pass takes what only moves numbers, such as a reshape, into bfloat16 along with a
 * product that reads it, and with it whatever else reads that; it stops here, because it does not know the operation.
 */
export const sealed = <T extends tf.Tensor>(x: T): T =>
  x.dtype === 'float32' ? (kernel('Bitcast', { ...float(), type: typeAttribute('TF_FLOAT') }, [x])[0] as T) : x;
