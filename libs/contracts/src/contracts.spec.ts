import { describe, expect, test } from 'vitest';
import { Augmentation, augmentationName, canonicalJson, labelsPerClass, type Pretrain, RunSpec } from './run-spec.js';
import { canMove, RunStatus, TERMINAL_STATUSES } from './run-status.js';
import { estimateMean } from './statistics.js';
import { expandSweep, type InvalidSweepError, SweepSpec } from './sweep.js';

describe('specs', () => {
  test('are equal in canonical form whatever was written of their defaults, in whatever order', () => {
    const short = RunSpec.parse({ kind: 'pretrain', dataset: 'x', augmentation: { flip: {}, crop: {} } });
    const long = RunSpec.parse({ seed: 0, augmentation: { crop: { p: 1, minArea: 0.08 }, flip: { p: 0.5 } }, epochs: 8, dataset: 'x', kind: 'pretrain' });
    expect(canonicalJson(long)).toBe(canonicalJson(short));
    expect(canonicalJson({ b: [1, { d: 0.1, c: 'é' }], a: undefined, e: null })).toBe('{"b":[1,{"c":"é","d":0.1}],"e":null}');
    expect(() => canonicalJson({ a: Number.NaN })).toThrow('expected a finite number');
  });

  test('name a combination of views in their order', () => {
    expect(augmentationName(Augmentation.parse({ blur: {}, crop: {} }))).toBe('crop+blur');
    expect(augmentationName({})).toBe('none');
  });

  test('of a finetuning take an encoder only without a parent', () => {
    const from = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';
    expect(RunSpec.safeParse({ kind: 'finetune', dataset: 'x', from, encoder: {} }).success).toBe(false);
    expect(RunSpec.safeParse({ kind: 'finetune', dataset: 'x', from: null, encoder: {} }).success).toBe(true);
    expect(RunSpec.safeParse({ kind: 'finetune', dataset: 'x' }).success).toBe(false);
  });

  test('round label counts class by class', () => expect(labelsPerClass([100, 149, 49], 0.01)).toEqual([1, 1, 0]));
});

describe('statuses', () => {
  test('that end a run lead nowhere but to another try', () => {
    for (const status of TERMINAL_STATUSES) for (const to of RunStatus.options) if (canMove(status, to)) expect(['queued', 'pending']).toContain(to);
    expect(RunStatus.options.some((to) => canMove('succeeded', to))).toBe(false);
    expect(canMove('cancelling', 'succeeded')).toBe(false);
    expect(canMove('cancelled', 'running')).toBe(false);
  });
});

describe('sweeps', () => {
  const stages = { pretrain: { kind: 'pretrain', dataset: 'x' }, finetune: { kind: 'finetune', dataset: 'x', from: 'pretrain' } };
  const parse = (more: object) => SweepSpec.parse({ name: 's', stages, ...more });
  const faults = (more: object) => {
    try { expandSweep(parse(more)); } catch (error) { return (error as InvalidSweepError).faults.map(({ path, message }) => `${path.join('|')}: ${message}`); }
    return [];
  };

  test('are every combination, the last parameter fastest, parents before children', () => {
    const trials = expandSweep(parse({ parameters: { 'pretrain.temperature': { values: [0.1, 0.2] }, 'finetune.labelSeed': { values: [1, 2, 3] }, 'pretrain.encoder.width': { value: 8 } }, controls: ['scratch'] }));
    expect(trials.map(({ parameters }) => [parameters['pretrain.temperature'], parameters['finetune.labelSeed']])).toEqual([[0.1, 1], [0.1, 2], [0.1, 3], [0.2, 1], [0.2, 2], [0.2, 3]]);
    expect(trials[4]!.runs.map(({ stage, control, parentStage }) => [stage, control, parentStage])).toEqual([['pretrain', null, null], ['finetune', null, 'pretrain'], ['finetune', 'scratch', null]]);
    expect((trials[4]!.runs[0]!.spec as Pretrain).encoder.width).toBe(8);
    expect(trials[4]!.runs[2]!.spec).toMatchObject({ from: null, labelSeed: 2, encoder: { width: 8 } });
  });

  test('are one trial without parameters', () => expect(expandSweep(parse({}))).toHaveLength(1));

  test.each<[string, object, string]>([
    ['an unknown stage', { parameters: { 'train.epochs': { value: 1 } } }, 'parameters|train.epochs: expected <stage>.<field> with a stage of pretrain, finetune'],
    ['a stage alone', { parameters: { pretrain: { value: 1 } } }, 'parameters|pretrain: expected <stage>.<field>'],
    ['a parent as a parameter', { parameters: { 'finetune.from': { value: null } } }, 'parameters|finetune.from: expected the path of a field other than'],
    ['a key that reaches behind objects', { parameters: { 'pretrain.__proto__.x': { value: 1 } } }, 'parameters|pretrain.__proto__.x: expected the path'],
    ['a value out of range', { parameters: { 'pretrain.temperature': { values: [0.1, 50] } } }, 'parameters|pretrain.temperature: pretrain.temperature: Too big: expected number to be <=10 (trial 1: 50)'],
    ['a field that is none', { parameters: { 'pretrain.epoch': { value: 3 } } }, 'parameters|pretrain.epoch: pretrain.epoch: expected no such field: it is unknown (trial 0: 3)'],
    ['a field of a stage that is none', { stages: { ...stages, pretrain: { ...stages.pretrain, epoch: 3 } }, parameters: { 'pretrain.epochs': { value: 3 } } }, 'stages|pretrain|epoch: expected no such field'],
    ['a grid over the cap', { run_cap: 3, parameters: { 'pretrain.seed': { values: [1, 2, 3, 4] } } }, 'run_cap: expected a grid of at most 3 trials, got 4'],
    ['the same trial twice', { parameters: { 'pretrain.seed': { values: [1, 1] } } }, 'parameters: expected trials that differ'],
    ['a cycle', { stages: { a: { kind: 'finetune', dataset: 'x', from: 'b' }, b: { kind: 'finetune', dataset: 'x', from: 'a' } } }, 'stages|a|from: expected stages without a cycle, got a → b → a'],
    ['a parent that trains nothing', { stages: { a: { kind: 'prepare-dataset', name: 'x', path: 'x' }, b: { kind: 'finetune', dataset: 'x', from: 'a' } } }, 'stages|b|from: expected a stage of kind pretrain, finetune, distill, autoencode'],
  ])('refuse %s', (_, more, expected) => {
    const found = faults(more);
    expect(found.some((fault) => fault.startsWith(expected)), found.join('\n')).toBe(true);
  });
});

test('a mean has Student\'s interval', () => {
  expect(estimateMean([2])).toEqual({ mean: 2, ci95: null, n: 1 });
  const { mean, ci95, n } = estimateMean([1, 2, 3, 4]);
  expect([mean, n]).toEqual([2.5, 4]);
  expect(ci95).toBeCloseTo(3.182 * Math.sqrt(5 / 3) / 2, 9);
  expect(estimateMean(Array.from({ length: 61 }, (_, i) => i % 2)).ci95! / (Math.sqrt(60 / 4 / 60 * 61 / 60 * (60 / 61)) / Math.sqrt(61))).toBeCloseTo(2.0003, 1);
  expect(() => estimateMean([])).toThrow(RangeError);
});
