/** Finetuning of some layers only, and of lower ones slower. */
import { Encoder, type RunSpec } from '#libs/contracts';
import type { Variable } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { run, specs, useTinyDataset } from '../../../tests/support/training-runs.js';
import { readTensors } from './checkpoint.js';
import { freezeThrough, layerFactor } from './layer-rates.js';
import { buildEncoder } from './networks/encoder.js';
import { weightsOf } from './networks/weights.js';

useTinyDataset();

type Spec = z.input<typeof RunSpec>;
const PARENT = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';

describe('rates of layers', () => {
  test('are those of timm by block: the classifier the whole, each block below a part of the one above', () => {
    const named = (key: string) => ({ key, variable: undefined as unknown as Variable, trainable: true });
    const factor = layerFactor(Encoder.parse({ name: 'resnet18' }), 1, 0.5);
    expect(
      ['classifier/logits/kernel', 'projection/dense1/kernel', 'encoder/block8_conv2/kernel', 'encoder/block1_bn1/beta']
        .map(named)
        .map(factor),
    ).toEqual([1, 0.5, 0.25, 2 ** -9]);
    expect(factor(named('encoder/stem_conv/kernel'))).toBe(2 ** -10);
    expect(layerFactor(Encoder.parse({}), 0, 1)(named('encoder/stem_conv/kernel'))).toBe(1);
    const ofTransformer = layerFactor(Encoder.parse({ name: 'vit-tiny' }), 0, 0.5);
    // Its last normalisation is as high as its last block; squares and positions are below the first.
    expect(
      ['norm/gamma', 'block12_qkv/kernel', 'block1_norm1/beta', 'patches/bias', 'positions/class_token']
        .map((key) => named(`encoder/${key}`))
        .map(ofTransformer),
    ).toEqual([0.5, 0.5, 2 ** -12, 2 ** -13, 2 ** -13]);
  });
});

test('of a transformer three blocks at a time stay as they are, with all that is below them', () => {
  const architecture = Encoder.parse({ name: 'vit-tiny', width: 4, patch: 4, positions: 'learnt' });
  const encoder = buildEncoder(architecture, [8, 8, 3]);
  freezeThrough(encoder, architecture, 4);
  expect(weightsOf(encoder).flatMap(({ key, trainable }) => (trainable ? [key] : []))).toEqual([
    'encoder/norm/gamma',
    'encoder/norm/beta',
  ]);
  encoder.dispose();
  expect(() => freezeThrough(encoder, architecture, 5)).toThrow(/at most 4/);
});

describe('a finetuning', () => {
  let parentModel: string;
  let before: Awaited<ReturnType<typeof readTensors>>['tensors'];
  beforeAll(async () => {
    const parent = await run({ ...specs['pretrain'], epochs: 1, probe: { maxIterations: 2 } } as Spec);
    parentModel = parent.files.get('model')!;
    before = (await readTensors(parentModel)).tensors;
  });
  const tuned = async (fields: object) => {
    const outcome = await run(
      {
        kind: 'finetune',
        dataset: 'tiny',
        from: PARENT,
        fromHeadLayer: 1,
        steps: 3,
        batchSize: 9,
        optimizer: { name: 'adam', learningRate: 0.02 },
        ...fields,
      },
      { parentModel },
    );
    return { ...outcome, tensors: (await readTensors(outcome.files.get('model')!)).tensors };
  };
  /** The most that a weight under such a name has moved. */
  const moved = (tensors: typeof before, name: RegExp) =>
    Math.max(
      ...[...tensors]
        .filter(([key]) => name.test(key))
        .flatMap(([key, { values }]) => [...values].map((value, i) => Math.abs(value - before.get(key)!.values[i]!))),
    );

  test('with layerDecay moves lower layers less: Adam’s steps are of the size of the rate', async () => {
    const { tensors } = await tuned({ layerDecay: 0.1 });
    const rates = [/^encoder\/stem.*kernel/, /^encoder\/block2.*kernel/, /^projection\/dense1/].map((name) =>
      moved(tensors, name),
    );
    [1e-5, 1e-3, 1e-1].forEach((part, i) => {
      expect(rates[i]! / (0.02 * part)).toBeGreaterThan(0.5);
      expect(rates[i]! / (0.02 * part)).toBeLessThan(3.5);
    });
    expect((await tuned({ layerDecay: 1 })).tensors).toEqual((await tuned({})).tensors);
  }, 60_000);

  test('after a group of blocks leaves those below it bit for bit, statistics too', async () => {
    const { tensors, lines } = await tuned({ fineTuneAfterBlock: 1 });
    expect(moved(tensors, /^encoder\/(stem|block1)/)).toBe(0);
    expect(moved(tensors, /^encoder\/block2.*kernel/)).toBeGreaterThan(1e-3);
    expect(moved(tensors, /^encoder\/block2.*moving_mean/)).toBeGreaterThan(0);
    expect(lines.join('\n')).toContain('but for those up to the end of group 1 of blocks, which stay');
    const top = (await tuned({ fineTuneAfterBlock: 3 })).tensors;
    expect(moved(top, /^encoder\//)).toBe(0);
    expect(moved(top, /^projection\/dense1/)).toBeGreaterThan(1e-3);
    const frozen = await tuned({ fineTuneAfterBlock: 0 });
    expect(moved(frozen.tensors, /^encoder\/stem/)).toBe(0);
    expect(moved(frozen.tensors, /^encoder\/block1.*kernel/)).toBeGreaterThan(1e-3);
    await expect(tuned({ fineTuneAfterBlock: 4 })).rejects.toThrow(
      'expected fineTuneAfterBlock of at most 3, the groups of blocks of the encoder, got 4',
    );
  }, 60_000);
});
