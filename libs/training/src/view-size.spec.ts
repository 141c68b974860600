/** Views of another size than the stored samples: what learns from them, and what comes after. */
import type { RunSpec } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import { beforeAll, describe, expect, test } from 'vitest';
import type { z } from 'zod';
import {
  curvesOf,
  expectSameModel,
  inputs,
  run,
  SIZE,
  specs,
  useTinyDataset,
  type Outcome,
} from '../../../tests/support/training-runs.js';
import { readTensors, writeTensors } from './checkpoint.js';
import type { ModelState } from './run-inputs.js';

useTinyDataset();

type Spec = z.input<typeof RunSpec>;
const LARGER = SIZE + 5;
const augmentation = { crop: { minArea: 0.5 }, flip: {} };
const spec = (size?: number, more: object = {}) =>
  ({
    ...specs['pretrain'],
    augmentation: undefined,
    epochs: 1,
    probe: { maxIterations: 2 },
    views: [{ augmentation, count: 2, ...(size && { size }) }],
    ...more,
  }) as Spec;
const PARENT = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';
const stateOf = async (file: string) => (await readTensors<ModelState>(file)).state;

describe('a run that has learnt from larger views than its samples', () => {
  let pretrained: Outcome;
  let model: string;
  beforeAll(async () => {
    pretrained = await run(spec(LARGER));
    model = pretrained.files.get('model')!;
  });

  test('says at which size its network sees images, and shows them', async () => {
    expect(await stateOf(model)).toMatchObject({ size: LARGER, sample: { height: LARGER, width: LARGER } });
    const { info } = await sharp(pretrained.all.get('views.png')).raw().toBuffer({ resolveWithObject: true });
    expect(info).toMatchObject({ width: 8 * LARGER, height: 3 * LARGER });
    const exported = await run(
      { kind: 'export', from: PARENT, formats: ['tfjs', 'safetensors'] },
      { parentModel: model },
    );
    expect(JSON.parse(await readFile(exported.all.get('export.json')!, 'utf8'))).toMatchObject({
      networks: [{ inputs: [{ shape: [null, LARGER, LARGER, 3] }], preprocessing: { size: LARGER } }, {}],
    });
    // And where the export is taken in.
    const file = path.basename(exported.all.get('encoder.safetensors')!);
    const taken = await run({ kind: 'import-model', name: 'larger', path: file });
    expect(await stateOf(taken.files.get('model')!)).toMatchObject({ size: LARGER, sample: { height: LARGER } });
  });

  test('resumed is the run that it would have been', async () => {
    const first = await run(spec(LARGER), { stopAt: 1 });
    const second = await run(spec(LARGER), { checkpoint: first.files.get('checkpoint')! });
    await expectSameModel(second, pretrained);
    expect(curvesOf(first, second)).toEqual(curvesOf(pretrained));
  });

  test('is evaluated, mapped, tuned and distilled at that size', async () => {
    const { state, tensors } = await readTensors<ModelState>(model);
    const native = path.join(inputs.dataRoot, 'native.safetensors');
    const { size: _, ...others } = state;
    const weights = [...tensors].map(([key, { shape, values }]) => ({ key, variable: tf.tensor(values, shape) }));
    await writeTensors(native, others, weights);
    const evaluation = {
      kind: 'evaluate',
      dataset: 'tiny',
      from: PARENT,
      probe: { maxIterations: 2 },
      knn: { k: 3 },
    } as const;
    const [seen, unseen] = [
      await run(evaluation, { parentModel: model }),
      await run(evaluation, { parentModel: native }),
    ];
    expect(seen.metrics['eval/knn']).toBe(pretrained.metrics['eval/knn']);
    expect(seen.metrics['train/probe_loss']).not.toBe(unseen.metrics['train/probe_loss']);
    await run({ kind: 'embed', dataset: 'tiny', from: PARENT, maps: ['pca'] }, { parentModel: model });
    const tuned = await run(
      { kind: 'finetune', dataset: 'tiny', from: PARENT, steps: 2, batchSize: 8 },
      { parentModel: model },
    );
    expect(await stateOf(tuned.files.get('model')!)).toMatchObject({ size: LARGER, sample: { height: LARGER } });
    const student = await run(
      { kind: 'distill', dataset: 'tiny', from: PARENT, encoder: { width: 4 }, epochs: 1, batchSize: 48 },
      { parentModel: tuned.files.get('model')! },
    );
    expect(await stateOf(student.files.get('model')!)).toMatchObject({ size: LARGER, sample: { width: LARGER } });
  });
});
