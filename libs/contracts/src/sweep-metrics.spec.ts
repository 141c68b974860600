import { describe, expect, test } from 'vitest';
import { expandSweep } from './sweep-expansion.js';
import { goalOfMetric, isShare, metricOf, metricWord, reportedBy } from './sweep-metrics.js';
import { InvalidSweepError, SweepSpec } from './sweep.js';

const PRETRAIN = { p: { kind: 'pretrain', dataset: 'x' } };
const FINETUNE = { f: { kind: 'finetune', dataset: 'x', from: null } };

function faultsOf(metric: object, more: object = {}): string[] {
  try {
    expandSweep(SweepSpec.parse({ name: 's', stages: PRETRAIN, metric, ...more }));
    return [];
  } catch (error) {
    if (!(error instanceof InvalidSweepError)) throw error;
    return error.faults.map(({ path, message }) => `${path.join('.')}: ${message}`);
  }
}

describe('the metric of a sweep', () => {
  test.each<[string, object, object, RegExp]>([
    ['val_loss', { goal: 'minimize' }, {}, /: did you mean train\/loss\?$/],
    ['eval/kn', {}, {}, /: did you mean eval\/knn\?$/],
    ['accuracy', {}, { stages: FINETUNE }, /: did you mean eval\/accuracy\?$/],
    ['eval/accuracy', {}, {}, /\(eval\/knn, .*, got eval\/accuracy: did you mean eval\/probe_accuracy\?$/],
    ['eval/accuracy', {}, { method: 'tpe', run_cap: 3 }, /\(eval\/knn, .*, got eval\/accuracy: did you mean/],
    ['eval/knn', {}, { stages: FINETUNE }, /\(eval\/accuracy, /],
    ['fid', { goal: 'minimize' }, { method: 'random', run_cap: 3 }, /, got fid$/],
  ])('%s is refused where no stage reports it, with the nearest one', (name, of, more, message) => {
    const faults = faultsOf({ name, ...of }, more);
    expect(faults).toEqual([expect.stringMatching(message)]);
    expect(faults[0]).toMatch(/^metric\.name: expected a metric that a stage of this sweep reports \(/);
  });

  test.each<[string, object[]]>([
    ['eval/accuracy', [{ kind: 'pretrain' }, { kind: 'finetune' }, { kind: 'evaluate' }]],
    ['eval/miou', [{ kind: 'pretrain' }, { kind: 'finetune', task: 'segmentation' }]],
    ['eval/accuracy', [{ kind: 'distill' }]],
    ['eval/knn', [{ kind: 'pretrain' }, { kind: 'evaluate' }]],
    ['eval/knn', [{ kind: 'pretrain' }]],
    ['eval/reconstruction_mse', [{ kind: 'autoencode' }, { kind: 'embed' }]],
  ])('is %s where a sweep names none and has such stages', (name, stages) => {
    const sweep = SweepSpec.parse({
      name: 's',
      stages: Object.fromEntries(stages.map((stage, i) => [`s${i}`, stage])),
    });
    expect(metricOf(sweep)).toEqual({ name });
    expect(metricOf({ ...sweep, metric: { name: 'eval/loss' } }).name).toBe('eval/loss');
  });

  test.each([
    ['eval/accuracy', 'accuracy'],
    ['eval/loss at label fraction 0.1', 'loss'],
    ['train/loss', 'train/loss'],
  ])('%s is %s in a word', (name, word) => expect(metricWord(name)).toBe(word));

  test('is asked for by a search whose stages report none', () => {
    const search = { method: 'tpe', run_cap: 3, parameters: { 'e.dimensions': { min: 2, max: 3 } } };
    const stages = { d: { kind: 'prepare-dataset', name: 'x', format: 'image-folder', path: 'x' } };
    expect(() => expandSweep(SweepSpec.parse({ name: 's', stages, ...search }))).toThrow(
      'metric.name: expected a metric that a stage of this sweep reports (none does), and this sweep names none',
    );
    expect(faultsOf({}, { method: 'grid' })).toEqual([]);
  });

  test('of stages that are of no kind is refused as any other', () => {
    for (const kind of ['constructor', '__proto__', 7, null, undefined])
      expect(faultsOf({ name: 'eval/knn' }, { stages: { p: { kind } } })).toEqual([
        'metric.name: expected a metric that a stage of this sweep reports (none does), got eval/knn',
      ]);
  });

  test('is taken where any stage reports it', () => {
    for (const name of ['eval/knn', 'eval/accuracy', 'eval/loss'])
      expect(faultsOf({ name }, { stages: { ...PRETRAIN, ...FINETUNE } })).toEqual([]);
  });

  test('needs a goal where its name does not say it', () => {
    for (const name of ['eval/uniformity', 'eval/alignment', 'train/invariance']) {
      expect(faultsOf({ name })).toEqual([
        `metric.goal: expected maximize or minimize: ${name} does not say which is better`,
      ]);
      for (const goal of ['maximize', 'minimize']) expect(faultsOf({ name, goal })).toEqual([]);
    }
  });

  test('says by its name which way it is better; what is written counts for more', () => {
    const goals = ['eval/accuracy', 'eval/knn', 'eval/miou', 'eval/loss', 'train/loss', 'eval/reconstruction_mse'];
    expect(goals.map((name) => goalOfMetric({ name }))).toEqual([
      'maximize',
      'maximize',
      'maximize',
      'minimize',
      'minimize',
      'minimize',
    ]);
    expect(goalOfMetric({ name: 'eval/knn', goal: 'minimize' })).toBe('minimize');
  });

  test('is a share of 1 where it is an accuracy or the like', () => {
    const reported = reportedBy(['pretrain', 'finetune', 'distill', 'autoencode', 'evaluate', 'interpolate']);
    expect(reported.filter(isShare).sort()).toEqual([
      'eval/accuracy',
      'eval/agreement',
      'eval/dice',
      'eval/knn',
      'eval/miou',
      'eval/pixel_accuracy',
      'eval/probe_accuracy',
      'eval/probe_top5_accuracy',
      'eval/teacher_accuracy',
      'eval/top5_accuracy',
      'train/accuracy',
      'train/contrastive_accuracy',
    ]);
    // As the table of a sweep says what its effects are of.
    expect([isShare('eval/knn at label fraction 0.1'), isShare('eval/loss at label fraction 0.1')]).toEqual([
      true,
      false,
    ]);
  });
});
