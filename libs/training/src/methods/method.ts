/** What every method of pretraining is made of: encoder and projection head, which all share, and a part of its own. */
import type { Pretrain, SampleShape } from '#libs/contracts';
import { Random } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { encode, featureWidth } from '../networks/encoder.js';
import { buildPredictor, buildProjectionHead } from '../networks/heads.js';
import { forward, initialise } from '../networks/weights.js';
import type { Memory, Terms } from '../recipe.js';
import type { Contrast } from './contrastive-losses.js';

/** The part of a method that is its own, beside the encoder, its projection head and the loop, which all share. */
export interface Method {
  /** Networks that are trained beside encoder and head. */
  models: LayersModel[];
  followers?: LayersModel[];
  /** Networks of the encoder's layers, for views of other sizes. */
  shared?: readonly LayersModel[];
  memory?: readonly Memory[];
  /** Whether the classes of a batch's samples are part of what it learns from. */
  readsLabels?: boolean;
  /**
   * Named terms, `loss` the one that is minimised. views: [2N, H, W, C], those of sample i at rows i and i + N; labels:
   * int32 [N], where the method reads them. Of a method that learns from several views, as many as are of the first
   * one's size, those of view v at rows v·N and on, and `others`: those of each other size. `rates`: as scalars.
   */
  objective(
    views: tf.Tensor4D,
    labels: tf.Tensor1D | undefined,
    others: readonly tf.Tensor4D[],
    rates: readonly tf.Scalar[],
  ): Terms;
  rates?(step: number): number[];
  afterUpdate?(rates: readonly tf.Scalar[]): void;
}

/** What a method is made for: the networks that learn, and how long. */
export interface Learner {
  spec: Pretrain;
  /** What the encoder sees of a sample. */
  sample: SampleShape;
  /** [height, width, channels] of the views of each size, the encoder's first. */
  shapes: readonly (readonly [number, number, number])[];
  encoder: LayersModel;
  head: LayersModel;
  totalSteps: number;
}

/** The projection head's outputs for views in a step that learns: [M, H, W, C] → [M, D] */
export const project = ({ encoder, head }: Pick<Learner, 'encoder' | 'head'>, views: tf.Tensor4D): tf.Tensor2D =>
  forward(head, encode(encoder, views, true).features, true);

export function newHead(spec: Pretrain, encoder: LayersModel): LayersModel {
  const head = buildProjectionHead(featureWidth(encoder), spec.projection, { affineEnd: spec.method !== 'simsiam' });
  initialise([head], Random.seeded(spec.seed, 'head'));
  return head;
}

export function newPredictor(spec: Pretrain): LayersModel {
  const predictor = buildPredictor(spec.projection.output, spec.predictorHidden);
  initialise([predictor], Random.seeded(spec.seed, 'predictor'));
  return predictor;
}

/** What a contrastive loss is logged as. */
export const contrastTerms = ({ loss, accuracy }: Contrast): Terms => ({ loss, contrastive_accuracy: accuracy });

/** Outputs [2N, D] → those of the first views and those of the second, [N, D] each. */
export const halves = (z: tf.Tensor2D): [tf.Tensor2D, tf.Tensor2D] => tf.split(z, 2) as [tf.Tensor2D, tf.Tensor2D];
