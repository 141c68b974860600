/** Layers of transformers as ONNX operators. */
import type { Attention, Positions } from '../networks/transformer.js';
import { valuesOf, weightOf, type Use } from './onnx-graph.js';
import { refuse } from './onnx-settings.js';

/** Of each token, over the last axis of tfjs. */
function normalised(use: Use): string {
  const { layer, name, settings, inputs, inputShapes, graph } = use;
  const rank = inputShapes[0]!.length;
  const over = [settings['axis'] ?? -1].flat();
  if (over.length !== 1 || ![-1, rank - 1].includes(over[0] as number))
    refuse(use, `axis -1 or ${rank - 1}`, JSON.stringify(settings['axis']));
  const width = inputShapes[0]!.at(-1)!;
  const [scale, offset] = (['gamma', 'beta'] as const).map((each) => {
    const values = weightOf(layer, each);
    // What is not learnt is 1, and 0.
    const absent = new Float32Array(width).fill(each === 'gamma' ? 1 : 0);
    return graph.floats(`${name}/${each}`, [width], values ? valuesOf(values) : absent);
  }) as [string, string];
  const rows = graph.channelsLast(`${name}/in`, inputs[0]!, rank);
  const value = graph.add('LayerNormalization', name, [rows, scale, offset], {
    axis: { int: -1 },
    epsilon: { float: settings['epsilon'] as number },
  });
  return graph.channelsFirst(name, value, rank);
}

function attended({ layer, name, inputs, outputShape, graph }: Use): string {
  const { heads } = (layer as Attention).settings;
  const [, tokens, width] = outputShape as [null, number, number];
  const mixed = graph.channelsLast(`${name}/in`, inputs[0]!, 3);
  // [N, T, 3·D] → [N, heads, T, D / heads], of keys with the last two turned.
  const [queries, keys, values] = ['queries', 'keys', 'values'].map((part, i) => {
    const own = `${name}/${part}`;
    const bounds = [i, i + 1, 2].map((at, n) => graph.wholes(`${own}/${n}`, [n === 2 ? at : at * width]));
    const slice = graph.add('Slice', `${own}/slice`, [mixed, ...bounds]);
    const apart = graph.add('Reshape', `${own}/apart`, [
      slice,
      graph.wholes(`${own}/shape`, [-1, tokens, heads, width / heads]),
    ]);
    return graph.add('Transpose', own, [apart], { perm: { ints: part === 'keys' ? [0, 2, 3, 1] : [0, 2, 1, 3] } });
  }) as [string, string, string];
  const scale = graph.floats(`${name}/scale`, [1], Float32Array.of((width / heads) ** -0.5));
  const suits = graph.add('MatMul', `${name}/suits`, [graph.add('Mul', `${name}/scaled`, [queries, scale]), keys]);
  const shares = graph.add('Softmax', `${name}/shares`, [suits], { axis: { int: -1 } });
  const taken = graph.add('Transpose', `${name}/together`, [graph.add('MatMul', `${name}/taken`, [shares, values])], {
    perm: { ints: [0, 2, 1, 3] },
  });
  const rows = graph.add('Reshape', name, [taken, graph.wholes(`${name}/shape`, [-1, tokens, width])]);
  return graph.channelsFirst(name, rows, 3);
}

function placed({ layer, name, inputs, inputShapes, outputShape, graph }: Use): string {
  const rows = (layer as Positions).ofZeros();
  const shape = [1, ...rows.shape];
  const added = graph.floats(`${name}/rows`, shape, valuesOf(rows));
  rows.dispose();
  const before = outputShape[1]! - inputShapes[0]![1]!;
  const tokens = graph.channelsLast(`${name}/in`, inputs[0]!, 3);
  const all =
    before > 0
      ? graph.add('Pad', `${name}/padded`, [tokens, graph.wholes(`${name}/pads`, [0, before, 0, 0, 0, 0])])
      : tokens;
  return graph.channelsFirst(name, graph.add('Add', name, [all, added]), 3);
}

export const TOKEN_WRITERS: Readonly<Record<string, (use: Use) => string>> = {
  LayerNormalization: normalised,
  SelfAttention: attended,
  Positions: placed,
  StochasticDepth: ({ inputs }) => inputs[0]!,
};
