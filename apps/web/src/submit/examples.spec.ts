import { RunSpec, SubmitRun, type Run } from '#libs/contracts';
import { parse } from 'yaml';
import { expect, test } from 'vitest';
import { nextKinds } from '../run/next.js';
import { EXAMPLES, firstExample, nextText, type Names } from './examples.js';

const ID = '00000000-0000-4000-8000-000000000001';
const runOf = (spec: object): Run =>
  ({ id: ID, kind: (spec as { kind: string }).kind, spec: RunSpec.parse(spec) }) as unknown as Run;

const TRAINED = ['embed', 'finetune', 'evaluate', 'export'];

test.each([
  [{ kind: 'prepare-dataset', name: 'digits', path: 'digits' }, ['pretrain', 'autoencode']],
  [{ kind: 'prepare-dataset', name: 'digits', path: 'digits', dryRun: true }, []],
  [{ kind: 'pretrain', dataset: 'digits', evalSplit: 'test' }, TRAINED],
  [{ kind: 'finetune', dataset: 'digits', from: ID, steps: 5 }, [...TRAINED, 'distill']],
  [{ kind: 'finetune', dataset: 'digits', from: ID, steps: 5, task: 'segmentation' }, TRAINED],
  [{ kind: 'autoencode', dataset: 'digits' }, [...TRAINED, 'interpolate']],
  [{ kind: 'import-model', name: 'net', path: 'net.safetensors' }, ['pretrain', ...TRAINED]],
  [{ kind: 'autoencode', dataset: 'digits', variant: 'masked', encoder: { name: 'vit-tiny' } }, TRAINED],
  [{ kind: 'export', from: ID }, []],
])('%j leads to what belongs to it, filled in so that it is valid', (spec, kinds) => {
  const run = runOf(spec);
  expect(nextKinds(run)).toEqual(kinds);
  for (const kind of kinds) {
    const next = parse(nextText(kind, run, spec.kind === 'import-model' ? 'digits' : undefined)) as Record<
      string,
      unknown
    >;
    expect(SubmitRun.parse({ spec: next }).spec.kind).toBe(kind);
    if (spec.kind !== 'prepare-dataset') expect(next['from']).toBe(ID);
    if (kind !== 'export') expect(next['dataset']).toBe('digits');
    if (spec.kind === 'pretrain' && kind === 'finetune') expect(next['evalSplit']).toBe('test');
  }
});

test('an example pairs a run with the dataset that it was trained on', () => {
  const [encoder, autoencoder] = [
    { id: ID, dataset: 'birds' },
    { id: ID, dataset: 'sounds' },
  ];
  const names = { dataset: 'digits', encoder, autoencoder };
  const specOf = (name: string) => parse(EXAMPLES[name]!.text(names)) as Record<string, unknown>;
  expect(specOf('embed')).toMatchObject({ dataset: 'birds', from: ID });
  expect(specOf('interpolate')).toMatchObject({ dataset: 'sounds', from: ID });
  for (const name of Object.keys(EXAMPLES).filter((each) => each !== 'sweep'))
    expect(SubmitRun.safeParse({ spec: specOf(name) }).error).toBeUndefined();
});

test('examples fit the dataset that they are of: batches, and fractions that leave each class an example', () => {
  const trained = { id: ID, dataset: 'stripes' };
  const named = (train: object | undefined) =>
    ({ dataset: 'stripes', encoder: trained, autoencoder: trained, train }) as Names;
  const sweepOf = (names: Names) =>
    parse(EXAMPLES['sweep']!.text(names)) as { stages: Record<string, object>; label_fractions: number[] };
  const few = named({ count: 192, countPerClass: [48, 48, 48, 48] });
  expect(sweepOf(few)).toMatchObject({
    stages: { pretrain: { batchSize: 192 }, finetune: { batchSize: 20 } },
    label_fractions: [0.1, 0.5],
  });
  for (const [name, { text }] of Object.entries(EXAMPLES)) {
    const { batchSize = 0 } = parse(text(few)) as { batchSize?: number };
    expect(batchSize, name).toBeLessThanOrEqual(192);
  }
  const many = sweepOf(named({ count: 50_000, countPerClass: Array(10).fill(5000) }));
  expect(many).toEqual(sweepOf(named(undefined)));
  expect(many).toMatchObject({ label_fractions: [0.01, 0.1] });
  expect(many.stages['pretrain']).not.toHaveProperty('batchSize');
  expect([firstExample(few), firstExample(named({ count: 5 })), firstExample(named(undefined))]).toEqual([
    'sweep',
    'pretrain',
    'sweep',
  ]);
});
