/** Randomness inside a step: layers draw from a seed that is an input of it, so that a resumed run draws alike. */
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { normalBySeed, uniformBySeed } from './token-operations.js';

/** Set while a step is computed: tfjs passes layers no tensor but their inputs. */
let current: { seed: tf.Tensor1D; draws: number } | undefined;

/** What `compute` gives, layers in it drawing from `seed`, int32 [2], each time other numbers. */
export function withStepSeed<T>(seed: tf.Tensor1D | undefined, compute: () => T): T {
  const before = current;
  current = seed && { seed, draws: 0 };
  try {
    return compute();
  } finally {
    current = before;
  }
}

/** A seed of the step that no other draw of it has; undefined outside of one. */
function nextSeed(): tf.Tensor1D | undefined {
  if (!current) return undefined;
  current.draws++;
  return tf.add(current.seed, tf.tensor1d([0, current.draws], 'int32'));
}

/** Numbers in [0, 1) of the step; undefined outside of one. */
export function drawInStep(shape: number[]): tf.Tensor | undefined {
  const seed = nextSeed();
  return seed && uniformBySeed(shape, seed);
}

/** Normally distributed numbers of the step, of mean 0 and deviation 1; undefined outside of one. */
export function drawNormalInStep(shape: number[]): tf.Tensor | undefined {
  const seed = nextSeed();
  return seed && normalBySeed(shape, seed);
}

/** Layers that draw while they learn say so by a member `draws`. */
export const drawsInSteps = (models: readonly LayersModel[]): boolean =>
  models.some((model) => model.layers.some((layer) => 'draws' in layer && layer.draws === true));
