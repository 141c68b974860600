import { expect, test } from 'vitest';
import { SubmitRun, type Run, type Sweep } from '#libs/contracts';
import { stringify } from 'yaml';
import { edited, parseSubmission, refusalsOf, requestOf, sweepRequestOf } from './submission.js';

const SWEEP = `name: views   # a comment
stages:
  pretrain: {kind: pretrain, dataset: digits}
parameters:
  pretrain.augmentation:
    values:
      - {crop: {}}
      - {flip: {}}
`;
const at = (text: string, path: string) => {
  const parsed = parseSubmission(text);
  if ('troubles' in parsed) throw new Error(parsed.troubles[0]!.message);
  const { from, to } = parsed.locate(path);
  return text.slice(from, to);
};

test('a bare spec and a whole request', () => {
  expect(parseSubmission(SWEEP)).toMatchObject({ submission: { type: 'sweep', request: { spec: { name: 'views' } } } });
  expect(parseSubmission('kind: embed\nfrom: x')).toMatchObject({
    submission: { type: 'run', request: { spec: { kind: 'embed' } } },
  });
  expect(parseSubmission('spec: {kind: embed}\ntags: [a]')).toMatchObject({
    submission: { type: 'run', request: { spec: { kind: 'embed' }, tags: ['a'] } },
  });
});

test('what was submitted once is written as what submits it again: whose it is and what it asks for too', () => {
  const run = {
    spec: SubmitRun.shape.spec.parse({
      kind: 'embed',
      dataset: 'digits',
      from: '00000000-0000-4000-8000-000000000001',
    }),
    name: 'map',
    tags: ['a'],
    project: 'vision',
    priority: 60,
    requires: { labels: {}, gpu: { memoryMiB: 40_000 } },
  } as unknown as Run;
  const again = parseSubmission(stringify(requestOf(run)));
  if ('troubles' in again) throw new Error(again.troubles[0]!.message);
  expect(SubmitRun.parse(again.submission.request)).toMatchObject({
    spec: run.spec,
    name: 'map',
    tags: ['a'],
    project: 'vision',
    priority: 60,
    requires: { gpu: { memoryMiB: 40_000 } },
  });
  expect(requestOf({ ...run, name: null, requires: { labels: {} } })).not.toHaveProperty('requires');
  expect(
    parseSubmission(
      stringify(sweepRequestOf({ spec: { stages: {} }, tags: [], project: 'vision' } as unknown as Sweep)),
    ),
  ).toMatchObject({ submission: { type: 'sweep', request: { project: 'vision' } } });
});

test('fields are found by the API’s paths, with dots in keys, in lists, and around what is missing', () => {
  expect(at(SWEEP, 'spec.stages.pretrain.dataset')).toBe('dataset: digits');
  expect(at(SWEEP, 'spec.parameters.pretrain.augmentation.values.1.flip')).toBe('flip');
  expect(at(SWEEP, 'spec.parameters.pretrain.augmentation')).toBe('pretrain.augmentation');
  expect(at(SWEEP, 'spec.stages.pretrain.epochs')).toBe('pretrain');
  expect(at(SWEEP, 'spec.nowhere')).toBe('n');
  expect(at(`spec:\n  kind: pretrain\n  epochs: none\n`, 'spec.epochs')).toBe('epochs: none');
});

test('what is no YAML, no run and no sweep is told with its place', () => {
  const broken = parseSubmission('kind: [pretrain\nepochs: 3');
  expect('troubles' in broken && broken.troubles[0]!.from).toBeGreaterThan(0);
  expect(parseSubmission('')).toMatchObject({
    troubles: [{ from: 0, message: expect.stringContaining('expected a run') as string }],
  });
  expect(parseSubmission('- 1')).toMatchObject({
    troubles: [{ message: expect.stringContaining('expected a run') as string }],
  });
  expect(parseSubmission('name: x')).toMatchObject({
    troubles: [
      { from: 0, to: 7, message: expect.stringContaining('expected `kind` (one of prepare-dataset') as string },
    ],
  });
});

test('a field is set from outside, and comments stay', () => {
  const text = '# why\nkind: pretrain # what\nencoder: {width: 8}\n';
  expect(edited(text, ['epochs'], 3)).toBe('# why\nkind: pretrain # what\nencoder: {width: 8}\nepochs: 3\n');
  expect(edited(text, ['encoder', 'width'], 16)).toContain('encoder: {width: 16}');
  expect(edited(text, ['encoder', 'width'], undefined)).toContain('encoder: {}');
  expect(edited(text, ['augmentation', 'crop', 'minArea'], 0.2)).toBe(`${text}augmentation: {crop: {minArea: 0.2}}\n`);
  expect(edited(SWEEP, ['stages', 'pretrain', 'epochs'], 2)).toContain(
    '  pretrain: {kind: pretrain, dataset: digits, epochs: 2}\n',
  );
  // What can't be read is left alone.
  expect(edited('kind: [', ['epochs'], 3)).toBe('kind: [');
  const parsed = parseSubmission(SWEEP);
  expect('draft' in parsed && parsed.draft.parts).toMatchObject([
    { name: 'sweep', subject: { type: 'sweep' }, value: { name: 'views' }, path: [] },
    {
      name: 'pretrain',
      subject: { type: 'spec', kind: 'pretrain' },
      value: { kind: 'pretrain', dataset: 'digits' },
      path: ['stages', 'pretrain'],
    },
  ]);
  const whole = parseSubmission('spec: {kind: embed}\ntags: [a]');
  expect('draft' in whole && whole.draft.parts).toMatchObject([
    { name: 'embed', path: ['spec'] },
    { name: 'request', subject: { type: 'run-request' }, value: { tags: ['a'] }, path: [] },
  ]);
});

test('what a draft can never be is told at its place without asking the API', () => {
  const told = (text: string) => {
    const parsed = parseSubmission(text);
    if ('troubles' in parsed) throw new Error(parsed.troubles[0]!.message);
    return refusalsOf(parsed).map(({ from, to, message }) => [text.slice(from, to), message]);
  };
  expect(told('kind: pretrain\ndataset: digits\nepochs: none\n')).toEqual([
    ['epochs: none', 'epochs: expected a number, got "none"'],
  ]);
  expect(told('kind: pretrain\ndataset: digits\nepoch: 2\n')).toEqual([
    ['epoch: 2', 'epoch: expected no such field: it is unknown'],
  ]);
  expect(told('kind: pretrian\n')).toMatchObject([['kind: pretrian', expect.stringMatching(/^kind: expected one of/)]]);
  expect(told(SWEEP.replace('dataset: digits', 'dataset: 3'))).toMatchObject([
    ['dataset: 3', expect.stringMatching(/^stages.pretrain.dataset: .*expected a text/)],
  ]);
  expect(told(SWEEP)).toEqual([]);
});
