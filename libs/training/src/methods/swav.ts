import type { Pretrain } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import { withoutGradient } from '../networks/operations.js';
import type { Learner, Method } from './method.js';
import { multiCrop } from './multi-crop.js';
import { columnsOf, crossPrediction, entropyOf, newPrototypes, scoresOf, unitColumns } from './prototypes.js';

export type Assignment = Required<Pretrain>['swav'];

/**
 * Codes of a batch, equally many to each prototype, by Sinkhorn and Knopp (Cuturi 2013; SwAV, Caron et al. 2020,
 * appendix A): each row a distribution over the prototypes. scores: [N, K] → [N, K]
 */
export function sinkhorn(scores: tf.Tensor2D, { epsilon, iterations }: Assignment): tf.Tensor2D {
  const [count, prototypes] = scores.shape;
  const share = (x: tf.Tensor2D, axis: number, total: number): tf.Tensor2D =>
    tf.div(tf.divNoNan(x, tf.sum(x, axis, true)), total);
  // Of the largest score: the first division takes it out again.
  let codes = tf.exp<tf.Tensor2D>(tf.div(tf.sub(scores, tf.max(scores)), epsilon));
  for (let i = 0; i < iterations; i++) codes = share(share(codes, 0, prototypes), 1, count);
  return tf.mul(codes, count);
}

/** scores: [V·N, K], of views as for `crossPrediction`. */
export function swappedAssignments(
  scores: tf.Tensor2D,
  count: number,
  temperature: number,
  assignment: Assignment,
): { loss: tf.Scalar; codes: tf.Tensor2D } {
  const codes = [0, 1].map((view) =>
    withoutGradient(tf.slice2d(scores, [view * count, 0], [count, -1]), (x) => sinkhorn(x as tf.Tensor2D, assignment)),
  ) as [tf.Tensor2D, tf.Tensor2D];
  return { loss: crossPrediction(tf.div(scores, temperature), codes), codes: tf.concat2d(codes, 0) };
}

/**
 * SwAV (Caron et al. 2020): every view foretells which prototypes the two large views of its sample are assigned to.
 * Prototypes are trained, and brought back to length 1 after each step. Without a queue.
 */
export function swav(learner: Learner): Method {
  const { batchSize, temperature, swav: assignment = { epsilon: 0.05, iterations: 3 } } = learner.spec;
  const project = multiCrop(learner);
  const prototypes = newPrototypes(learner.spec);
  const columns = columnsOf(prototypes);
  const normalise = (): void => {
    columns.assign(unitColumns(columns));
  };
  tf.tidy(normalise);
  return {
    models: [prototypes],
    objective: (large, _, small) => {
      const scores = scoresOf(project([large, ...small]), columns);
      const { loss, codes } = swappedAssignments(scores, batchSize, temperature, assignment);
      return { loss, code_entropy: entropyOf(codes) };
    },
    afterUpdate: normalise,
  };
}
