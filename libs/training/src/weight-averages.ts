/** Exponential moving averages of weights, which are judged and stored in the place of those that learn. */
import * as tf from '@tensorflow/tfjs-core';
import type { NamedWeight } from './networks/weights.js';

const PREFIX = 'ema/';

export class WeightAverages {
  private readonly averages: tf.Variable[];

  /** They begin at the weights as they are, running averages of batch normalisation among them. */
  constructor(
    private readonly weights: readonly NamedWeight[],
    private readonly decay: number,
  ) {
    // A tensor of its own, which a clone is not.
    this.averages = weights.map(({ variable }) => tf.tidy(() => tf.variable(tf.add(variable, 0), false)));
  }

  /** After an update of the weights: average ← decay · average + (1 − decay) · weight. Tensor operations only. */
  follow(): void {
    tf.tidy(() =>
      this.averages.forEach((average, i) => {
        average.assign(tf.add(tf.mul(average, this.decay), tf.mul(this.weights[i]!.variable, 1 - this.decay)));
      }),
    );
  }

  /** The averages take the weights' place. */
  replace(): void {
    this.weights.forEach(({ variable }, i) => {
      variable.assign(this.averages[i]!);
    });
  }

  /** They do while `task` runs. */
  async whileReplaced<Result>(task: () => Promise<Result>): Promise<Result> {
    const learnt = this.weights.map(({ variable }) => tf.clone(variable));
    this.replace();
    try {
      return await task();
    } finally {
      this.weights.forEach(({ variable }, i) => {
        variable.assign(learnt[i]!);
      });
      tf.dispose(learnt);
    }
  }

  /** Part of a checkpoint. */
  slots(): { key: string; variable: tf.Variable }[] {
    return this.averages.map((variable, i) => ({ key: `${PREFIX}${this.weights[i]!.key}`, variable }));
  }

  dispose(): void {
    tf.dispose(this.averages);
  }
}

/** The tensors of a checkpoint with averages in the place of the weights that they are of. */
export function withAverages<Tensor>(tensors: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  const averaged = [...tensors].flatMap(([key, tensor]): [string, Tensor][] =>
    key.startsWith(PREFIX) ? [[key.slice(PREFIX.length), tensor]] : [],
  );
  return new Map([...tensors, ...averaged]);
}
