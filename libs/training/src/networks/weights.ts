/** Weights of networks by their names, how they begin, and a pass through a network. */
import type { Random } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import type * as layers from '@tensorflow/tfjs-layers';

/** A model's weights by `model/layer/weight`. Trainable ones are variables that gradients are taken for. */
export interface NamedWeight {
  key: string;
  variable: tf.Variable;
  trainable: boolean;
}

export function weightsOf(...models: layers.LayersModel[]): NamedWeight[] {
  return models.flatMap((model) =>
    model.layers.flatMap((layer) =>
      layer.weights.map((weight) => ({
        key: `${model.name}/${layer.name}/${weight.originalName.split('/').at(-1)!}`,
        variable: weight.read() as tf.Variable,
        trainable: weight.trainable,
      })),
    ),
  );
}

/**
 * He et al. 2015: kernels normal with variance 2 / fan-in, from a seed; all else keeps its constant. `zero`: layers
 * that start at 0.
 */
export function initialise(models: layers.LayersModel[], random: Random, zero: readonly string[] = []): void {
  for (const { key, variable } of weightsOf(...models)) {
    if (!key.endsWith('/kernel') || zero.some((layer) => key.includes(`/${layer}/`))) continue;
    const { shape } = variable;
    const fanIn = shape.slice(0, -1).reduce((product, side) => product * side, 1);
    const values = Float32Array.from({ length: variable.size }, () => random.normal(0, Math.sqrt(2 / fanIn)));
    tf.tidy(() => {
      variable.assign(tf.tensor(values, shape));
    });
  }
}

export const forward = <T extends tf.Tensor | tf.Tensor[] = tf.Tensor>(
  model: layers.LayersModel,
  x: tf.Tensor | tf.Tensor[],
  training: boolean,
): T => model.apply(x, { training }) as T;
