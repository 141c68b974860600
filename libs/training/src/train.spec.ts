import type { RunSpec } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { readTensors, writeTensors } from './checkpoint.js';
import { TrainingError } from './train-context.js';
import {
  curvesOf,
  expectSameModel,
  run,
  small,
  specs,
  without,
  useTinyDataset,
  type Outcome,
} from '../../../tests/support/training-runs.js';

useTinyDataset();

/** Each of `specs`, once run without an interruption: what runs that were stopped on their way are held against. */
const wholeRuns = new Map<string, Promise<Outcome>>();
const wholeRun = (kind: string): Promise<Outcome> => {
  const made = wholeRuns.get(kind) ?? run(specs[kind]!);
  wholeRuns.set(kind, made);
  return made;
};

describe.each(Object.keys(specs))('%s', (kind) => {
  const spec = specs[kind]!;

  // Protects exact resume: losing a worker must not change what a run learns.
  test('20 steps, stopped at 11 and resumed, end in the very weights and curves of an uninterrupted run', async () => {
    const whole = await wholeRun(kind);
    const first = await run(spec, { stopAt: 11 });
    expect(first.stopped).toMatchObject({ reason: 'drain', step: 11 });
    const second = await run(spec, { checkpoint: first.files.get('checkpoint')! });
    await expectSameModel(second, whole);
    expect(curvesOf(first, second)).toEqual(curvesOf(whole));
    expect(
      curvesOf(whole)
        .filter(({ key }) => key === 'train/loss')
        .map(({ step }) => step),
    ).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
  }, 60_000);

  test('an evaluation that a stop breaks off leaves no tensor, and is made up for after the resume', async () => {
    const whole = await wholeRun(kind);
    const before = tf.memory().numTensors;
    const first = await run(spec, { stopAt: 20, sign: 2 });
    expect(tf.memory().numTensors).toBe(before);
    expect(first.stopped).toMatchObject({ reason: 'drain', step: 20 });
    const second = await run(spec, { checkpoint: first.files.get('checkpoint')! });
    expect(without(second.metrics, 'train/images_per_second')).toEqual(
      without(whole.metrics, 'train/images_per_second'),
    );
    expect(Object.keys(whole.metrics)).toEqual(
      expect.arrayContaining(['train/loss', 'train/learning_rate', 'train/images_per_second']),
    );
  }, 60_000);

  test('a cancel stops within two steps, writes no checkpoint and leaves no tensor behind', async () => {
    // What is made once and kept for all runs is there after the first.
    await wholeRun(kind);
    const before = tf.memory().numTensors;
    const { stopped, files } = await run(spec, { stopAt: 5, reason: 'cancel' });
    expect(tf.memory().numTensors).toBe(before);
    expect(stopped!.step).toBeLessThanOrEqual(7);
    expect([...files.keys()].filter((name) => name !== 'image')).toEqual([]);
  });
});

test('a run with a rung stops after the evaluation there, and goes on as if it had never stopped', async () => {
  const spec = specs['pretrain']!;
  const whole = await wholeRun('pretrain');
  const first = await run(spec, { rung: 6 });
  expect(first.stopped).toMatchObject({ reason: 'rung', step: 10 });
  expect(first.points.filter(({ key }) => key === 'eval/knn').map(({ step }) => step)).toEqual([0, 5, 10]);
  const second = await run(spec, { rung: 15, checkpoint: first.files.get('checkpoint')! });
  expect(second.stopped).toMatchObject({ reason: 'rung', step: 15 });
  // Told to stop where it is already: nothing is trained. At the last step there is nothing to wait for.
  expect((await run(spec, { rung: 15, checkpoint: second.files.get('checkpoint')! })).points).toEqual([]);
  const third = await run(spec, { rung: 20, checkpoint: second.files.get('checkpoint')! });
  expect(third.stopped).toBeUndefined();
  const curve = ({ points }: Outcome) => points.filter(({ key }) => key !== 'train/images_per_second');
  expect([first, second, third].flatMap(curve)).toEqual(curve(whole));
}, 60_000);

test('evaluating and storing checkpoints in between does not change what is learnt; another seed does', async () => {
  const weights = async ({ files }: Outcome) => (await readTensors(files.get('model')!)).tensors;
  const plain = await wholeRun('pretrain');
  const watched = await run({ ...specs['pretrain'], knn: { k: 200, bankSize: 90 } } as z.input<typeof RunSpec>, {
    checkpointEverySeconds: 0,
  });
  expect(watched.stored).toEqual([
    'views.png',
    ...Array.from({ length: 20 }, (_, step) => `checkpoint-${step}.safetensors`),
    'model.safetensors',
  ]);
  expect(await weights(watched)).toEqual(await weights(plain));
  expect(watched.lines).toContain(
    'warn: the kNN evaluation asks for 200 neighbours, but only 90 samples vote: all of them do',
  );
  const other = await run({ ...specs['pretrain'], seed: 1 } as z.input<typeof RunSpec>);
  expect(await weights(other)).not.toEqual(await weights(plain));
}, 60_000);

test(
  'a checkpoint each few steps and of the best evaluation are written, also across a stop, and the weights of then ' +
    'can be evaluated',
  async () => {
    const spec = { ...specs['pretrain'], checkpoints: { everySteps: 5, keepBest: true } } as z.input<typeof RunSpec>;
    const whole = await run(spec);
    const knn = whole.points.filter(({ key }) => key === 'eval/knn');
    const best = knn
      .filter(({ value }, i) => knn.slice(0, i).every((earlier) => value > earlier.value))
      .map(({ step }) => `best-${step}.safetensors`);
    expect(whole.stored.filter((name) => name.startsWith('best'))).toEqual(best);
    expect(whole.stored.filter((name) => name.startsWith('checkpoint'))).toEqual(
      [5, 10, 15].map((step) => `checkpoint-${step}.safetensors`),
    );
    const first = await run(spec, { stopAt: 11 });
    const second = await run(spec, { checkpoint: first.files.get('checkpoint')! });
    expect([...first.stored.filter((name) => name !== 'checkpoint-11.safetensors'), ...second.stored]).toEqual(
      whole.stored,
    );

    const evaluation = {
      kind: 'evaluate',
      dataset: 'tiny',
      from: '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11',
      knn: small.knn,
    } as const;
    const parentModel = whole.files.get('model')!;
    const [then, last] = [
      await run(
        { ...evaluation, checkpoint: 5 },
        { parentModel, parentCheckpoint: whole.all.get('checkpoint-5.safetensors')! },
      ),
      await run(evaluation, { parentModel }),
    ];
    expect([then, last].map(({ metrics }) => metrics['eval/knn'])).toEqual(
      [5, 20].map((step) => knn.find((point) => point.step === step)!.value),
    );
    const weights = ({ lines }: Outcome) => lines.find((line) => line.includes('stayed frozen'));
    expect(weights(then)).not.toBe(weights(last));
    await expect(run({ ...evaluation, checkpoint: 5 }, { parentModel })).rejects.toMatchObject({
      reason: 'internal_error',
      message: expect.stringContaining('checkpoint of step 5') as string,
    });
  },
  60_000,
);

test.each(Object.keys(specs))('%s refuses a batch larger than what there is to train on', async (kind) => {
  await expect(run({ ...specs[kind], batchSize: 97 } as z.input<typeof RunSpec>)).rejects.toMatchObject({
    reason: 'invalid_spec',
    message: 'expected a batch of at most the 96 samples there are to train on, got 97',
  });
});

test('a damaged checkpoint is refused', async () => {
  const { files } = await run(specs['finetune']!, { stopAt: 3 });
  const checkpoint = files.get('checkpoint')!;
  const bytes = await readFile(checkpoint);
  await writeFile(checkpoint, bytes.subarray(0, bytes.length - 1));
  await expect(run(specs['finetune']!, { checkpoint })).rejects.toMatchObject({ reason: 'internal_error' });
});

test('a loss that is no number ends the run and says where', async () => {
  const failure = await run({
    ...specs['finetune'],
    optimizer: { name: 'lars', learningRate: 100, trustCoefficient: 1, momentum: 0.99 },
    steps: 400,
  } as z.input<typeof RunSpec>).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(TrainingError);
  expect(failure).toMatchObject({
    reason: 'nan_loss',
    message: expect.stringMatching(/at step \d+, got (NaN|Infinity)/) as string,
  });
}, 60_000);

test('a loss that is no number before any weight was changed is not put down to the learning rate', async () => {
  const file = (await run(specs['pretrain']!)).files.get('model')!;
  const { state, tensors } = await readTensors(file);
  const broken = [...tensors].map(([key, { shape }]) => ({ key, variable: tf.fill(shape, NaN) }));
  await writeTensors(file, state, broken);
  tf.dispose(broken.map(({ variable }) => variable));
  const failure = await run(
    { kind: 'finetune', dataset: 'tiny', from: '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11', batchSize: 9, steps: 3 },
    { parentModel: file },
  ).catch((error: unknown) => error);
  expect(failure).toMatchObject({
    reason: 'nan_loss',
    message: expect.stringMatching(
      /at step 1, got NaN: no weight has been changed .*weights that training starts/,
    ) as string,
  });
});
