import type { RunSpec } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { readTensors } from './checkpoint.js';
import { CLASSES, run, specs, useTinyDataset, type Options } from '../../../tests/support/training-runs.js';

useTinyDataset();

test("a finetuning starts from its parent's encoder, and an evaluation leaves it as it is", async () => {
  const parent = await run(specs['pretrain']!);
  const from = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';
  const parentModel = parent.files.get('model')!;
  const tuned = await run(
    { kind: 'finetune', dataset: 'tiny', from, batchSize: 9, steps: 60, labelFraction: 0.5 },
    { parentModel },
  );
  expect(tuned.metrics['eval/accuracy']).toBeGreaterThan(0.8);
  expect(tuned.metrics['data/labels']).toBe(48);
  const evaluated = await run({ kind: 'evaluate', dataset: 'tiny', from, knn: { k: 3 } }, { parentModel });
  expect(evaluated.metrics['eval/knn']).toBe(parent.metrics['eval/knn']);
  await expect(
    run({ kind: 'evaluate', dataset: 'tiny', from }, { parentModel, stopAt: 2, reason: 'pause' }),
  ).resolves.toMatchObject({ stopped: { reason: 'pause' }, stored: [] });
  // Chance is a third.
  expect(evaluated.metrics['eval/probe_accuracy']).toBeGreaterThan(0.6);
}, 60_000);

describe("the parent's layers in a finetuning", () => {
  const tuning = {
    kind: 'finetune',
    dataset: 'tiny',
    from: '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11',
    fromHeadLayer: 1,
    batchSize: 9,
    steps: 20,
  } as const;
  let parentModel: string;
  let before: Awaited<ReturnType<typeof readTensors>>['tensors'];
  beforeAll(async () => {
    parentModel = (await run({ ...specs['pretrain'], epochs: 1 } as z.input<typeof RunSpec>)).files.get('model')!;
    before = (await readTensors(parentModel)).tensors;
  }, 60_000);
  const tune = async (
    backbone: object | undefined,
    { learningRate = 0.02, ...options }: Options & { learningRate?: number } = {},
  ) => {
    const outcome = await run(
      { ...tuning, optimizer: { name: 'adam', learningRate }, ...(backbone && { backbone }) },
      { parentModel, ...options },
    );
    const model = outcome.files.get('model');
    return { ...outcome, tensors: model ? (await readTensors(model)).tensors : undefined };
  };
  /** How far the weights that the parent has too went from there, by the greatest step of each. */
  const moved = (tensors: typeof before, ending: RegExp) =>
    [...tensors]
      .filter(([key]) => before.has(key) && ending.test(key))
      .map(([key, { values }]) => Math.max(...values.map((value, i) => Math.abs(value - before.get(key)!.values[i]!))));
  const statistics = /\/moving_\w+$/;
  const parameters = /\/(kernel|gamma|beta)$/;

  test('stay bit for bit where they do not learn, statistics too, and the classifier learns on them', async () => {
    const { tensors, points, lines } = await tune({ rate: 0, statistics: 'batch' }, { learningRate: 0.5 });
    const shared = [...tensors!.keys()].filter((key) => before.has(key));
    expect(shared.filter((key) => key.startsWith('projection/'))).toHaveLength(5);
    for (const key of shared) expect(tensors!.get(key)!.values, key).toEqual(before.get(key)!.values);
    const losses = points.filter(({ key }) => key === 'train/loss').map(({ value }) => value);
    expect(Math.min(...losses.slice(-5))).toBeLessThan(0.8 * losses[0]!);
    expect(lines.join('\n')).toContain('stay as the parent left them');
  }, 60_000);

  test('move less where they learn slower; their running averages stay, or follow the batches', async () => {
    const [quick, slow] = [await tune({ rate: 1 }), await tune({ rate: 0.01 })];
    // Adam's steps are of the size of the rate.
    expect(Math.max(...moved(slow.tensors!, parameters))).toBeLessThan(0.01 * 0.02 * 20 * 1.5);
    expect(Math.min(...moved(slow.tensors!, parameters))).toBeGreaterThan(0);
    expect(Math.max(...moved(quick.tensors!, parameters))).toBeGreaterThan(0.05);
    expect(Math.max(...moved(slow.tensors!, statistics))).toBe(0);
    expect(Math.min(...moved((await tune({ rate: 0.01, statistics: 'batch' })).tensors!, statistics))).toBeGreaterThan(
      0,
    );
    // All alike by each batch is what it is without the setting.
    expect((await tune({ rate: 1, statistics: 'batch' })).tensors).toEqual((await tune(undefined)).tensors);
  }, 60_000);

  test.each([0, 0.1])(
    'at rate %d: stopped at 11 and resumed, the weights are those of a run that was never stopped, and no tensor stays',
    async (rate) => {
      const whole = await tune({ rate });
      const tensors = tf.memory().numTensors;
      const first = await tune({ rate }, { stopAt: 11 });
      expect(first.stopped).toMatchObject({ step: 11 });
      const second = await tune({ rate }, { checkpoint: first.files.get('checkpoint')! });
      expect(second.tensors).toEqual(whole.tensors);
      expect(tf.memory().numTensors).toBe(tensors);
    },
    60_000,
  );
});

describe('finetuning from the middle of the projection head', () => {
  const from = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';
  const widths = { hidden: 8, output: 12 };

  // SimCLRv2, `ft_proj_selector`: h, the output of the first layer, the head's own output.
  test.each([
    [0, 16],
    [1, 8],
    [3, 12],
  ])(
    'layer %i: a classifier on %i numbers, which knows nothing at first',
    async (fromHeadLayer, width) => {
      const parent = await run({ ...specs['pretrain'], projection: { layers: 3, ...widths }, epochs: 1 } as z.input<
        typeof RunSpec
      >);
      const tuned = await run(
        { kind: 'finetune', dataset: 'tiny', from, fromHeadLayer, batchSize: 9, steps: 1 },
        { parentModel: parent.files.get('model')! },
      );
      expect(tuned.metrics['train/loss']).toBeCloseTo(Math.log(CLASSES), 5);
      const { tensors } = await readTensors(tuned.files.get('model')!);
      expect(tensors.get('classifier/logits/kernel')!.shape).toEqual([width, CLASSES]);
      expect([...tensors.keys()].filter((key) => /^projection\/dense\d\/kernel$/.test(key))).toHaveLength(
        fromHeadLayer,
      );
      expect(tuned.lines.join('\n')).toMatch(/all layers of the encoder/);
    },
    60_000,
  );

  test("the end of SimSiam's head, which has no factor, can be tuned and taught from too", async () => {
    const parent = await run({ ...specs['simsiam'], epochs: 1 } as z.input<typeof RunSpec>);
    const tuned = await run(
      { kind: 'finetune', dataset: 'tiny', from, fromHeadLayer: 2, batchSize: 9, steps: 2 },
      { parentModel: parent.files.get('model')! },
    );
    await run(
      { kind: 'distill', dataset: 'tiny', from, encoder: { width: 4 }, batchSize: 19, epochs: 1 },
      { parentModel: tuned.files.get('model')! },
    );
  }, 60_000);
});
