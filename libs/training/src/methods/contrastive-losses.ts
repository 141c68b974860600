/**
 * Losses that pull two views of a sample together and push those of other samples apart. Rows are normalised here;
 * `accuracy` is how often a row finds its own counterpart the most similar of all that it is compared with.
 */
import * as tf from '@tensorflow/tfjs-core';
import { rowsAt } from '../networks/operations.js';
import { accuracyOf, crossEntropy, meanLogSumExp, softCrossEntropy, unitRows } from '../objectives.js';
import { exactProduct } from '../precision.js';

export interface Contrast {
  loss: tf.Scalar;
  accuracy: tf.Scalar;
}

/** Far below any logit: what has it is never found. */
const EXCLUDED = -1e9;

/**
 * Similarities of all views over the temperature, [2N, 2N], a view's with itself excluded, and where each one's partner
 * stands. z: [2N, D], views of the same sample at rows i and i + N.
 */
function similarities(
  z: tf.Tensor2D,
  temperature: number,
): { unit: tf.Tensor2D; logits: tf.Tensor2D; partner: Int32Array } {
  const views = z.shape[0];
  const half = views / 2;
  if (!Number.isInteger(half)) throw new RangeError(`expected two views of each image, got ${views} rows`);
  const unit = unitRows(z);
  const itself = tf.oneHot(tf.range(0, views, 1, 'int32'), views, EXCLUDED, 0, 'float32');
  return {
    unit,
    logits: tf.add<tf.Tensor2D>(tf.div(exactProduct(unit, unit, false, true), temperature), itself),
    partner: Int32Array.from({ length: views }, (_, i) => (i + half) % views),
  };
}

/**
 * NT-Xent, the loss of SimCLR (Chen et al. 2020, eq. 1), as the mean over all 2N views (lightly, solo-learn; the
 * reference code of SimCLR gives the sum of both halves' means, twice this). z: [2N, D], views of the same image at
 * rows i and i + N.
 */
export function ntXent(z: tf.Tensor2D, temperature: number): Contrast {
  const { logits, partner } = similarities(z, temperature);
  return { loss: crossEntropy(logits, partner), accuracy: accuracyOf(logits, partner) };
}

/**
 * Decoupled contrastive loss (Yeh et al. 2022, eq. 6): NT-Xent without the positive in the denominator, so that an easy
 * positive does not shrink the gradient of the negatives. Mean over all 2N views, as lightly. z: as for `ntXent`.
 */
export function decoupledContrast(z: tf.Tensor2D, temperature: number): Contrast {
  const { unit, logits, partner } = similarities(z, temperature);
  const [first, second] = tf.split(unit, 2) as [tf.Tensor2D, tf.Tensor2D];
  const positives = tf.div(tf.sum(tf.mul(first, second), 1), temperature);
  const withoutPositive = tf.oneHot(tf.tensor1d(partner, 'int32'), unit.shape[0], EXCLUDED, 0, 'float32');
  return {
    // Both views of a sample have the same positive.
    loss: tf.sub(meanLogSumExp(tf.add(logits, withoutPositive)), tf.mean(positives)),
    accuracy: accuracyOf(logits, partner),
  };
}

/**
 * Supervised contrastive loss (Khosla et al. 2020, eq. 2, the sum over positives outside the logarithm), as the mean
 * over all 2N views and without their factor temperature / 0.07: all other views of the same class are positives.
 * `accuracy`: how often the most similar view is of the same class. z: as for `ntXent`; labels: int32 [N]
 */
export function supervisedContrast(z: tf.Tensor2D, labels: tf.Tensor1D, temperature: number): Contrast {
  const { logits } = similarities(z, temperature);
  const views = z.shape[0];
  const classes = tf.tile(labels, [2]);
  const isSame = tf.cast(tf.equal(tf.expandDims(classes, 1), tf.expandDims(classes, 0)), 'float32');
  const positives = tf.sub<tf.Tensor2D>(isSame, tf.oneHot(tf.range(0, views, 1, 'int32'), views, 1, 0, 'float32'));
  const found = rowsAt(classes, tf.argMax(logits, 1));
  return {
    loss: softCrossEntropy(logits, tf.div(positives, tf.sum(positives, 1, true))),
    accuracy: tf.mean<tf.Scalar>(tf.cast(tf.equal(found, classes), 'float32')),
  };
}

/**
 * InfoNCE of queries against their own keys and a queue of others' (MoCo, He et al. 2020, eq. 1), as the mean over
 * rows. Give keys without gradient. query, key: [M, D]; queue: [K, D], of length 1.
 */
export function queueContrast(query: tf.Tensor2D, key: tf.Tensor2D, queue: tf.Tensor2D, temperature: number): Contrast {
  const unit = unitRows(query);
  const positive = tf.sum(tf.mul(unit, unitRows(key)), 1, true);
  const negatives = exactProduct(unit, queue, false, true);
  const logits = tf.div<tf.Tensor2D>(tf.concat([positive, negatives], 1), temperature);
  const own = new Int32Array(query.shape[0]);
  return { loss: crossEntropy(logits, own), accuracy: accuracyOf(logits, own) };
}

/**
 * InfoNCE within a batch: row i finds column i among all columns, as the mean over rows. The side that is to get no
 * gradient is given as a constant. rows, columns: [N, D]
 */
export function batchContrast(rows: tf.Tensor2D, columns: tf.Tensor2D, temperature: number): Contrast {
  const logits = tf.div<tf.Tensor2D>(exactProduct(unitRows(rows), unitRows(columns), false, true), temperature);
  const own = Int32Array.from({ length: rows.shape[0] }, (_, i) => i);
  return { loss: crossEntropy(logits, own), accuracy: accuracyOf(logits, own) };
}

/** Mean of both directions. */
export const meanOf = (a: Contrast, b: Contrast): Contrast => ({
  loss: tf.mul(tf.add(a.loss, b.loss), 0.5),
  accuracy: tf.mul(tf.add(a.accuracy, b.accuracy), 0.5),
});
