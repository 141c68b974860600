/** Sweep files in the shapes in which they are written for Weights & Biases: each plans, with at most a map. */
import { describe, expect, test } from 'vitest';
import { expandSweep, SubmitSweep } from '#libs/contracts';
import { SubmissionFile, type Reading } from './document.js';

const read = (text: string, map: Record<string, string | null> = {}, reading: Reading = {}) => {
  const file = SubmissionFile.parse(text, 'f.yaml', { stage: 'pretrain', dataset: 'x', map, ...reading });
  const { spec } = SubmitSweep.parse(file.submission.request);
  const trials = expandSweep(spec).map(({ parameters }) => parameters);
  return { spec, trials, notes: file.notes.join('\n'), of: (field: string) => trials.map((each) => each[field]) };
};
const LR = 'pretrain.optimizer.learningRate';

describe('a file in the shape of public ones', () => {
  test('a first sweep: a loss by the name of another, reals without a distribution', () => {
    const text =
      'program: fit.py\nname: one\nmethod: bayes\nmetric: {name: val_loss, goal: minimize}\nparameters:\n' +
      '  lr: {min: 0.0005, max: 0.05}\n  batch_size: {values: [32, 64]}\n  epochs: {value: 3}\n';
    expect(() => read(text)).toThrow(/got val_loss: did you mean train\/loss\?/);
    const { spec, notes, of } = read(text, { val_loss: 'train/loss' });
    expect(spec.metric).toEqual({ name: 'train/loss', goal: 'minimize', any_scale: true });
    expect(spec.parameters[LR]).toEqual({ min: 0.0005, max: 0.05, distribution: 'uniform' });
    expect(notes).toMatch(/train\/loss: ranked by as the file says, .* each pretrain\.batchSize: map it to eval/);
    expect(new Set(of('pretrain.epochs'))).toEqual(new Set([3]));
    // Ranked by what is better upwards, the goal of the loss is none.
    expect(read(text, { val_loss: 'eval/knn' }).spec.metric).toEqual({ name: 'eval/knn', goal: 'maximize' });
  });

  test('flags of a command, hyphens, exponents and multiples', () => {
    const { notes, of } = read(
      'program: a.py\ncommand: ["${env}", python, --fast, "${args}"]\nmethod: random\nrun_cap: 30\n' +
        'metric: {name: knn/top1, goal: maximize}\nparameters:\n' +
        '  weight-decay: {distribution: log_uniform_values, min: 1e-6, max: 1e-3}\n' +
        '  batch-size: {distribution: q_log_uniform_values, q: 16, min: 32, max: 256}\n',
    );
    expect(notes).toContain('command: set aside');
    for (const size of of('pretrain.batchSize') as number[])
      expect([size % 16, size >= 32, size <= 256]).toEqual([0, true, true]);
    for (const decay of of('pretrain.optimizer.weightDecay') as number[]) expect(decay).toBeLessThanOrEqual(1e-3);
  });

  test('names with dots and slashes, an accuracy without a goal', () => {
    const text =
      'method: grid\nproject: p\nentity: e\nmetric: {name: test/linear_acc}\nparameters:\n' +
      '  method: {values: [simclr, vicreg]}\n  optimizer.lr: {values: [0.001, 0.01]}\n' +
      '  aug/crop.scale: {values: [0.1, 0.3]}\n  trainer.max_epochs: {value: 4}\n';
    const { spec, trials } = read(text, { 'aug/crop.scale': 'augmentation.crop.minArea' });
    expect(trials).toHaveLength(8);
    expect(spec.metric.name).toBe('eval/probe_accuracy');
    expect(trials[0]).toHaveProperty(['pretrain.augmentation.crop.minArea'], 0.1);
    // A map may name the stage as well, and a name by its synonym.
    expect(read(text, { 'aug/crop.scale': 'pretrain.temp' }).trials[0]).toHaveProperty(['pretrain.temperature'], 0.1);
    expect(() => read(text, { 'aug/crop.scale': 'nowhere' })).toThrow(
      /f\.yaml:8:\d+: .*a field of pretrain has, got nowhere/,
    );
  });

  test('nested parameters, reals that are whole, multiples', () => {
    const { of } = read(
      'method: random\nrun_cap: 40\nmetric: {name: loss, goal: minimize}\nparameters:\n' +
        '  optimizer:\n    parameters:\n      name: {values: [adam, lars]}\n      lr: {min: 0.0, max: 2.0}\n' +
        '  temperature: {distribution: q_uniform, min: 0.1, max: 1, q: 0.1}\n',
    );
    expect((of(LR) as number[]).every((rate) => !Number.isInteger(rate))).toBe(true);
    expect(new Set(of('pretrain.optimizer.name'))).toEqual(new Set(['adam', 'lars']));
    for (const each of of('pretrain.temperature') as number[]) expect(each * 10).toBeCloseTo(Math.round(each * 10), 9);
  });

  test('normal distributions with their defaults: drawn again where a field takes no such value', () => {
    const { of, notes, spec } = read(
      'method: random\nrun_cap: 60\nmetric: {name: accuracy, goal: maximize}\nparameters:\n' +
        '  temperature: {distribution: normal, mu: 0.05, sigma: 0.05}\n  noise: {distribution: normal}\n' +
        '  mix: {distribution: beta}\n  jitter: {distribution: q_normal, mu: 0.5, sigma: 0.1, q: 0.1}\n' +
        '  lr: {distribution: log_normal, mu: -7, sigma: 0.5}\n  epochs: {distribution: normal, mu: 9, sigma: 2}\n',
      { noise: 'augmentation.grayscale.p', mix: 'targetMomentum', jitter: 'augmentation.colorJitter.hue' },
    );
    for (const each of of('pretrain.temperature') as number[]) expect(each).toBeGreaterThanOrEqual(0.01);
    for (const each of of('pretrain.augmentation.grayscale.p') as number[])
      expect([each >= 0, each <= 1]).toEqual([true, true]);
    expect(new Set(of('pretrain.augmentation.grayscale.p')).size).toBe(60);
    expect((of('pretrain.epochs') as number[]).every(Number.isInteger)).toBe(true);
    expect(notes).toContain('epochs: drawn as normal, rounded to whole numbers');
    expect(spec.parameters['pretrain.targetMomentum']).toEqual({ distribution: 'beta' });
  });

  test('inverse logarithms, and exponents', () => {
    const { of } = read(
      'method: random\nrun_cap: 50\nmetric: {name: accuracy}\nparameters:\n' +
        '  momentum: {distribution: inv_log_uniform_values, min: 0.9, max: 0.999}\n' +
        '  ema: {distribution: inv_log_uniform, min: 2, max: 9}\n  lr: {distribution: log_uniform, min: -9, max: -4}\n',
      { momentum: 'targetMomentum', ema: 'barlowTwins.lambda' },
    );
    const between = (field: string, low: number, high: number) => {
      for (const x of of(field) as number[]) expect([x >= low, x <= high]).toEqual([true, true]);
    };
    between('pretrain.targetMomentum', 0.9, 0.999);
    between('pretrain.barlowTwins.lambda', Math.exp(-9), Math.exp(-2));
    between(LR, Math.exp(-9), Math.exp(-4));
  });

  test('choices by weight, augmentations by name', () => {
    const { of, notes } = read(
      'method: random\nrun_cap: 4\nmetric: {name: accuracy}\nparameters:\n' +
        '  augmentation: {values: [crop, crop+jitter+blur], probabilities: [0.4, 0.6]}\n' +
        '  width: {distribution: categorical_w_probabilities, values: [16, 32], probabilities: [0.9, 0.1]}\n',
    );
    expect(notes).toContain('augmentation: crop+jitter+blur → crop+colorJitter+blur');
    expect(of('pretrain.augmentation')).toContainEqual({ crop: {}, colorJitter: {}, blur: {} });
  });

  test('hyperband as it is written, merge keys, nothing for early stopping', () => {
    const policy = { type: 'hyperband', s: 2, eta: 3, max_iter: 27, strict: true };
    const text = (early: unknown) =>
      `method: bayes\nx-a: &a {min: 0.001, max: 0.1}\nmetric: {name: knn, goal: maximize}\n` +
      `early_terminate: ${JSON.stringify(early)}\nparameters:\n  lr: {<<: *a, max: 0.2}\n`;
    expect(read(text(policy)).spec.early_terminate).toMatchObject(policy);
    expect(read(text(null)).spec.early_terminate).toBeUndefined();
    const { s: _, ...without } = policy;
    const counted = read(text(without));
    expect(counted.spec.early_terminate).toMatchObject({ ...without, s: 3 });
    expect(counted.notes).toContain('early_terminate.s: 3, as many as lie below max_iter');
    const both = read(text({ ...policy, min_iter: 3 }));
    expect(both.notes).toContain('early_terminate.min_iter: set aside');
    expect(both.spec.parameters[LR]).toEqual({ min: 0.001, max: 0.2, distribution: 'uniform' });
  });

  test('a grid over whole numbers and steps; one that run_cap cuts is drawn from', () => {
    const grid =
      'method: grid\nmetric: {name: accuracy}\nparameters:\n  depth: {min: 1, max: 3}\n' +
      '  width: {distribution: q_uniform, min: 16, max: 64, q: 16}\n';
    expect(read(grid, { depth: 'projection.layers' }).trials).toHaveLength(12);
    const cut = read(`run_cap: 5\n${grid}`, { depth: 'projection.layers' });
    expect([cut.spec.method, cut.trials.length]).toEqual(['random', 5]);
    expect(cut.notes).toContain('grid of 12 points is cut at run_cap');
    const wide = `method: grid\nmetric: {name: accuracy}\nparameters: {seed: {min: 0, max: 10999}}\n`;
    expect(read(wide).spec.run_cap).toBe(11_000);
  });

  test('constants of every type, lists as values, and values that come again', () => {
    const text =
      'method: grid\ncontroller: {type: local}\njob: a/b/c:v0\nmetric: {name: accuracy}\nparameters:\n' +
      '  seed: {values: [0, 1, 1]}\n  amp: {value: no}\n  weight_decay: {value: null}\n' +
      '  layers: {values: [[64, 64], [128]]}\n  dataset: {value: imagenet}\n  batch_size: {value: "1_024"}\n';
    expect(() => read(text)).toThrow(/parameters\.layers/);
    const { trials, notes } = read(text, { layers: null });
    expect(trials).toEqual([0, 1].map((seed) => ({ 'pretrain.seed': seed, 'pretrain.batchSize': 1024 })));
    for (const note of ['weight_decay: set aside, it is null', 'dataset: set aside, the dataset is x', 'come again'])
      expect(notes).toContain(note);
  });

  test('ends in any order and of any writing, a target', () => {
    const { spec, notes } = read(
      'method: bayes\nmetric: {name: val/loss, goal: minimize, target: 0.2}\nrun_cap: 9\nparameters:\n' +
        '  learning_rate: {max: 1e-2, min: "1e-5"}\n' +
        '  warmup_steps: {min: 0, max: 900}\n  dropout: {min: 0, max: 0.4}\n',
      { 'val/loss': 'train/loss', dropout: 'augmentation.grayscale.p' },
    );
    expect(spec.parameters[LR]).toMatchObject({ min: 1e-5, max: 1e-2 });
    expect(spec.metric).toEqual({ name: 'train/loss', goal: 'minimize' });
    expect(notes).toContain('metric.target: set aside');
  });

  test('keys for the service itself, a metric that is set aside, and a value that no field takes', () => {
    const text =
      'apiVersion: 1\nkind: sweep\nmethod: grid\nmetric: {name: fid, goal: minimize}\nwandb_version: 3\n' +
      'parameters:\n  optimizer: {values: [adam, rmsprop]}\n  seed: {values: [1, 2]}\n';
    expect(() => read(text)).toThrow(
      /f\.yaml:7:\d+: .*expected adam, lars, sgd, got "rmsprop": map: \{optimizer: null\}/,
    );
    const { notes, trials } = read(text, { optimizer: null, fid: null });
    expect(trials).toHaveLength(2);
    expect(notes).toMatch(/wandb_version: set aside, sweeps have no such key[^]*metric fid: set aside/);
    expect(() => read(text.replace('metric:', 'metrc:'), { optimizer: null })).toThrow(/4:\d+: metrc: unknown/);
  });

  test('metrics with how they were summed up; the top five and those of training are others', () => {
    const metricOf = (name: string, stage = 'pretrain') =>
      read(
        `method: random\nmetric: {name: "${name}", goal: maximize}\nparameters: {seed: {min: 1, max: 9}}\n`,
        {},
        { stage },
      ).spec.metric.name;
    for (const name of [
      'val/acc@1',
      'val_acc_best',
      'Test Accuracy',
      'best_valid_acc1',
      'eval_top1',
      'linear/acc_epoch',
    ])
      expect([name, metricOf(name)]).toEqual([name, 'eval/probe_accuracy']);
    expect(metricOf('test_acc_top5', 'finetune')).toBe('eval/top5_accuracy');
    expect(metricOf('train/acc_step', 'finetune')).toBe('train/accuracy');
    expect(metricOf('Loss/val (mean)', 'finetune')).toBe('eval/loss');
    for (const name of ['test_acc_top5', 'train_acc', 'earlystop'])
      expect(() => metricOf(name)).toThrow(`, got ${name}`);
    expect(() => metricOf('Validation Loss (epoch)')).toThrow(/: did you mean train\/loss\?$/);
    const none = 'method: bayes\nparameters: {lr: {min: 0.001, max: 0.1}}\n';
    expect(read(none).notes).toContain(
      'metric: none is named, the sweep is ranked by what its stages are for (eval/knn)',
    );
  });

  test('names within groups: what ends with a field means it, and not what is of logs and evaluations', () => {
    const { spec, notes } = read(
      'method: random\nmetric: {name: accuracy}\nparameters:\n  ++model.optimizer.lr: {values: [0.001, 0.01]}\n' +
        '  model/encoder: {values: [resnet18, resnet50]}\n  optim: {parameters: {name: {value: lars}}}\n' +
        '  train.schedule.warmup_steps: {value: 10}\n  method: {value: moco_v2plus}\n' +
        '  logging.epochs: {value: 5}\n  eval.batch_size: {value: 999}\n',
    );
    expect(spec.parameters).toMatchObject({
      [LR]: { values: [0.001, 0.01] },
      'pretrain.encoder.name': { values: ['resnet18', 'resnet50'] },
      'pretrain.optimizer.name': { value: 'lars' },
      'pretrain.schedule.warmupSteps': { value: 10 },
      'pretrain.method': { value: 'moco-v2' },
    });
    expect(Object.keys(spec.parameters)).toHaveLength(5);
    for (const name of ['logging.epochs', 'eval.batch_size']) expect(notes).toContain(`${name}: set aside, it varies`);
  });

  test('values without a mapping around them, anchors at the top, and numbers with underscores', () => {
    const { spec, notes } = read(
      '_defaults: &d {program: a.py, method: random}\n<<: *d\nname: "lr x wd (2)"\nrun_cap: 1_000\n' +
        'metric: {name: accuracy}\nparameters:\n  <<: &common {epochs: 3}\n' +
        '  lr: [0.1, 0.01]\n  batch_size: {values: ["64", 1_28]}\n',
    );
    expect([spec.name, spec.method, spec.run_cap]).toEqual(['lr-x-wd-2-', 'random', 1000]);
    expect(notes).toContain('name: "lr x wd (2)" → lr-x-wd-2-');
    expect(spec.parameters).toEqual({
      'pretrain.epochs': { value: 3 },
      [LR]: { values: [0.1, 0.01] },
      'pretrain.batchSize': { values: [64, 128] },
    });
    expect(notes).toContain('_defaults: set aside, sweeps have no such key');
  });

  test('truth as YAML of before and Python write it', () => {
    const { of, notes } = read(
      'method: grid\nmetric: {name: accuracy}\nparameters:\n  optimizer: {value: sgd}\n' +
        '  nesterov: {values: [yes, "False"]}\n',
    );
    expect(of('pretrain.optimizer.nesterov')).toEqual([true, false]);
    expect(notes).toContain('nesterov: the text "yes" is read as true');
  });

  test.each<[string, string, RegExp]>([
    [
      'two names of one field',
      'parameters: {lr: {value: 1}, a.lr: {value: 2}}\n',
      /one name for .* lr and a\.lr: map: /,
    ],
    [
      'a name of JavaScript’s',
      'parameters: {constructor: {values: [1, 2]}}\n',
      /parameters\.constructor: expected a name/,
    ],
    ['an augmentation of that', 'parameters: {aug: {values: [constructor]}}\n', /parameters\.aug: .*got "constructor"/],
    ['a list of parameters', 'parameters: [{lr: {values: [1]}}]\n', /^f\.yaml:3:13: parameters: expected a mapping/],
    ['no values', 'parameters: {lr: {values: []}}\n', /learningRate\.values: .*1/],
    [
      'nothing to draw from',
      'parameters: {epochs: {}}\n',
      /pretrain\.epochs: expected one of value, values, or a range/,
    ],
    ['one end', 'parameters: {lr: {min: 0.001}}\n', /learningRate\.max: expected a number for uniform/],
    [
      'a distribution alone',
      'parameters: {lr: {distribution: log_uniform_values}}\n',
      /expected one of value, values, or/,
    ],
    [
      'a rule that is not there',
      'early_terminate: {type: envelope}\n',
      /^f\.yaml:3:25: .*asha, hyperband, median, got "env/,
    ],
    ['a goal that is none', 'parameters: {}\nmetric: {goal: min, name: acc}\n', /metric\.goal: .*maximize.*minimize/],
  ])('%s is refused with what is missing', (_, text, message) => {
    const metric = text.includes('metric:') ? 'description: x\n' : 'metric: {name: accuracy}\n';
    expect(() => read(`method: random\n${metric}${text}`)).toThrow(message);
  });

  test('a supervised one trains from scratch, and is not stopped early', () => {
    const { spec, notes } = read(
      'method: random\nmetric: {name: val_loss}\nearly_terminate: {type: hyperband, min_iter: 3}\n' +
        'parameters: {lr: {min: 0.001, max: 0.1}, epochs: {value: 9}}\n',
      {},
      { stage: 'finetune' },
    );
    expect(spec.stages).toEqual({ finetune: { kind: 'finetune', dataset: 'x', from: null } });
    expect(spec.metric.name).toBe('eval/loss');
    expect(notes).toContain('early_terminate: set aside');
  });

  test('without a dataset is refused with the option', () => {
    expect(() => SubmissionFile.parse('method: grid\n', 'f.yaml', { stage: 'pretrain' })).toThrow(/expected --dataset/);
  });
});
