import { EMP, type Pretrain } from '#libs/contracts';
import { float, identity, kernel, sumOf } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { unitRows } from '../objectives.js';
import { exactProduct } from '../precision.js';
import type { Learner, Method } from './method.js';
import { multiCrop } from './multi-crop.js';

/** log det of a matrix whose determinant is above 0, symmetric. */
function logDeterminant(matrix: tf.Tensor2D): tf.Scalar {
  const compute = tf.customGrad((...inputs) => {
    const [x, save] = inputs as unknown as [tf.Tensor2D, (tensors: tf.Tensor[]) => void];
    const [, logarithm] = kernel('LogMatrixDeterminant', float(), [x], 2) as [tf.Tensor, tf.Scalar];
    save([x]);
    return {
      value: logarithm,
      gradFunc: (dy: tf.Tensor, [at]: tf.Tensor[]) =>
        tf.mul(kernel('MatrixInverse', { ...float(), adjoint: { type: 'bool', value: false } }, [at!])[0]!, dy),
    };
  });
  return compute(matrix);
}

/**
 * How many nats code a row up to a distortion (Yu et al. 2020, eq. 2): more, the more directions rows have. z: [N, D],
 * of length 1
 */
export function codingRate(z: tf.Tensor2D, epsilon: number): tf.Scalar {
  const [count, width] = z.shape;
  const products = exactProduct(z, z, true);
  return tf.mul(logDeterminant(tf.add(identity(width), tf.mul(products, width / (count * epsilon)))), 0.5);
}

/**
 * EMP-SSL's loss (Tong et al. 2023, eq. 5; main.py). outputs: [V·N, D], those of view v at rows v·N and on; count: N.
 * `similarity`: mean cosine of a view's output and the mean of all of its sample; `rate`: mean coding rate of a view.
 */
export function patchesLoss(
  outputs: tf.Tensor2D,
  count: number,
  { similarity: weight, epsilon }: NonNullable<Pretrain['emp']>,
): { loss: tf.Scalar; similarity: tf.Scalar; rate: tf.Scalar } {
  const z = unitRows(outputs);
  const views = tf.split<tf.Tensor2D>(z, outputs.shape[0] / count);
  const mean = unitRows(tf.div(sumOf(views), views.length));
  const similarity = tf.mean<tf.Scalar>(tf.sum(tf.mul(z, tf.tile(mean, [views.length, 1])), 1));
  const rate = tf.div<tf.Scalar>(sumOf(views.map((view) => codingRate(view, epsilon))), views.length);
  return { loss: tf.neg(tf.add<tf.Scalar>(tf.mul(similarity, weight), rate)), similarity, rate };
}

/**
 * EMP-SSL (Tong et al. 2023): outputs of many patches of a sample agree with their mean, and those of each patch's
 * batch spread over as many directions as they can.
 */
export function empSsl(learner: Learner): Method {
  const { batchSize, emp = EMP } = learner.spec;
  const { project } = multiCrop(learner);
  return {
    models: [],
    objective: (views) => {
      const { loss, similarity, rate } = patchesLoss(project([views]), batchSize, emp);
      return { loss, patch_similarity: similarity, coding_rate: rate };
    },
  };
}
