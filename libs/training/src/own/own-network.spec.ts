import { Random, readWhole } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import { copyFile, mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { kerasModel, writeModel, type Model } from '../../../../tests/support/layers-models.js';
import {
  expectSameModel,
  inputs,
  run,
  trained,
  useTinyDataset,
  type Outcome,
} from '../../../../tests/support/training-runs.js';
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
  return tf.tensor4d(
    Float32Array.from({ length: 4 * side * side * 3 }, () => random.uniform()),
    [4, side, side, 3],
  );
};
const most = (a: tf.Tensor, b: tf.Tensor): number => tf.tidy(() => tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]!);

test('features of a Keras model are those of tfjs’s own loader, at whatever layer', async () => {
  const outcome = await takenIn(kerasModel(), 'keras');
  expect(outcome.lines.join('\n')).toContain('11 layers');
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
  // As Keras writes a Sequential inside of a model, which tfjs's loader does not take.
  const other = await readTensors<ModelState>(fileOf(await takenIn(kerasModel(8, true), 'sequential')));
  expect(other.state).toEqual(state);
  expect([...other.tensors]).toEqual([...tensors]);
});

const own = { model: '0'.repeat(8), features: 'pool' };
const given = async (): Promise<typeof inputs & { encoderModel: string }> => ({
  ...inputs,
  encoderModel: fileOf(await takenIn(kerasModel(), 'keras')),
});

/** Every kind that has an encoder, in few steps. */
const learning = {
  simclr: { kind: 'pretrain', method: 'simclr', batchSize: 19, epochs: 2 },
  'a network that follows': { kind: 'pretrain', method: 'moco-v3', batchSize: 19, epochs: 1, predictorHidden: 8 },
  'views of two sizes': {
    kind: 'pretrain',
    method: 'swav',
    prototypes: 8,
    views: [
      { augmentation: { crop: {} }, count: 2, size: 16 },
      { augmentation: { crop: {} }, count: 2, size: 8 },
    ],
    batchSize: 19,
    epochs: 1,
  },
  finetuning: { kind: 'finetune', from: null, batchSize: 9, steps: 6 },
  'an autoencoder': { kind: 'autoencode', latent: 4, batchSize: 19, epochs: 2 },
} as const;

test.each(Object.entries(learning))(
  '%s: trained, stopped and resumed, bit for bit, without a leak',
  async (_, kind) => {
    const all = await given();
    const features = kind.kind === 'autoencode' ? 'add' : 'pool';
    const spec = {
      ...kind,
      dataset: 'tiny',
      encoder: { ...own, features },
      ...(kind.kind !== 'finetune' && { knn: { k: 3 } }),
      ...(kind.kind === 'pretrain' && { projection: { hidden: 8, output: 8 } }),
      optimizer: { name: 'adam', learningRate: 5e-3 },
    } as Parameters<typeof trained>[1];
    const whole = await trained(all, spec);
    const before = tf.memory().numTensors;
    const first = await trained(all, spec, { stopAt: 3 });
    expect(first.stopped).toMatchObject({ step: 3 });
    const second = await trained(all, spec, { checkpoint: first.files.get('checkpoint')! });
    expect(tf.memory().numTensors).toBe(before);
    await expectSameModel(second, whole);
    const { tensors } = await readTensors(fileOf(whole));
    const { tensors: start } = await readTensors(all.encoderModel);
    const kernel = 'encoder/stem/conv/kernel';
    expect(tensors.get(kernel)!.values).not.toEqual(start.get(kernel)!.values);
  },
);

test('what it has learnt is tuned further, distilled into another, evaluated, mapped and exported', async () => {
  const all = await given();
  const pretrained = await trained(all, {
    kind: 'pretrain',
    dataset: 'tiny',
    encoder: own,
    batchSize: 19,
    epochs: 2,
    knn: { k: 3 },
  });
  const from = '00000000-0000-4000-8000-000000000001';
  const parentModel = fileOf(pretrained);
  // A run that begins with it needs the file of the model no more.
  const tuned = await run({ kind: 'finetune', dataset: 'tiny', from, batchSize: 9, steps: 60 }, { parentModel });
  expect(tuned.metrics['eval/accuracy']).toBeGreaterThan(0.9);
  const judged = await run({ kind: 'evaluate', dataset: 'tiny', from, knn: { k: 3 } }, { parentModel });
  expect(judged.metrics['eval/probe_accuracy']).toBeGreaterThan(0.9);
  const maps = await run({ kind: 'embed', dataset: 'tiny', from, maps: ['pca'], split: 'val' }, { parentModel });
  expect(maps.stored.some((name) => name.endsWith('.json'))).toBe(true);
  const student = await trained(
    all,
    { kind: 'distill', dataset: 'tiny', from, encoder: own, batchSize: 19, epochs: 1 },
    { parentModel: fileOf(tuned) },
  );
  expect(student.metrics['eval/agreement']).toBeGreaterThan(0.3);
  const exported = await run(
    { kind: 'export', from, formats: ['tfjs', 'safetensors'] },
    { parentModel: fileOf(tuned) },
  );
  expect(exported.metrics['export/tfjs_difference']).toBeLessThan(1e-5);
  // What tfjs reads is taken in again, with the same features.
  const folder = path.join(inputs.dataRoot, 'again');
  await mkdir(folder);
  for (const name of ['encoder.model.json', 'encoder.weights.bin'])
    await copyFile(exported.all.get(name)!, path.join(folder, name));
  const again = await run({ kind: 'import-model', name: 'again', path: 'again/encoder.model.json' });
  const spec = { kind: 'evaluate', dataset: 'tiny', from, knn: { k: 3 } } as const;
  const [one, other] = [
    await run(spec, { parentModel: fileOf(tuned) }),
    await run(spec, { parentModel: fileOf(again) }),
  ];
  expect(other.metrics).toEqual(one.metrics);
});

test('as it is, from scratch of a run that has no parent, an evaluation judges its own weights', async () => {
  const all = await given();
  const spec = { kind: 'evaluate', dataset: 'tiny', from: null, knn: { k: 3 } } as const;
  const judged = await trained(all, { ...spec, encoder: own });
  const begun = await run(
    { ...spec, from: '00000000-0000-4000-8000-000000000001' },
    { parentModel: fileOf(await takenIn(kerasModel(), 'keras')) },
  );
  expect(judged.metrics).not.toEqual(begun.metrics);
  const named = await trained(all, { ...spec, encoder: { ...own, features: 'predictions' } });
  expect(named.metrics).toEqual(begun.metrics);
});
