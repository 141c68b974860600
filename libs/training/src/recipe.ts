/** What a kind of run tells the loop that all share: its networks, its batches, its objective and its evaluation. */
import type { Checkpoints, Ema, Optimizer, Precision, Schedule } from '#libs/contracts';
import type { Random } from '#libs/data';
import type { HostTensor } from '#libs/tensorflow';
import type * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import type { Pause } from './evaluation.js';
import type { NamedWeight } from './networks/weights.js';

/** Scalars of a step by metric name; `loss` is minimised. */
export type Terms = { loss: tf.Scalar } & Record<string, tf.Scalar>;

/** A tensor beside networks that steps read and change, such as a queue. */
export type Memory = Omit<NamedWeight, 'trainable'>;

/** `Batch`: what a step sees, as a tuple of tensors. */
export interface Recipe<Batch extends tf.Tensor[] = tf.Tensor[]> {
  /** Trained and stored in checkpoints. */
  models: LayersModel[];
  /** The part of the learning rate at which a weight learns; without it all learn at the whole. */
  rateOf?: ((weight: NamedWeight) => number) | undefined;
  /** The average of their weights is evaluated, and takes their place at the end. */
  ema?: Ema | undefined;
  /** What products are computed in while it learns. */
  precision?: Precision | undefined;
  /** Stored in checkpoints and not trained, such as a target network. */
  followers?: LayersModel[];
  /** Read and assigned by the objective, and stored in checkpoints. */
  memory?: readonly Memory[];
  /** Networks of layers that `models` have too, for other shapes of input: disposed of along with those. */
  shared?: readonly LayersModel[];
  /** Read by the objective and never changed, such as a teacher. Not the session's to dispose of. */
  frozen?: LayersModel[];
  /** Rows that batches are drawn from. */
  rows: Int32Array;
  batchSize: number;
  totalSteps: number;
  optimizer: Optimizer;
  schedule: Schedule;
  seed: number;
  /**
   * What a step takes, of the same shapes each time: samples, what is drawn for their views, labels, noise. Called
   * while the step before is computed; draws from `views` alone.
   */
  batch(rows: Int32Array, views: Random): HostTensor[];
  /** What a step sees, made of what it takes: tensor operations only, inside a tidy. Without it both are the same. */
  see?(taken: tf.Tensor[]): Batch;
  /** Other numbers that differ from step to step. Steps are counted from 0. */
  rates?(step: number): number[];
  /** Tensor operations only (`CompiledStep`), inside a tidy. `rates`: as scalars. */
  objective(batch: Batch, rates: readonly tf.Scalar[]): Terms;
  /** After the update, as the objective: moves what follows the trained weights. */
  afterUpdate?(rates: readonly tf.Scalar[]): void;
  /**
   * Whenever `evaluateEvery` steps are done, and at the end: of the weights as they are after `step`. Draws nothing
   * from the views' randomness; what `pause` throws goes through.
   */
  evaluate(pause: Pause, step: number): Promise<Record<string, number>>;
  evaluateEvery: number;
  /** Before the first step too. */
  evaluateAtStart: boolean;
  checkpoints?: Checkpoints | undefined;
  /** The metric by which an evaluation is the best, higher is better. */
  quality: string;
}
