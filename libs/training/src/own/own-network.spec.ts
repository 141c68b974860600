import { Random, readWhole } from '#libs/data';
import { Encoder } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { kerasModel, writeModel, type Model } from '../../../../tests/support/layers-models.js';
import { inputs, run, trained, useTinyDataset, type Outcome } from '../../../../tests/support/training-runs.js';
import { readTensors } from '../checkpoint.js';
import { buildEncoder, encode } from '../networks/encoder.js';
import { restored, type ModelState } from '../run-inputs.js';

useTinyDataset();

/** Takes a model in from a folder of the data root. */
async function takenIn(model: Model, folder: string, more: object = {}): Promise<Outcome> {
  await writeModel(model, path.join(inputs.dataRoot, folder));
  return run({ kind: 'import-model', name: 'own', path: `${folder}/model.json`, ...more });
}
const fileOf = (outcome: Outcome): string => outcome.files.get('model')!;

/** What tfjs's own loader makes of the same files. */
async function loadedByTfjs(folder: string): Promise<layers.LayersModel> {
  const root = path.join(inputs.dataRoot, folder);
  const json = JSON.parse(await readFile(path.join(root, 'model.json'), 'utf8')) as tf.io.ModelJSON;
  return layers.loadLayersModel({
    load: () =>
      tf.io.getModelArtifactsForJSON(json, async ([group]) => {
        const pieces = await Promise.all(group!.paths.map((each) => readWhole(path.join(root, each))));
        return [group!.weights, Uint8Array.from(Buffer.concat(pieces)).buffer];
      }),
  });
}

const images = (side: number): tf.Tensor4D => {
  const random = Random.seeded(3, 'images');
  return tf.tensor4d(Float32Array.from({ length: 4 * side * side * 3 }, () => random.uniform()), [4, side, side, 3]);
};
const most = (a: tf.Tensor, b: tf.Tensor): number => tf.tidy(() => tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]!);

test('features of a Keras model are those of tfjs’s own loader, at whatever layer', async () => {
  const outcome = await takenIn(kerasModel(), 'keras');
  expect(outcome.lines.join('\n')).toContain('10 layers');
  const { state, tensors } = await readTensors<ModelState>(fileOf(outcome));
  const theirs = await loadedByTfjs('keras');
  for (const [features, of] of [
    ['predictions', 'predictions'],
    ['pool', 'pool'],
    ['add', 'add'],
  ] as const) {
    const encoder = restored(buildEncoder({ ...state.encoder, features }, [8, 8, 3]), { state, tensors });
    const difference = tf.tidy(() => {
      const part = layers.model({ inputs: theirs.inputs, outputs: theirs.getLayer(of).output });
      const given = part.predict(images(8)) as tf.Tensor;
      const expected = given.rank === 4 ? tf.mean(given, [1, 2]) : given;
      return most(encode(encoder, images(8), false).features, expected);
    });
    expect(difference, features).toBeLessThan(1e-5);
    encoder.dispose();
  }
  theirs.dispose();
});

const own = { model: '0'.repeat(8), features: 'pool' };
const given = async (): Promise<typeof inputs & { encoderModel: string }> => ({
  ...inputs,
  encoderModel: fileOf(await takenIn(kerasModel(), 'keras')),
});

test('x', async () => {
  const all = await given();
  expect(Encoder.parse(own)).toMatchObject({ name: 'layers' });
  const outcome = await trained(all, { kind: 'pretrain', dataset: 'tiny', encoder: own, batchSize: 19, epochs: 2, knn: { k: 3 } });
  console.log(outcome.metrics);
});
