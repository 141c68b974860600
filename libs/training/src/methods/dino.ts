import type { Pretrain } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import type { Learner, Method } from './method.js';
import { momentumTarget } from './momentum-target.js';
import { multiCrop } from './multi-crop.js';
import { columnsOf, crossPrediction, entropyOf, newPrototypes, scoresOf, unitColumns } from './prototypes.js';

export type Sharpening = Required<Pretrain>['dino'] & { temperature: number };

/** The centre's next value: a running average of the teacher's scores. centre: [1, K]; teacher: [M, K] */
export const nextCentre = (centre: tf.Tensor2D, teacher: tf.Tensor2D, momentum: number): tf.Tensor2D =>
  tf.add(tf.mul(centre, momentum), tf.mul(tf.mean(teacher, 0, true), 1 - momentum));

/**
 * DINO's loss (Caron et al. 2021, algorithm 1). student: [V·N, K], of views as for `crossPrediction`; teacher: [2N, K],
 * without a gradient, of the first two; centre: [1, K]
 */
export function selfDistillation(
  student: tf.Tensor2D,
  teacher: tf.Tensor2D,
  centre: tf.Tensor2D,
  { temperature, teacherTemperature }: Sharpening,
): { loss: tf.Scalar; targets: tf.Tensor2D } {
  const targets = tf.softmax<tf.Tensor2D>(tf.div(tf.sub(teacher, centre), teacherTemperature));
  const halves = tf.split(targets, 2) as [tf.Tensor2D, tf.Tensor2D];
  return { loss: crossPrediction(tf.div(student, temperature), halves), targets };
}

/**
 * DINO: every view foretells what a slowly following copy of encoder, head and prototypes says of the two large views
 * of its sample. That is centred by what it says on average, and sharpened, so that neither one prototype nor all alike
 * are the answer. Prototypes count by their directions.
 */
export function dino(learner: Learner): Method {
  const { spec } = learner;
  const { batchSize, temperature, dino: settings = { teacherTemperature: 0.04, centerMomentum: 0.9 } } = spec;
  const { project, shared } = multiCrop(learner);
  const [prototypes, copy] = [newPrototypes(spec), newPrototypes(spec)];
  const { project: projectByTarget, ...target } = momentumTarget(learner, { online: prototypes, copy });
  const centre = tf.tidy(() => tf.variable(tf.zeros<tf.Rank.R2>([1, columnsOf(prototypes).shape[1]]), false));
  return {
    models: [prototypes],
    shared,
    ...target,
    memory: [{ key: 'centre', variable: centre }],
    objective: (large, _, small) => {
      const student = scoresOf(project([large, ...small]), unitColumns(columnsOf(prototypes)));
      const seen = tf.slice4d(large, [0, 0, 0, 0], [2 * batchSize, -1, -1, -1]);
      const teacher = scoresOf(projectByTarget(seen), unitColumns(columnsOf(copy)));
      const { loss, targets } = selfDistillation(student, teacher, centre, { ...settings, temperature });
      centre.assign(nextCentre(centre, teacher, settings.centerMomentum));
      return { loss, teacher_entropy: entropyOf(targets) };
    },
  };
}
