/** A copy of encoder and head that follows them slowly and gets no gradient. */
import type { Encoder, SampleShape } from '#libs/contracts';
import { inputShape } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { buildEncoder } from '../networks/encoder.js';
import { withoutGradient } from '../networks/operations.js';
import { weightsOf } from '../networks/weights.js';
import { newHead, project, type Learner, type Method } from './method.js';

/** An encoder that begins with the weights of another, which may be a model's. */
function copyOf(encoder: LayersModel, architecture: Encoder, sample: SampleShape): LayersModel {
  const copy = buildEncoder(architecture, inputShape(sample));
  const weights = weightsOf(encoder);
  weightsOf(copy).forEach(({ variable }, i) =>
    tf.tidy(() => {
      variable.assign(tf.tensor(weights[i]!.variable.dataSync().slice(), variable.shape));
    }),
  );
  return copy;
}

/** A target network, and how it follows: parts of the method that has it. */
export interface MomentumTarget extends Required<Pick<Method, 'followers' | 'rates' | 'afterUpdate'>> {
  /** Its outputs for views, as constants: [M, H, W, C] → [M, D] */
  project(views: tf.Tensor4D): tf.Tensor2D;
}

/**
 * The target begins as a copy of encoder and head: of the head because it is made with the same seed. `more`: a network
 * of the method's own, and its copy, which follows too.
 */
export function momentumTarget(
  { spec, sample, encoder, head, totalSteps }: Learner,
  more?: { online: LayersModel; copy: LayersModel },
): MomentumTarget {
  const target = { encoder: copyOf(encoder, spec.encoder, sample), head: newHead(spec, encoder) };
  const networks = [target.encoder, target.head, ...(more ? [more.copy] : [])];
  for (const each of networks) each.name = `target_${each.name}`;
  const online = trainableOf(encoder, head, ...(more ? [more.online] : []));
  const following = trainableOf(...networks);
  return {
    followers: networks,
    project: (views) => withoutGradient(views, (x) => project(target, x as tf.Tensor4D)),
    rates: (step) => [targetMomentumAt(step, totalSteps, spec.targetMomentum)],
    afterUpdate: ([momentum]) => {
      const share = tf.sub(1, momentum!);
      // Parameters only: the target keeps running averages of its own.
      following.forEach(({ variable }, i) => {
        variable.assign(tf.add(tf.mul(variable, momentum!), tf.mul(online[i]!.variable, share)));
      });
    },
  };
}

/**
 * Weight of the old value in BYOL's target after step k of K: 1 − (1 − base)(cos(πk/K) + 1)/2 (Grill et al. 2020,
 * appendix J).
 */
export const targetMomentumAt = (step: number, totalSteps: number, base: number): number =>
  1 - ((1 - base) * (Math.cos((Math.PI * step) / totalSteps) + 1)) / 2;

const trainableOf = (...models: LayersModel[]) => weightsOf(...models).filter(({ trainable }) => trainable);
