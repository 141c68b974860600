/** Outputs of earlier steps, which a method compares new ones with. */
import { QUEUE_SIZE, type Pretrain } from '#libs/contracts';
import { Random } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import { unitRows } from '../objectives.js';
import type { Memory } from '../recipe.js';

/** First in, first out; the newest are the last. */
export interface Queue {
  /** [K, D], rows of length 1 */
  rows: tf.Variable<tf.Rank.R2>;
  memory: Memory;
  /** Takes rows in for as many of the oldest. Their lengths become 1. */
  push(outputs: tf.Tensor2D): void;
}

/** Begins with random directions, drawn from the run's seed (MoCo, builder.py). `key`: its name in checkpoints. */
export function newQueue(
  { queueSize: size = QUEUE_SIZE, projection: { output }, seed }: Pretrain,
  key = 'queue',
): Queue {
  const random = Random.seeded(seed, key);
  const values = Float32Array.from({ length: size * output }, () => random.normal(0, 1));
  const rows = tf.tidy(() => tf.variable(unitRows(tf.tensor2d(values, [size, output])), false));
  return {
    rows,
    memory: { key, variable: rows },
    push: (outputs) => {
      const fresh = unitRows(outputs);
      const count = fresh.shape[0];
      rows.assign(
        count < size
          ? tf.concat2d([tf.slice2d(rows, [count, 0], [-1, -1]), fresh], 0)
          : tf.slice2d(fresh, [count - size, 0], [-1, -1]),
      );
    },
  };
}
