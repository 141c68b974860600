/** Exports of runs in the test's own process, held against the run's own network. */
import type { Encoder } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import { readFile } from 'node:fs/promises';
import { expect } from 'vitest';
import { buildEncoder, encode } from '../../libs/training/src/networks/encoder.js';
import { readParent, restored } from '../../libs/training/src/run-inputs.js';
import { byOnnx, expectClose, uniform } from './onnx-runtime.js';
import { run } from './training-runs.js';

/** The features of a run's encoder, of images that are drawn. `model`: the file that the run has stored. */
export async function featuresOf(model: string, images: tf.Tensor, settings: Partial<Encoder> = {}) {
  const parent = await readParent({ dataRoot: '/', parentModel: model });
  const [, height, width, channels] = images.shape as [number, number, number, number];
  const encoder = restored(buildEncoder({ ...parent.state.encoder, ...settings }, [height, width, channels]), parent);
  const features = tf.tidy(() => encode(encoder, images as tf.Tensor4D, false).features);
  encoder.dispose();
  return features;
}

/** Its encoder as tfjs and ONNX Runtime compute it gives the features that it gives here, to 1e-4. */
export async function expectExported(model: string): Promise<void> {
  const from = '00000000-0000-4000-8000-000000000001';
  const { all, metrics } = await run({ kind: 'export', from, formats: ['tfjs', 'onnx'] }, { parentModel: model });
  expect(metrics['export/tfjs_difference']).toBeLessThan(1e-5);
  const { sample } = (await readParent({ dataRoot: '/', parentModel: model })).state;
  if (sample.modality !== 'image') throw new Error('expected a network of images');
  const images = uniform([3, sample.height, sample.width, sample.channels]);
  const [features] = await byOnnx(new Uint8Array(await readFile(all.get('encoder.onnx')!)), [images], ['features']);
  const own = await featuresOf(model, images);
  expectClose(features!, own, 1e-4);
  tf.dispose([images, features!, own]);
}
