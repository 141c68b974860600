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

  test('may use merge keys, extension keys and no early stopping', () => {
    const { spec, notes } = read(
      `x-rates: &rates {distribution: log_uniform_values, min: 1.0e-5, max: 1.0e-2}\nearly_terminate: null\n${HEAD}` +
        '  lr:\n    <<: *rates\n    max: 0.1\n',
    );
    expect(spec.parameters['pretrain.optimizer.learningRate']).toMatchObject({ min: 1e-5, max: 0.1 });
    expect(notes).toMatch(/x-rates: set aside\nearly_terminate: none/);
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
