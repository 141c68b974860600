/** An ONNX graph while it grows. */
import type * as tf from '@tensorflow/tfjs-core';
import type { layers } from '@tensorflow/tfjs-layers';
import type { Attribute, OnnxConstant, OnnxNode } from './onnx-format.js';

/** Nodes and constants as they are added, each under a name of its own. */
export class Graph {
  readonly nodes: OnnxNode[] = [];
  readonly constants: OnnxConstant[] = [];
  private readonly names = new Set<string>();

  /** Adds an operation, and returns the name of what it gives. */
  add(operator: string, name: string, inputs: readonly string[], attributes: Record<string, Attribute> = {}): string {
    const output = this.unique(name);
    this.nodes.push({ operator, inputs, output, attributes });
    return output;
  }

  floats(name: string, shape: readonly number[], values: Float32Array): string {
    const unique = this.unique(name);
    this.constants.push({ name: unique, shape, values });
    return unique;
  }

  /** A vector of whole numbers, as operators take shapes and places. */
  wholes(name: string, values: readonly number[]): string {
    const unique = this.unique(name);
    this.constants.push({ name: unique, shape: [values.length], values: BigInt64Array.from(values, BigInt) });
    return unique;
  }

  channelsFirst(name: string, value: string, rank: number): string {
    return rank < 3
      ? value
      : this.add('Transpose', `${name}/channels_first`, [value], {
          perm: { ints: [0, rank - 1, ...axes(1, rank - 1)] },
        });
  }

  channelsLast(name: string, value: string, rank: number): string {
    return rank < 3
      ? value
      : this.add('Transpose', `${name}/channels_last`, [value], { perm: { ints: [0, ...axes(2, rank), 1] } });
  }

  unique(name: string): string {
    let unique = name;
    for (let n = 2; this.names.has(unique); n++) unique = `${name}_${n}`;
    this.names.add(unique);
    return unique;
  }
}

/** `from`, …, `to` - 1 */
export const axes = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);

/** One use of a layer. Shapes are those of tfjs, channels last, the batch null. */
export interface Use {
  layer: layers.Layer;
  name: string;
  settings: Readonly<Record<string, unknown>>;
  inputs: readonly string[];
  inputShapes: readonly (readonly number[])[];
  outputShape: readonly number[];
  graph: Graph;
}

export const weightOf = (layer: layers.Layer, name: string): tf.Tensor | undefined =>
  layer.weights.find(({ originalName }) => originalName.split('/').at(-1) === name)?.read();
export const valuesOf = (weight: tf.Tensor): Float32Array => weight.dataSync<'float32'>();
