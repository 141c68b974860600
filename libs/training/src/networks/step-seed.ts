/** Randomness inside a step: layers draw from a seed that is an input of it, so that a resumed run draws alike. */
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { uniformBySeed } from './token-operations.js';

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

/** Numbers in [0, 1) of the step; undefined outside of one. */
export function drawInStep(shape: number[]): tf.Tensor | undefined {
  if (!current) return undefined;
  current.draws++;
  return uniformBySeed(shape, tf.add(current.seed, tf.tensor1d([0, current.draws], 'int32')));
}

/** Layers that draw while they learn say so by a member `draws`. */
export const drawsInSteps = (models: readonly LayersModel[]): boolean =>
  models.some((model) => model.layers.some((layer) => 'draws' in layer && layer.draws === true));
