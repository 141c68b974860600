/** Weights of channels by what a whole map holds: squeeze and excitation, selective kernels. Layers are tfjs's own. */
import * as layers from '@tensorflow/tfjs-layers';
import { apply, averagePool, dense, normaliseAndRectify, rectify, type Symbolic } from './layers.js';

/** Factors of channels [N, C, …] as those of each place [N, 1, 1, C]. */
const atEachPlace = (factors: Symbolic, name: string, channels: number): Symbolic =>
  apply(layers.layers.reshape({ name, targetShape: [1, 1, channels] }), factors);

/** Squeeze and excitation (Hu et al. 2018): each channel times a factor in (0, 1), made of all channels' means. */
export function excite(x: Symbolic, name: string, squeezed: number): Symbolic {
  const channels = x.shape.at(-1)!;
  const inner = rectify(dense(averagePool(x, `${name}_mean`), `${name}_reduce`, squeezed), `${name}_relu`);
  const factors = apply(
    layers.layers.activation({ name: `${name}_sigmoid`, activation: 'sigmoid' }),
    dense(inner, `${name}_expand`, channels),
  );
  return apply(layers.layers.multiply({ name: `${name}_weigh` }), [
    x,
    atEachPlace(factors, `${name}_factors`, channels),
  ]);
}

/**
 * Selective kernels (Li et al. 2019, as SK_Conv2D in SimCLRv2's tf2/resnet.py): of two maps each channel's mixture, by
 * a softmax of two logits that are made of the mean of both.
 */
export function mixture(one: Symbolic, other: Symbolic, name: string, mixing: number): Symbolic {
  const channels = one.shape.at(-1)!;
  const both = apply(layers.layers.add({ name: `${name}_both` }), [one, other]);
  const seen = normaliseAndRectify(
    dense(averagePool(both, `${name}_mean`), `${name}_mix1`, mixing, false),
    `${name}_bn`,
    `${name}_relu`,
  );
  // Logits of the first map's channels, then of the other's → [N, 2, C] → [N, C, 2] for the softmax → [N, C, 2, 1].
  const logits = apply(
    layers.layers.reshape({ name: `${name}_logits`, targetShape: [2, channels] }),
    dense(seen, `${name}_mix2`, 2 * channels, false),
  );
  const pairs = apply(layers.layers.permute({ name: `${name}_pairs`, dims: [2, 1] }), logits);
  const shares = apply(
    layers.layers.reshape({ name: `${name}_shares`, targetShape: [channels, 2, 1] }),
    apply(layers.layers.softmax({ name: `${name}_softmax`, axis: -1 }), pairs),
  );
  const weighed = [one, other].map((map, i) => {
    const own = `${name}_${'ab'[i]!}`;
    const cropping: [[number, number], [number, number]] = [
      [0, 0],
      [i, 1 - i],
    ];
    const share = apply(layers.layers.cropping2D({ name: `${own}_share`, cropping }), shares);
    return apply(layers.layers.multiply({ name: `${own}_weigh` }), [
      map,
      atEachPlace(share, `${own}_factors`, channels),
    ]);
  });
  return apply(layers.layers.add({ name: `${name}_mixed` }), weighed);
}
