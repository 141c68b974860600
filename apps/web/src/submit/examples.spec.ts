import { RunSpec, SubmitRun, type Run } from '#libs/contracts';
import { parse } from 'yaml';
import { expect, test } from 'vitest';
import { nextKinds } from '../run/next.js';
import { EXAMPLES, nextText } from './examples.js';

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
