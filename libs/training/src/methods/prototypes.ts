/** Prototypes: directions that a method's outputs are told apart by, and the foretelling of one view's by another's. */
import { PROTOTYPES, type Pretrain } from '#libs/contracts';
import { Random } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { buildPrototypes } from '../networks/heads.js';
import { initialise, weightsOf } from '../networks/weights.js';
import { softCrossEntropy, unitRows } from '../objectives.js';
import { exactProduct } from '../precision.js';

export function newPrototypes({ projection: { output }, prototypes = PROTOTYPES, seed }: Pretrain): LayersModel {
  const model = buildPrototypes(output, prototypes);
  initialise([model], Random.seeded(seed, 'prototypes'));
  return model;
}

/** The prototypes as columns. [D, K] */
export const columnsOf = (prototypes: LayersModel): tf.Variable<tf.Rank.R2> =>
  weightsOf(prototypes)[0]!.variable as tf.Variable<tf.Rank.R2>;

/** Columns scaled to length 1. [D, K] */
export const unitColumns = (columns: tf.Tensor2D): tf.Tensor2D =>
  tf.transpose(unitRows(tf.transpose<tf.Tensor2D>(columns)));

/** Cosines of outputs [M, D] and prototypes [D, K], which are of length 1. → [M, K] */
export const scoresOf = (z: tf.Tensor2D, prototypes: tf.Tensor2D): tf.Tensor2D => exactProduct(unitRows(z), prototypes);

/**
 * Mean cross-entropy by which each view foretells the targets of the first two, but for its own (SwAV, Caron et al.
 * 2020, eq. 1 with multi-crop; DINO, Caron et al. 2021, eq. 3). logits: [V·N, K], those of view v at rows v·N and on;
 * targets: of views 0 and 1, [N, K] each, distributions without a gradient
 */
export function crossPrediction(logits: tf.Tensor2D, targets: readonly [tf.Tensor2D, tf.Tensor2D]): tf.Scalar {
  const count = targets[0].shape[0];
  const views = tf.split<tf.Tensor2D>(logits, logits.shape[0] / count);
  const [first, second] = targets.map((target, own) =>
    softCrossEntropy(tf.concat2d(views.toSpliced(own, 1), 0), tf.tile(target, [views.length - 1, 1])),
  ) as [tf.Scalar, tf.Scalar];
  return tf.mul(tf.add(first, second), 0.5);
}

/** Mean over rows of −Σ p log p: 0 where each has all on one prototype, log K where none tells of any. [N, K] */
export const entropyOf = (distributions: tf.Tensor2D): tf.Scalar =>
  tf.neg(tf.mean<tf.Scalar>(tf.sum(tf.mul(distributions, tf.log(tf.maximum(distributions, 1e-12))), 1)));
