/** Losses on the correlations of the dimensions of two views' outputs, without negatives. */
import type { Pretrain } from '#libs/contracts';
import { identity, sumOf } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { meanSquaredError } from '../objectives.js';
import { exactProduct } from '../precision.js';

const NORMALISATION_EPSILON = 1e-5;

/**
 * Barlow Twins (Zbontar et al. 2021, eq. 1; main.py): the cross-correlation of both views, normalised over the batch
 * with the biased variance, is to be the identity. `scale` is the whole loss's. a, b: [N, D], views of the same images.
 */
export function barlowTwins(
  a: tf.Tensor2D,
  b: tf.Tensor2D,
  { lambda, scale }: Pretrain['barlowTwins'],
): { loss: tf.Scalar; on_diagonal: tf.Scalar; off_diagonal: tf.Scalar } {
  const [count, width] = a.shape;
  // c: [D, D]
  const c = tf.div(exactProduct(normalisedColumns(a), normalisedColumns(b), true), count);
  const itself = identity(width);
  const onDiagonal = tf.sum<tf.Scalar>(tf.square(tf.mul(tf.sub(c, 1), itself)));
  const offDiagonal = tf.sum<tf.Scalar>(tf.square(tf.mul(c, tf.sub(1, itself))));
  return {
    loss: tf.mul(tf.add(onDiagonal, tf.mul(offDiagonal, lambda)), scale),
    on_diagonal: onDiagonal,
    off_diagonal: offDiagonal,
  };
}

function normalisedColumns(x: tf.Tensor2D): tf.Tensor2D {
  const { mean, variance } = tf.moments(x, 0);
  return tf.div(tf.sub(x, mean), tf.sqrt(tf.add(variance, NORMALISATION_EPSILON)));
}

const VARIANCE_EPSILON = 1e-4;

/**
 * VICReg (Bardes et al. 2022; main_vicreg.py, which halves the variance term over the views, where solo-learn does
 * not): views agree (invariance), each dimension keeps a standard deviation of at least 1 (variance), and dimensions
 * are uncorrelated (covariance). a, b: [N, D], views of the same images.
 */
export function vicreg(
  a: tf.Tensor2D,
  b: tf.Tensor2D,
  weights: Pretrain['vicreg'],
): { loss: tf.Scalar; invariance: tf.Scalar; variance: tf.Scalar; covariance: tf.Scalar } {
  const [count, width] = a.shape;
  const invariance = meanSquaredError(a, b);
  const offDiagonal = tf.sub(1, identity(width));
  const [spreadA, spreadB] = [a, b].map((z) => {
    const centred = tf.sub<tf.Tensor2D>(z, tf.mean(z, 0, true));
    const deviation = tf.sqrt(tf.add(tf.div(tf.sum(tf.square(centred), 0), count - 1), VARIANCE_EPSILON));
    const covariances = tf.div(exactProduct(centred, centred, true), count - 1);
    return {
      hinge: tf.mean<tf.Scalar>(tf.relu(tf.sub(1, deviation))),
      covariance: tf.div<tf.Scalar>(tf.sum(tf.square(tf.mul(covariances, offDiagonal))), width),
    };
  }) as [{ hinge: tf.Scalar; covariance: tf.Scalar }, { hinge: tf.Scalar; covariance: tf.Scalar }];
  const variance = tf.div<tf.Scalar>(tf.add(spreadA.hinge, spreadB.hinge), 2);
  const covariance = tf.add<tf.Scalar>(spreadA.covariance, spreadB.covariance);
  const loss = sumOf<tf.Scalar>([
    tf.mul(invariance, weights.invariance),
    tf.mul(variance, weights.variance),
    tf.mul(covariance, weights.covariance),
  ]);
  return { loss, invariance, variance, covariance };
}
