import type { Pretrain } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import { withoutGradient } from '../networks/operations.js';
import type { Learner, Method } from './method.js';
import { multiCrop } from './multi-crop.js';
import { newQueue } from './queue.js';
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

/** Scores of earlier outputs of each of the two large views, [Q, K] each, and whether they count (1) or not (0). */
interface Earlier {
  scores: readonly [tf.Tensor2D, tf.Tensor2D];
  count: tf.Scalar;
}

/** scores: [V·N, K], of views as for `crossPrediction`. `earlier` is assigned along, and has no part in the loss. */
export function swappedAssignments(
  scores: tf.Tensor2D,
  count: number,
  temperature: number,
  assignment: Assignment,
  earlier?: Earlier,
): { loss: tf.Scalar; codes: tf.Tensor2D } {
  const codesOf = (own: tf.Tensor2D, before: tf.Tensor2D | undefined): tf.Tensor2D => {
    const alone = sinkhorn(own, assignment);
    if (!before) return alone;
    const together = sinkhorn(tf.concat2d([before, own], 0), assignment);
    const along = tf.slice2d(together, [before.shape[0], 0], [-1, -1]);
    return tf.add(alone, tf.mul(tf.sub(along, alone), earlier!.count));
  };
  const codes = [0, 1].map((view) =>
    withoutGradient(tf.slice2d(scores, [view * count, 0], [count, -1]), (x) =>
      codesOf(x as tf.Tensor2D, earlier?.scores[view]),
    ),
  ) as [tf.Tensor2D, tf.Tensor2D];
  return { loss: crossPrediction(tf.div(scores, temperature), codes), codes: tf.concat2d(codes, 0) };
}

/**
 * SwAV (Caron et al. 2020): every view foretells which prototypes the two large views of its sample are assigned to.
 * Prototypes are trained, and brought back to length 1 after each step. With `queueSize`, outputs of earlier steps are
 * assigned along, so that a small batch has as many to share out; they begin to count when the queue is full of them.
 */
export function swav(learner: Learner): Method {
  const { spec, totalSteps } = learner;
  const { batchSize, temperature, queueSize, swav: assignment = { epsilon: 0.05, iterations: 3 } } = spec;
  const queues = queueSize === undefined ? [] : ['queue_0', 'queue_1'].map((key) => newQueue(spec, key));
  const beginsAt = Math.max(
    Math.ceil((queueSize ?? 0) / batchSize),
    Math.ceil(((assignment.queueFromEpoch ?? 0) * totalSteps) / spec.epochs),
  );
  const { project, shared } = multiCrop(learner);
  const prototypes = newPrototypes(learner.spec);
  const columns = columnsOf(prototypes);
  const normalise = (): void => {
    columns.assign(unitColumns(columns));
  };
  tf.tidy(normalise);
  return {
    models: [prototypes],
    shared,
    memory: queues.map(({ memory }) => memory),
    ...(queues.length > 0 && { rates: (step) => [step >= beginsAt ? 1 : 0] }),
    objective: (large, _, small, [count]) => {
      const outputs = project([large, ...small]);
      const scores = scoresOf(outputs, columns);
      const [first, second] = queues.map(({ rows }) => scoresOf(rows, columns));
      const earlier = first && second && count && { scores: [first, second] as const, count };
      const { loss, codes } = swappedAssignments(scores, batchSize, temperature, assignment, earlier);
      queues.forEach(({ push }, view) => push(tf.slice2d(outputs, [view * batchSize, 0], [batchSize, -1])));
      return { loss, code_entropy: entropyOf(codes) };
    },
    afterUpdate: normalise,
  };
}
