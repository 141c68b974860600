import * as tf from '@tensorflow/tfjs-core';
import { rowsAt, withoutGradient } from '../networks/operations.js';
import { forward } from '../networks/weights.js';
import { unitRows } from '../objectives.js';
import { exactProduct } from '../precision.js';
import { batchContrast, meanOf } from './contrastive-losses.js';
import { contrastTerms, halves, newPredictor, project, type Learner, type Method } from './method.js';
import { newQueue } from './queue.js';

/** The most similar row of the queue for each row of z, as a constant. z: [N, D]; queue: [K, D], of length 1 */
export const nearestIn = (queue: tf.Tensor2D, z: tf.Tensor2D): tf.Tensor2D =>
  withoutGradient(z, (x) => rowsAt(queue, tf.argMax(exactProduct(unitRows(x as tf.Tensor2D), queue, false, true), 1)));

/**
 * NNCLR (Dwibedi et al. 2021, eq. 3): the nearest neighbour of each view's output, among outputs of earlier steps,
 * finds the predictor's output of the other view among those of the batch.
 */
export function nnclr(learner: Learner): Method {
  const { spec } = learner;
  const predictor = newPredictor(spec);
  const queue = newQueue(spec);
  return {
    models: [predictor],
    memory: [queue.memory],
    objective: (views) => {
      const z = project(learner, views);
      const [p1, p2] = halves(forward<tf.Tensor2D>(predictor, z, true));
      const [n1, n2] = halves(nearestIn(queue.rows, z));
      const contrast = meanOf(batchContrast(n1, p2, spec.temperature), batchContrast(n2, p1, spec.temperature));
      queue.push(halves(z)[0]);
      return contrastTerms(contrast);
    },
  };
}
