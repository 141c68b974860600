import * as tf from '@tensorflow/tfjs-core';
import { forward } from '../networks/weights.js';
import { batchContrast, meanOf, queueContrast } from './contrastive-losses.js';
import { contrastTerms, halves, newPredictor, project, type Learner, type Method } from './method.js';
import { momentumTarget } from './momentum-target.js';
import { newQueue } from './queue.js';

/** Outputs [2N, D] with those of both views in each other's place. */
const swapped = (z: tf.Tensor2D): tf.Tensor2D => tf.concat2d(halves(z).toReversed(), 0);

/**
 * MoCo v2 (He et al. 2020; Chen et al. 2020b) with its loss in both directions: each view finds the key of the other
 * among a queue of keys of earlier steps. Its momentum goes to 1 on a cosine, and normalisation is over the whole batch
 * of keys: batches are not shuffled among devices, of which there is one.
 */
export function mocoV2(learner: Learner): Method {
  const { spec } = learner;
  const { project: projectByTarget, ...target } = momentumTarget(learner);
  const queue = newQueue(spec);
  return {
    models: [],
    ...target,
    memory: [queue.memory],
    objective: (views) => {
      const queries = project(learner, views);
      const keys = projectByTarget(views);
      const contrast = queueContrast(queries, swapped(keys), queue.rows, spec.temperature);
      queue.push(keys);
      return contrastTerms(contrast);
    },
  };
}

/**
 * MoCo v3 (Chen et al. 2021, algorithm 1): a predictor's output of each view finds the other view's key among the keys
 * of the batch; the losses of both directions are added, each times twice the temperature.
 */
export function mocoV3(learner: Learner): Method {
  const { temperature } = learner.spec;
  const predictor = newPredictor(learner.spec);
  const { project: projectByTarget, ...target } = momentumTarget(learner);
  return {
    models: [predictor],
    ...target,
    objective: (views) => {
      const [q1, q2] = halves(forward<tf.Tensor2D>(predictor, project(learner, views), true));
      const [k1, k2] = halves(projectByTarget(views));
      const { loss, accuracy } = meanOf(batchContrast(q1, k2, temperature), batchContrast(q2, k1, temperature));
      return contrastTerms({ loss: tf.mul(loss, 4 * temperature), accuracy });
    },
  };
}
