/** What a transformer computes with tokens, as few kernels forward and back. */
import { float, kernel, typeAttribute } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';

export const LAYER_NORM_EPSILON = 1e-6;

type Save = (tensors: tf.Tensor[]) => void;
const meanOfLast = (x: tf.Tensor): tf.Tensor => tf.mean(x, -1, true);
/** Sum over all axes but the last. */
const sumOfRows = (x: tf.Tensor): tf.Tensor => kernel('BiasAddGrad', float(), [x])[0]!;

/**
 * Each token less its mean and divided by its standard deviation, then scaled and shifted (Ba et al. 2016). x:
 * [N, …, D]; scale, offset: [D]
 */
export function layerNorm<T extends tf.Tensor>(x: T, scale: tf.Tensor1D, offset: tf.Tensor1D): T {
  const normalise = tf.customGrad((...inputs) => {
    const [input, gamma, beta, save] = inputs as unknown as [tf.Tensor, tf.Tensor1D, tf.Tensor1D, Save];
    const centred = tf.sub(input, meanOfLast(input));
    const inverse = tf.rsqrt(tf.add(meanOfLast(tf.square(centred)), LAYER_NORM_EPSILON));
    const normalised = tf.mul(centred, inverse);
    save([normalised, inverse, gamma]);
    return {
      value: tf.add(tf.mul(normalised, gamma), beta),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const [unit, deviation, factor] = saved as [tf.Tensor, tf.Tensor, tf.Tensor];
        const slope = tf.mul(dy, factor);
        const along = tf.mul(unit, meanOfLast(tf.mul(slope, unit)));
        const dx = tf.mul(deviation, tf.sub(tf.sub(slope, meanOfLast(slope)), along));
        return [dx, sumOfRows(tf.mul(dy, unit)), sumOfRows(dy)];
      },
    };
  });
  return normalise(x, scale, offset) as T;
}

/** x · Φ(x), Φ the standard normal distribution (Hendrycks and Gimpel 2016), not its approximation. */
export function gelu<T extends tf.Tensor>(x: T): T {
  const apply = tf.customGrad((...inputs) => {
    const [input, save] = inputs as unknown as [tf.Tensor, Save];
    const below = tf.mul(tf.add(tf.erf(tf.mul(input, Math.SQRT1_2)), 1), 0.5);
    save([input, below]);
    return {
      value: tf.mul(input, below),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const [at, part] = saved as [tf.Tensor, tf.Tensor];
        const density = tf.mul(tf.exp(tf.mul(tf.square(at), -0.5)), 1 / Math.sqrt(2 * Math.PI));
        return tf.mul(dy, tf.add(part, tf.mul(at, density)));
      },
    };
  });
  return apply(x) as T;
}

/** x · kernel + bias for each token. x: [N, T, from] → [N, T, to] */
export function mapTokens(x: tf.Tensor3D, weights: tf.Tensor2D, bias: tf.Tensor1D): tf.Tensor3D {
  const [count, tokens, from] = x.shape;
  const rows = tf.matMul(tf.reshape<tf.Rank.R2>(x, [-1, from]), weights);
  return tf.reshape(tf.add(rows, bias), [count, tokens, weights.shape[1]]);
}

/**
 * What each token takes from all, by how its query suits their keys, for each head by itself (Vaswani et al. 2017, eq.
 * 1). mixed: [N, T, 3·D], queries, keys and values of all heads side by side → [N, T, D]
 */
export function attend(mixed: tf.Tensor3D, heads: number): tf.Tensor3D {
  const [count, tokens, thrice] = mixed.shape;
  const width = thrice / 3;
  const size = width / heads;
  const apart = tf.transpose(tf.reshape(mixed, [count, tokens, 3, heads, size]), [2, 0, 3, 1, 4]);
  const [queries, keys, values] = tf
    .split(apart, 3)
    .map((each) => tf.reshape<tf.Rank.R4>(each, [count, heads, tokens, size])) as [
    tf.Tensor4D,
    tf.Tensor4D,
    tf.Tensor4D,
  ];
  const suits = softmax(tf.matMul<tf.Tensor4D>(tf.mul(queries, size ** -0.5), keys, false, true));
  return tf.reshape(tf.transpose(tf.matMul<tf.Tensor4D>(suits, values), [0, 2, 1, 3]), [count, tokens, width]);
}

/** Over the last axis. tfjs's gradient is of as many kernels, and keeps its input too. */
function softmax<T extends tf.Tensor>(x: T): T {
  const apply = tf.customGrad((...inputs) => {
    const [input, save] = inputs as unknown as [tf.Tensor, Save];
    const [y] = kernel('Softmax', float(), [input]) as [tf.Tensor];
    save([y]);
    return {
      value: y,
      gradFunc: (dy: tf.Tensor, [shares]: tf.Tensor[]) => {
        const weighed = tf.mul(dy, shares!);
        return tf.sub(weighed, tf.mul(shares!, tf.sum(weighed, -1, true)));
      },
    };
  });
  return apply(x) as T;
}

/** Numbers in [0, 1), the same for the same seed on the same machine. seed: int32 [2] */
export const uniformBySeed = (shape: number[], seed: tf.Tensor1D): tf.Tensor =>
  bySeed('StatelessRandomUniform', shape, seed);

/** Of the normal distribution of mean 0 and deviation 1, alike. */
export const normalBySeed = (shape: number[], seed: tf.Tensor1D): tf.Tensor =>
  bySeed('StatelessRandomNormal', shape, seed);

function bySeed(name: 'StatelessRandomUniform' | 'StatelessRandomNormal', shape: number[], seed: tf.Tensor1D) {
  return kernel(
    name,
    { dtype: typeAttribute('TF_FLOAT'), T: typeAttribute('TF_INT32'), Tseed: typeAttribute('TF_INT32') },
    [tf.tensor1d(shape, 'int32'), seed],
  )[0]!;
}
