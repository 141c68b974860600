/** What a network gives for samples, batch by batch, as a graph that is compiled once for all evaluations of a run. */
import type { Autoencode } from '#libs/contracts';
import { gatherStored, inOrder, inputOf, samplesOf, type SampleSplit } from '#libs/data';
import type { HostTensor } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { CompiledStep } from './compiled-step.js';
import { weightsOf } from './networks/weights.js';

/** Fewer batches are through sooner than a graph is made and optimised, which takes some tenths of a second. */
const LEAST_BATCHES = 5;

/** Awaited between two batches. What it throws ends all. */
type Pause = () => Promise<void>;

/**
 * A map from an encoder's inputs [N, H, W, C] to vectors [N, D], each by itself, which reads weights of `models` and
 * draws nothing.
 */
export class CompiledMap {
  private readonly graphs = new Map<string, CompiledStep>();

  constructor(
    readonly map: (inputs: tf.Tensor4D) => tf.Tensor2D,
    private readonly models: readonly LayersModel[],
  ) {}

  /** Whether so many rows, in batches of this size, are mapped sooner as a graph. */
  pays(split: SampleSplit, rows: number, batch: number, domain?: Autoencode['domain']): boolean {
    return rows >= LEAST_BATCHES * batch || (rows >= batch && this.graphs.has(keyOf(split, batch, domain)));
  }

  /**
   * [rows, D], which the caller owns. While a batch is computed, the next one is read; what is missing of the last one
   * is its last row again. `rows`: a batch at least.
   */
  async over(
    split: SampleSplit,
    rows: Int32Array,
    batch: number,
    pause: Pause,
    domain?: Autoencode['domain'],
  ): Promise<tf.Tensor2D> {
    const graph = this.graphFor(split, batch, domain);
    let values: Float32Array | undefined;
    let width = 0;
    const keep = (from: number, found: HostTensor): void => {
      width = found.shape[1]!;
      values ??= new Float32Array(rows.length * width);
      const count = Math.min(batch, rows.length - from);
      values.set((found.values as Float32Array).subarray(0, count * width), from * width);
    };
    let running: Promise<HostTensor> | undefined;
    try {
      for (let from = 0; from < rows.length; from += batch) {
        await pause();
        const some = Int32Array.from({ length: batch }, (_, i) => rows[Math.min(from + i, rows.length - 1)]!);
        const stored = gatherStored(split, some);
        if (running) keep(from - batch, await running);
        running = graph.compute(stored);
        // It is awaited after the next pause: until then nobody else hears of a failure.
        running.catch(() => undefined);
      }
      keep(Math.floor((rows.length - 1) / batch) * batch, await running!);
    } catch (error) {
      await running?.catch(() => undefined);
      throw error;
    }
    return tf.tensor2d(values!, [rows.length, width]);
  }

  private graphFor(split: SampleSplit, batch: number, domain?: Autoencode['domain']): CompiledStep {
    const key = keyOf(split, batch, domain);
    let graph = this.graphs.get(key);
    if (!graph) {
      graph = new CompiledStep(
        (stored) => ({ vectors: this.map(inputOf(split.sample, samplesOf(split, inOrder(stored)), domain)) }),
        weightsOf(...this.models).map(({ variable }) => variable),
      );
      this.graphs.set(key, graph);
    }
    return graph;
  }

  dispose(): void {
    for (const graph of this.graphs.values()) graph.dispose();
    this.graphs.clear();
  }
}

/** What a graph is made for. */
const keyOf = ({ sample, samples }: SampleSplit, batch: number, domain?: Autoencode['domain']): string =>
  JSON.stringify([sample, samples.shape.slice(1), batch, domain]);
