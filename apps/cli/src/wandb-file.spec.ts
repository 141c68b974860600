import { describe, expect, test } from 'vitest';
import { SubmissionFile } from './document.js';

const read = (text: string, map: Record<string, string | null> = {}) => {
  const file = SubmissionFile.parse(text, 'f.yaml', { stage: 'pretrain', dataset: 'x', map });
  return { spec: file.submission.request.spec as unknown as Spec, notes: file.notes.join('\n') };
};
interface Spec {
  name: string;
  metric: { name: string };
  run_cap: number;
  parameters: Record<string, { min?: number; values?: unknown[]; distribution?: string }>;
}
const METRIC = 'metric: {name: knn, goal: maximize}\n';
const HEAD = `method: random\nrun_cap: 3\n${METRIC}parameters:\n`;

describe('a sweep file for Weights & Biases', () => {
  test('is read as it is: names by synonyms, what is not for here set aside with a note', () => {
    const { spec, notes } = read(
      `program: a.py\ncommand: [python]\nentity: lab\nproject: p\nname: a try\n${HEAD}` +
        '  learning-rate: {distribution: log_uniform_values, min: 1e-4, max: 1e-1}\n' +
        '  batch_size: {values: [64, 128]}\n  epochs: {value: 5}\n  pretrained: {value: true}\n',
    );
    expect(Object.keys(spec.parameters)).toEqual([
      'pretrain.optimizer.learningRate',
      'pretrain.batchSize',
      'pretrain.epochs',
    ]);
    expect(spec.parameters['pretrain.optimizer.learningRate']!.min).toBe(1e-4);
    expect(spec.name).toBe('a-try');
    expect(spec.metric.name).toBe('eval/knn');
    for (const word of ['program', 'command', 'entity', 'project', 'pretrained', 'batch_size → pretrain.batchSize'])
      expect(notes).toContain(word);
  });

  test('has nested parameters flattened, and reals where it wrote reals', () => {
    const { spec } = read(
      `${HEAD}  optimizer:\n    parameters:\n      name: {values: [adam, lars]}\n      lr: {min: 1.0, max: 2.0}\n` +
        '  warmup_steps: {min: 0, max: 9}\n',
    );
    expect(spec.parameters['pretrain.optimizer.learningRate']).toEqual({ min: 1, max: 2, distribution: 'uniform' });
    expect(spec.parameters['pretrain.schedule.warmupSteps']).toEqual({ min: 0, max: 9 });
    expect(spec.parameters['pretrain.optimizer.name']!.values).toEqual(['adam', 'lars']);
  });

  test('has what stands beside nested parameters, and names of schedules, too', () => {
    const { spec } = read(
      `${HEAD}  optimizer:\n    values: [adam, lars]\n    parameters:\n      lr: {min: 0.1, max: 0.2}\n` +
        '  lr_scheduler:\n    parameters:\n      name: {values: [cosine, constant]}\n',
    );
    expect(spec.parameters['pretrain.optimizer.name']!.values).toEqual(['adam', 'lars']);
    expect(spec.parameters['pretrain.optimizer.learningRate']!.min).toBe(0.1);
    expect(spec.parameters['pretrain.schedule.name']!.values).toEqual(['cosine', 'constant']);
  });

  test.each<[written: string, told: RegExp]>([
    ['lr: {values: 32, 64}', /^f\.yaml:5:7: parameters\.lr: expected a list of values, got 32$/],
    ['lr: {values: "0.1, 0.2"}', /expected a list of values, got "0\.1, 0\.2"$/],
    ['lr: {values: {a: 1}}', /expected a list of values, got \{"a":1\}$/],
    ['lr: {values: [.nan, 0.1]}', /expected what pretrain\.optimizer\.learningRate takes, got NaN: /],
    ['lr: {value: 1e400}', /got Infinity: /],
  ])('in which %s stands is refused at its line', (written, told) => {
    expect(() => read(`${HEAD}  ${written}\n`)).toThrow(told);
  });

  test('is told where a range means something else than it looks like', () => {
    const { notes } = read(
      `early_terminate: {type: hyperband, min_iter: "3"}\n${HEAD}` +
        '  lr: {distribution: log_uniform, min: 1e-5, max: 0.1}\n' +
        '  weight_decay: {min: 0, max: 1}\n  epochs: {min: 1, max: 5}\n',
    );
    expect(notes).toContain('lr: log_uniform draws from e^0.00001 to e^0.1 (1.00 to 1.11): from 0.00001 to 0.1 it is');
    expect(notes).toContain('weight_decay: whole numbers are drawn, as min and max are written: write 0.0 where reals');
    expect(notes).toContain('early_terminate.min_iter: the text "3" is read as 3');
    expect(notes).not.toContain('epochs: whole');
  });

  test('may use merge keys, extension keys and no early stopping', () => {
    const { spec, notes } = read(
      `x-rates: &rates {distribution: log_uniform_values, min: 1.0e-5, max: 1.0e-2}\nearly_terminate: null\n${HEAD}` +
        '  lr:\n    <<: *rates\n    max: 0.1\n',
    );
    expect(spec.parameters['pretrain.optimizer.learningRate']).toMatchObject({ min: 1e-5, max: 0.1 });
    expect(notes).toMatch(/x-rates: set aside\nearly_terminate: none/);
  });

  const SGD = '  optimizer: {value: SGD}\n';
  test.each<[line: string, field: string, value: unknown, before?: string]>([
    ['momentum: {value: 0.9}', 'optimizer.momentum', 0.9, SGD],
    ['nesterov: {values: [true, false]}', 'optimizer.nesterov', [true, false], SGD],
    ['weight-decay: {value: 1e-4}', 'optimizer.weightDecay', 1e-4, SGD],
    ['adam_beta2: {value: 0.98}', 'optimizer.beta2', 0.98],
    ['eps: {value: 1e-6}', 'optimizer.epsilon', 1e-6],
    ['trust_coefficient: {value: 0.01}', 'optimizer.trustCoefficient', 0.01, '  optimizer: {value: LARS}\n'],
    ['optim: {values: [AdamW, LARS, sgd]}', 'optimizer.name', ['adam', 'lars', 'sgd']],
    ...['clip_norm', 'grad_clip', 'max_grad_norm', 'clip-grad-norm', 'grad_clip_norm'].map(
      (name): [string, string, unknown] => [`${name}: {values: [0.5, 1]}`, 'optimizer.clipNorm', [0.5, 1]],
    ),
    ...['warmup_epochs', 'warmup-epoch', 'num_warmup_epochs'].map((name): [string, string, unknown] => [
      `${name}: {value: 10}`,
      'schedule.warmupEpochs',
      10,
    ]),
    ['lr_scheduler: {values: [CosineAnnealingLR, none]}', 'schedule.name', ['cosine', 'constant']],
    ['arch: {value: resnet50}', 'encoder.name', 'resnet50'],
    [
      'base_model: {values: [ResNet-18, resnet_34, small-resnet]}',
      'encoder.name',
      ['resnet18', 'resnet34', 'small-resnet'],
    ],
    ['backbone: {value: ResNet101}', 'encoder.name', 'resnet101'],
    [
      'method: {values: [SimCLR, BYOL, moco, MoCo_v3, SupCon, DCL, NNCLR, barlow, VICReg]}',
      'method',
      ['simclr', 'byol', 'moco-v2', 'moco-v3', 'supcon', 'dcl', 'nnclr', 'barlow-twins', 'vicreg'],
    ],
    ['method: {values: [moco, mocov2, barlow_twins]}', 'method', ['moco-v2', 'barlow-twins']],
    ['moco_k: {value: 8192}', 'queueSize', 8192],
    ['queue-size: {values: [1024, 4096]}', 'queueSize', [1024, 4096]],
    ['moco_m: {value: 0.999}', 'targetMomentum', 0.999],
    ['ema_decay: {value: 0.99}', 'targetMomentum', 0.99],
    ['projection_dim: {value: 128}', 'projection.output', 128],
    ['proj_hidden_dim: {value: 2048}', 'projection.hidden', 2048],
    ['pred_hidden_dim: {value: 512}', 'predictorHidden', 512],
    ['encoder.stem: {value: imagenet}', 'encoder.stem', 'imagenet'],
    ['mixed_precision: {values: [bf16-mixed, fp32]}', 'precision', ['bfloat16', 'float32']],
    ['optimizer.scaling: {value: sqrt}', 'optimizer.scaling', 'sqrt'],
  ])('%s is %s', (line, field, value, before = '') => {
    const { spec } = read(`${HEAD}${before}  ${line}\n`);
    expect(spec.parameters[`pretrain.${field}`]).toEqual(Array.isArray(value) ? { values: value } : { value });
  });

  test('has settings of optimizers with those that have them', () => {
    const of = (text: string) => read(`${HEAD}${text}`);
    const mixed = of('  optimizer: {values: [adam, sgd, lars]}\n  momentum: {min: 0.8, max: 0.95}\n');
    expect(mixed.spec.parameters['pretrain.optimizer.momentum']).toEqual({
      min: 0.8,
      max: 0.95,
      distribution: 'uniform',
      when: { 'pretrain.optimizer.name': ['sgd', 'lars'] },
    });
    expect(mixed.notes).toContain('momentum: set where optimizer.name is sgd or lars');
    const adam = of('  optimizer: {value: adam}\n  momentum: {value: 0.9}\n  nesterov: {value: false}\n');
    expect(Object.keys(adam.spec.parameters)).toEqual(['pretrain.optimizer.name']);
    expect(adam.notes).toMatch(/momentum: set aside, adam has none[^]*nesterov: set aside, adam has none/);
    expect(() => of('  lr: {min: 0.1, max: 1}\n  momentum: {min: 0.8, max: 0.95}\n')).toThrow(
      /^f\.yaml:6:\d+: parameters\.momentum: expected an optimizer that has momentum \(lars, sgd\), got adam/,
    );
  });

  test('is mapped where a name has no synonym; else refused at its line with the way out', () => {
    const text = `${HEAD}  jitter: {values: [1, 2]}\n`;
    expect(() => read(text)).toThrow(/^f\.yaml:5:\d+: parameters\.jitter: .*map: \{jitter: <field>\}/);
    expect(read(text, { jitter: 'epochs' }).spec.parameters).toEqual({ 'pretrain.epochs': { values: [1, 2] } });
    expect(read(text, { jitter: null }).notes).toContain('jitter: set aside');
  });

  test('has text for a number read as it with a note, and a grid over integers', () => {
    const { spec, notes } = read(
      `method: grid\n${METRIC}parameters:\n  batch_size: {value: "256"}\n  seed: {min: 1, max: 3}\n`,
    );
    expect(spec.parameters['pretrain.batchSize']).toEqual({ value: 256 });
    expect(notes).toContain('the text "256" is read as 256');
  });

  test('without run_cap has one, and says so: searches there have no end', () => {
    const { spec, notes } = read(`method: bayes\n${METRIC}parameters:\n  lr: {min: 0.1, max: 0.2}\n`);
    expect(spec.run_cap).toBe(20);
    expect(notes).toContain('run_cap: 20');
  });

  test('whose metric no stage reports is refused with the nearest', () => {
    expect(() =>
      read('method: random\nrun_cap: 2\nmetric: {name: val_loss, goal: minimize}\nparameters: {}\n'),
    ).toThrow(/metric\.name: .*got val_loss: did you mean train\/loss\?/);
    expect(() => read('method: random\nrun_cap: 2\nmetric: {name: eval/alignment}\nparameters: {}\n')).toThrow(
      /metric\.goal: expected maximize or minimize/,
    );
  });
});

describe('a file', () => {
  const parse = (text: string) => SubmissionFile.parse(text, 'f.yaml');
  const SWEEP = 'name: s\nmethod: random\nrun_cap: 2\nstages: {p: {kind: pretrain, dataset: x}}\nparameters:\n';

  test('draws reals where one end is written as one, also in JSON', () => {
    const spec = (text: string) => parse(text).submission.request.spec as unknown as Spec;
    expect(spec(`${SWEEP}  p.temperature: {min: 1.0, max: 2}\n`).parameters['p.temperature']!.distribution).toBe(
      'uniform',
    );
    const json =
      '{"name":"s","method":"random","run_cap":2,"stages":{"p":{"kind":"pretrain","dataset":"x"}},' +
      '"parameters":{"p.temperature":{"min":1,"max":2.0}}}';
    expect(spec(json).parameters['p.temperature']!.distribution).toBe('uniform');
    expect(spec(`${SWEEP}  p.epochs: {min: 1, max: 9}\n`).parameters['p.epochs']!.distribution).toBeUndefined();
  });

  test('may say what belongs beside its spec at its top', () => {
    expect(parse('kind: pretrain\ndataset: x\ntags: [a]\npriority: 3\nproject: p\n').submission.request).toMatchObject({
      spec: { kind: 'pretrain', dataset: 'x' },
      tags: ['a'],
      priority: 3,
      project: 'p',
    });
  });

  test('may change one setting of the optimizer that it would have', () => {
    expect(() => parse('kind: pretrain\ndataset: x\noptimizer: {learningRate: 0.1}\n')).not.toThrow();
  });

  test('with an alias of nothing, or too many, is refused at its line', () => {
    expect(() => parse('kind: pretrain\ndataset: *nothing\n')).toThrow(/^f\.yaml:2:10: .*alias/);
    const bomb = Array.from(
      { length: 9 },
      (_, i) => `a${i}: &a${i} [${Array.from({ length: 9 }, () => (i ? `*a${i - 1}` : 'x')).join()}]`,
    );
    expect(() => parse(`kind: pretrain\n${bomb.join('\n')}\n`)).toThrow(/^f\.yaml:\d+:\d+: .*alias/);
  });
});
