/** Losses that pull two views of a sample together and push those of other samples apart. */
import * as tf from '@tensorflow/tfjs-core';
import { accuracyOf, crossEntropy, unitRows } from '../objectives.js';

/** Far below any logit: a view is never its own negative. */
const SELF = -1e9;

/**
 * NT-Xent, the loss of SimCLR (Chen et al. 2020, eq. 1), as the mean over all 2N views (lightly, solo-learn; the
 * reference code of SimCLR gives the sum of both halves' means, twice this). z: [2N, D], views of the same image at
 * rows i and i + N; rows are normalised here. `accuracy` is how often the other view of an image is the most similar of
 * all 2N − 1.
 */
export function ntXent(z: tf.Tensor2D, temperature: number): { loss: tf.Scalar; accuracy: tf.Scalar } {
  const views = z.shape[0];
  const half = views / 2;
  if (!Number.isInteger(half)) throw new RangeError(`expected two views of each image, got ${views} rows`);
  const unit = unitRows(z);
  // logits: [2N, 2N]
  const itself = tf.oneHot(tf.range(0, views, 1, 'int32'), views, SELF, 0, 'float32');
  const logits = tf.add<tf.Tensor2D>(tf.div(tf.matMul(unit, unit, false, true), temperature), itself);
  const partner = Int32Array.from({ length: views }, (_, i) => (i + half) % views);
  return { loss: crossEntropy(logits, partner), accuracy: accuracyOf(logits, partner) };
}
