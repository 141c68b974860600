/** Models of layers that every tfjs has: what others do is written out for the file. */
import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import { Attention, Positions, StochasticDepth } from '../networks/transformer.js';
import { SpatialDropout2D } from '../own/drawing-layers.js';

type Symbolic = layers.SymbolicTensor;
const { add, concatenate, cropping2D, dense, dot, globalAveragePooling1d, reshape, softmax, zeroPadding2d } =
  layers.layers;
const apply = (layer: layers.layers.Layer | Symbolic, x: Symbolic | Symbolic[]): Symbolic =>
  (layer as layers.layers.Layer).apply(x) as Symbolic;

/** Heads one by one: a product of tfjs's layers is of tensors of three axes at most. */
function attention(x: Symbolic, { settings: { name, heads } }: Attention): Symbolic {
  const [, tokens, thrice] = x.shape as [null, number, number];
  const width = thrice / 3;
  const size = width / heads;
  const parts = apply(reshape({ name: `${name}_parts`, targetShape: [tokens, 3 * heads, size] }), x);
  const taken = Array.from({ length: heads }, (_, head) => {
    const [queries, keys, values] = [0, 1, 2].map((part) => {
      const at = part * heads + head;
      const own = `${name}_${head}_${'qkv'[part]!}`;
      const cropping: [[number, number], [number, number]] = [
        [0, 0],
        [at, 3 * heads - 1 - at],
      ];
      const cut = apply(cropping2D({ name: `${own}_cut`, cropping }), parts);
      return apply(reshape({ name: own, targetShape: [tokens, size] }), cut);
    }) as [Symbolic, Symbolic, Symbolic];
    const scaled = apply(layers.layers.rescaling({ name: `${name}_${head}_scaled`, scale: size ** -0.5 }), queries);
    const suits = apply(dot({ name: `${name}_${head}_suits`, axes: [2, 2] }), [scaled, keys]);
    const shares = apply(softmax({ name: `${name}_${head}_shares`, axis: -1 }), suits);
    return apply(dot({ name: `${name}_${head}_taken`, axes: [2, 1] }), [shares, values]);
  });
  return apply(concatenate({ name, axis: -1 }), taken);
}

/** The positions are the kernel of a dense layer whose input is 1; the class's token is in the place of zeros. */
function positions(x: Symbolic, layer: Positions): Symbolic {
  const { name } = layer.settings;
  const [, tokens, width] = x.shape as [null, number, number];
  const rows = layer.ofZeros();
  const before = rows.shape[0] - tokens;
  const one = dense({ name: `${name}_one`, units: 1, kernelInitializer: 'zeros', biasInitializer: 'ones' });
  const spread = dense({ name: `${name}_rows`, units: rows.size, useBias: false, kernelInitializer: 'zeros' });
  const constant = apply(spread, apply(one, apply(globalAveragePooling1d({ name: `${name}_mean` }), x)));
  tf.tidy(() => {
    spread.setWeights([tf.reshape(rows, [1, -1])]);
  });
  rows.dispose();
  const added = apply(reshape({ name: `${name}_shaped`, targetShape: [before + tokens, width] }), constant);
  if (before === 0) return apply(add({ name }), [x, added]);
  const line = apply(reshape({ name: `${name}_line`, targetShape: [1, tokens, width] }), x);
  const padding: [[number, number], [number, number]] = [
    [0, 0],
    [before, 0],
  ];
  const padded = apply(zeroPadding2d({ name: `${name}_pad`, padding }), line);
  return apply(add({ name }), [
    apply(reshape({ name: `${name}_padded`, targetShape: [before + tokens, width] }), padded),
    added,
  ]);
}

/** Of no effect where nothing learns. */
const passes = (layer: layers.layers.Layer): boolean =>
  layer instanceof StochasticDepth || layer instanceof SpatialDropout2D;
const isOwn = (layer: layers.layers.Layer): boolean =>
  layer instanceof Attention || layer instanceof Positions || passes(layer);

/**
 * The model by layers that every tfjs loads, sharing weights with it; the model itself where it has no others. What is
 * made for it is to be disposed of by `release`.
 */
export function portable(model: layers.LayersModel): { model: layers.LayersModel; release(): void } {
  if (!model.layers.some(isOwn)) return { model, release: () => undefined };
  const known = new Map(model.inputs.map((input) => [input.id, input]));
  const through = (tensor: Symbolic): Symbolic => {
    let result = known.get(tensor.id);
    if (!result) {
      const layer = tensor.sourceLayer;
      const from = layer.inboundNodes[tensor.nodeIndex]!.inputTensors.map(through);
      if (layer instanceof Attention) result = attention(from[0]!, layer);
      else if (layer instanceof Positions) result = positions(from[0]!, layer);
      else if (passes(layer)) result = from[0]!;
      else result = apply(layer, from.length === 1 ? from[0]! : from);
      known.set(tensor.id, result);
    }
    return result;
  };
  const outputs = model.outputs.map(through);
  const written = layers.model({ inputs: model.inputs, outputs, name: model.name });
  const own = new Set(model.weights);
  return {
    model: written,
    release: () => {
      for (const weight of written.weights) if (!own.has(weight)) weight.dispose();
    },
  };
}
