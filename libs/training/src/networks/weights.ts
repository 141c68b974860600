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

/** Layers of transformers, whose kernels begin smaller: what a block adds is not rectified and normalised after. */
const OF_TOKENS = /\/(patches|tokens_in|tokens_out|block\d+_(qkv|proj|mlp[12]))\/kernel$/;
/** Tokens that belong to no square begin so far from zero (MAE, models_mae.py). */
const OF_NO_SQUARE = /\/(class_token|mask_token|positions)$/;
const TOKEN_SPREAD = 0.02;

/** Standard deviation with which a weight begins; undefined where it keeps its constant. */
function spreadOf(key: string, shape: readonly number[]): number | undefined {
  if (OF_NO_SQUARE.test(key)) return TOKEN_SPREAD;
  if (!key.endsWith('/kernel')) return undefined;
  const fanIn = shape.slice(0, -1).reduce((product, side) => product * side, 1);
  if (!OF_TOKENS.test(key)) return Math.sqrt(2 / fanIn);
  // Queries, keys and values are three layers side by side.
  const fanOut = shape.at(-1)! / (key.includes('_qkv/') ? 3 : 1);
  return Math.sqrt(2 / (fanIn + fanOut));
}

/**
 * Kernels normal with variance 2 / fan-in (He et al. 2015), those of tokens 2 / (fan-in + fan-out) (Glorot and Bengio
 * 2010), from a seed; all else keeps its constant. `zero`: layers that start at 0.
 */
export function initialise(models: layers.LayersModel[], random: Random, zero: readonly string[] = []): void {
  for (const { key, variable } of weightsOf(...models)) {
    const { shape } = variable;
    const spread = spreadOf(key, shape);
    if (spread === undefined || zero.some((layer) => key.includes(`/${layer}/`))) continue;
    const values = Float32Array.from({ length: variable.size }, () => random.normal(0, spread));
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
