import { ApiError, RunSpec, type Problem, type Run, type RunDetail, type Why } from '#libs/contracts';
import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { judge, lineage, resubmit, shellScript } from './reproduce.js';

const id = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
const runOf = (n: number, spec: object, more: Partial<Run> = {}): Run =>
  ({
    id: id(n),
    name: null,
    project: 'vision',
    status: 'succeeded',
    digest: `digest${n}`,
    tags: [],
    requires: { labels: {} },
    result: { metrics: {} },
    ...more,
    spec: RunSpec.parse(spec),
    kind: (spec as { kind: Run['kind'] }).kind,
  }) as Run;
const pretraining = runOf(1, { kind: 'pretrain', dataset: 'digits@0123456789ab' }, { name: 'costs-$5' });
const finetuning = runOf(
  2,
  { kind: 'finetune', dataset: 'digits@0123456789ab', from: id(1) },
  { requires: { labels: { gpu: 'a100' } } },
);
const evaluating = runOf(3, { kind: 'evaluate', dataset: 'digits@0123456789ab', from: id(1), checkpoint: 20 });
const reference = runOf(4, { kind: 'embed', dataset: 'digits@0123456789ab', from: id(1) });
const aligned = runOf(5, { kind: 'embed', dataset: 'digits@0123456789ab', from: id(2), alignTo: id(4) });
const all = [pretraining, finetuning, evaluating, reference, aligned];

const api = (why: (run: Run) => Partial<Why> = ({ digest }) => ({ digest })) => ({
  run: async (asked: string) => all.find((run) => run.id === asked) as RunDetail,
  whySubmission: async ({ spec }: { spec: unknown }) => why(all.find((run) => run.spec === spec)!) as Why,
});

describe('the lineage', () => {
  test('has the parents of parents, each once, parents first', async () => {
    expect((await lineage(api(), id(5))).map((run) => run.id)).toEqual([1, 2, 4, 5].map(id));
  });

  test('is refused where the training code, the dataset version or a result is not there', async () => {
    await expect(
      lineage(
        api(({ id: each, digest }) => ({ digest: each === id(1) ? 'other' : digest })),
        id(2),
      ),
    ).rejects.toThrow(/^pretrain 0{8}-.*1 can't be reproduced: the training code is of another version/);
    const problem: Problem = {
      type: 'about:blank',
      title: '',
      status: 422,
      code: 'invalid_request',
      detail: '',
      errors: [{ path: 'spec.dataset', message: 'expected a prepared dataset' }],
    };
    await expect(
      lineage(
        api(() => {
          throw new ApiError(problem);
        }),
        id(2),
      ),
    ).rejects.toThrow('its dataset version digits@0123456789ab is gone');
    await expect(
      lineage(
        api(() => {
          throw new ApiError({ ...problem, errors: [{ path: 'spec.from', message: 'expected a run' }] });
        }),
        id(2),
      ),
    ).rejects.toThrow('spec.from: expected a run');
    await expect(
      lineage({ ...api(), run: async () => ({ ...finetuning, status: 'failed' }) as RunDetail }, id(2)),
    ).rejects.toThrow('expected a run that has succeeded');
  });
});

test('a run is submitted anew, from the new ones, and after a parent whose checkpoint it names has ended', async () => {
  const happened: unknown[] = [];
  await resubmit(
    {
      submitRun: async (request) => {
        happened.push(request);
        return { run: { ...pretraining, id: id(10 + happened.length) }, created: true };
      },
    },
    [pretraining, finetuning, evaluating],
    () => undefined,
    async (parent) => {
      happened.push(`ended ${parent}`);
    },
  );
  expect(happened).toEqual([
    { spec: pretraining.spec, name: 'costs-$5', tags: ['reproduction'], project: 'vision', onDuplicate: 'replicate' },
    {
      spec: { ...finetuning.spec, from: id(11) },
      tags: ['reproduction'],
      project: 'vision',
      onDuplicate: 'replicate',
      requires: { labels: { gpu: 'a100' } },
    },
    `ended ${id(11)}`,
    { spec: { ...evaluating.spec, from: id(11) }, tags: ['reproduction'], project: 'vision', onDuplicate: 'replicate' },
  ]);
});

test('a run that begins with a model is submitted after the model has been taken in again', async () => {
  const importing = runOf(7, { kind: 'import-model', name: 'm', path: 'm.safetensors', as: 'resnet18' });
  const beginning = runOf(8, { kind: 'evaluate', dataset: 'digits@0123456789ab', from: id(7) });
  const happened: unknown[] = [];
  await resubmit(
    {
      submitRun: async ({ spec }) => {
        happened.push('from' in spec ? `from ${spec.from}` : spec.kind);
        return { run: { ...importing, id: id(17) }, created: true };
      },
    },
    [importing, beginning],
    () => undefined,
    async (parent) => {
      happened.push(`ended ${parent}`);
    },
  );
  expect(happened).toEqual(['import-model', `ended ${id(17)}`, `from ${id(17)}`]);
  expect(shellScript([importing, beginning])).toContain('loom watch "$import_model"\nevaluate=');
  const taken = (digest: string): Run => ({ ...importing, result: { metrics: {}, model: { digest } } }) as Run;
  expect(judge(taken('a'), taken('a'), 0)).toMatchObject({ within: true, model: { original: 'a', again: 'a' } });
  expect(judge(taken('a'), taken('b'), 0)).toMatchObject({ within: false, model: { original: 'a', again: 'b' } });
});

test('the printed commands are a script that does the same', () => {
  // A loom that gives ids by the kind and shows what it was asked.
  const loom =
    `loom() { if [ "$1" = submit ]; then local text; text=$(cat); printf '%s' "$text" | tr -d '\\n' >&2; echo >&2; ` +
    `printf 'new-%s' "$(printf '%s' "$text" | grep -o '"kind": "[a-z-]*"' | cut -d'"' -f4)"; else echo "$@" >&2; ` +
    'fi; }\n';
  const { stderr, status } = spawnSync('bash', ['--norc', '-c', loom + shellScript([pretraining, evaluating])], {
    encoding: 'utf8',
  });
  expect(status).toBe(0);
  const lines = stderr.trim().split('\n');
  expect(JSON.parse(lines[0]!)).toEqual({
    spec: pretraining.spec,
    name: 'costs-$5',
    tags: ['reproduction'],
    project: 'vision',
    onDuplicate: 'replicate',
  });
  expect(lines[1]).toBe('watch new-pretrain');
  expect(JSON.parse(lines[2]!)).toMatchObject({ spec: { kind: 'evaluate', from: 'new-pretrain', checkpoint: 20 } });
  expect(lines[3]).toBe('watch new-pretrain new-evaluate');
});

describe('a verdict', () => {
  const with_ = (metrics: Record<string, number>, more: Partial<Run> = {}) => ({
    ...finetuning,
    result: { metrics },
    ...more,
  });

  test('a metric may be off by the tolerance, or by that part of a value beyond 1', () => {
    const verdict = (a: number, b: number, tolerance: number) =>
      judge(with_({ x: a }), with_({ x: b }), tolerance).within;
    expect([
      verdict(0.5, 0.52, 0.03),
      verdict(0.5, 0.54, 0.03),
      verdict(100, 102, 0.03),
      verdict(100, 104, 0.03),
      verdict(-100, -102, 0.03),
      verdict(0.5, 0.5, 0),
      verdict(0.5, 0.5000001, 0),
    ]).toEqual([true, false, true, false, true, true, false]);
  });

  test('what only one has is not within, what is about the machine does not count', () => {
    const { metrics, within } = judge(
      with_({ a: 1, b: 2, 'train/images_per_second': 100 }),
      with_({ a: 1, c: 3, 'train/images_per_second': 50 }),
      1,
    );
    expect(metrics.map(({ key, difference, within: each }) => [key, difference, each])).toEqual([
      ['a', 0, true],
      ['b', null, false],
      ['c', null, false],
    ]);
    expect(within).toBe(false);
    expect(judge(with_({ a: 1 }), with_({ a: 1 }, { status: 'failed' }), 1).within).toBe(false);
  });

  test('datasets are compared by digest', () => {
    const prepared = (digest: string) =>
      ({
        ...runOf(6, { kind: 'prepare-dataset', name: 'd', path: 'd' }),
        result: { metrics: {}, dataset: { digest } },
      }) as unknown as Run;
    expect([judge(prepared('a'), prepared('a'), 0).within, judge(prepared('a'), prepared('b'), 0).within]).toEqual([
      true,
      false,
    ]);
  });
});
