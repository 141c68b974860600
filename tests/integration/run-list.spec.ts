/** Lists of runs by what their metrics ended at, and the last values that they go by. */
import { BulkRuns, ListRuns, SubmitRun, type RunRecord } from '#libs/contracts';
import { Database, LeaseLostError, RunQueries, Runs, type Token } from '#libs/platform';
import type { z } from 'zod';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { freshDatabase } from '../support/database.js';
import { knowShapes } from '../support/shapes.js';

let home: Awaited<ReturnType<typeof freshDatabase>>;
let database: Database;
let platform: Runs;
let queries: RunQueries;

beforeAll(async () => {
  home = await freshDatabase();
  database = new Database(home.url);
  platform = new Runs(database, { dataRoot: '/data', leaseMs: 60_000 });
  queries = new RunQueries(database, { leaseMs: 60_000 });
});
beforeEach(async () => {
  await database.prisma.$executeRaw`TRUNCATE run, metric, dataset, worker CASCADE`;
  await knowShapes(platform);
});
afterAll(async () => {
  await database.close();
  await home.drop();
});

let seed = 0;
const submit = async (name: string, tags: string[] = ['listed']) =>
  (
    await platform.submission.submitRun(
      SubmitRun.parse({ spec: { kind: 'pretrain', dataset: 'shapes', batchSize: 32, seed: ++seed }, name, tags }),
    )
  ).runId;
const begin = async (runId: string, attempt = 1, from: number | null = null): Promise<Token> => {
  const token = (await platform.claims.claim({ runId, attempt }, 'worker-1'))!;
  await platform.recorder.begin(token, from, 4711);
  return token;
};
const points = (key: string, ...values: number[]) => values.map((value, step) => ({ key, step, value }));
const metricsOf = async (id: string) => (await queries.run(id))!.metrics;
const list = (query: z.input<typeof ListRuns> = {}) => queries.runs(ListRuns.parse(query));
const namesOf = ({ items }: { items: RunRecord[] }) => items.map(({ name }) => name);
/** Page by page, two at a time, as a reader of the list goes. */
async function allNames(query: z.input<typeof ListRuns>): Promise<(string | null)[]> {
  const names: (string | null)[] = [];
  for (let cursor: string | null | undefined; cursor !== null;) {
    const page = await list({ ...query, limit: 2, ...(cursor !== undefined && { cursor }) });
    names.push(...namesOf(page));
    cursor = page.nextCursor;
  }
  return names;
}

describe('last values', () => {
  test('are those of the highest step, whatever order points come in, while the run runs', async () => {
    const token = await begin(await submit('a'));
    await platform.recorder.record(token, {
      points: [...points('loss', 3, 2, 1), { key: 'eval/knn', step: 1, value: 0.5 }],
    });
    expect(await metricsOf(token.runId)).toEqual({ loss: 1, 'eval/knn': 0.5 });
    await platform.recorder.record(token, {
      points: [
        { key: 'loss', step: 1, value: 20 },
        { key: 'loss', step: 7, value: Number.NaN },
      ],
    });
    expect(await metricsOf(token.runId)).toEqual({ loss: 1, 'eval/knn': 0.5 });
    await platform.recorder.record(token, {
      points: [
        { key: 'loss', step: 5, value: 0.25 },
        { key: 'loss', step: 4, value: 9 },
      ],
    });
    await platform.recorder.record(token, { points: [{ key: 'loss', step: 5, value: 0.125 }] });
    expect(await metricsOf(token.runId)).toEqual({ loss: 0.125, 'eval/knn': 0.5 });
    expect(await queries.metrics(token.runId, { key: ['loss'], points: 100 })).toMatchObject([
      {
        points: [
          { step: 0, value: 3 },
          { step: 1, value: 20 },
          { step: 2, value: 1 },
          { step: 4, value: 9 },
          { step: 5, value: 0.125 },
        ],
      },
    ]);
  });

  test('none are kept of what a run used of its machine, whose points stay when another attempt begins', async () => {
    const first = await begin(await submit('a'));
    const used = (step: number, value: number) => ({ key: 'system/memory_mib', step, value });
    await platform.recorder.record(first, { points: [...points('loss', 3, 2), used(0, 100), used(11, 200)] });
    expect(await metricsOf(first.runId)).toEqual({ loss: 2 });
    await platform.leases.release(first);
    const second = await begin(first.runId, 2);
    // Attempts that begin within one second share a point.
    await platform.recorder.record(second, { points: [used(11, 300), used(12, 400)] });
    expect(await metricsOf(first.runId)).toEqual({});
    expect(await queries.metrics(first.runId, { points: 100, key: undefined })).toMatchObject([
      { key: 'system/memory_mib', points: [{ value: 100 }, { value: 300 }, { value: 400 }] },
    ]);
  });

  test('a dead attempt leaves none: they are those at the checkpoint that the next one goes on from', async () => {
    const first = await begin(await submit('a'));
    await platform.recorder.record(first, {
      points: [
        ...points('loss', 5, 4, 3, 2),
        { key: 'eval/knn', step: 1, value: 0.4 },
        { key: 'eval/knn', step: 3, value: 0.6 },
        { key: 'late', step: 3, value: 1 },
      ],
    });
    await platform.leases.release(first);
    const second = await begin(first.runId, 2, 2);
    expect(await metricsOf(first.runId)).toEqual({ loss: 3, 'eval/knn': 0.4 });
    await expect(
      platform.recorder.record(first, { points: [{ key: 'loss', step: 9, value: -1 }] }),
    ).rejects.toBeInstanceOf(LeaseLostError);
    await platform.recorder.record(second, { points: [{ key: 'loss', step: 3, value: 2.5 }] });
    expect(await metricsOf(first.runId)).toEqual({ loss: 2.5, 'eval/knn': 0.4 });
    await platform.leases.release(second);
    await begin(first.runId, 3);
    expect(await metricsOf(first.runId)).toEqual({});
    expect(await database.prisma.metric.count({ where: { runId: first.runId } })).toBe(0);
  });

  test('the same points twice at one moment, or after a summary was lost, are there once', async () => {
    const token = await begin(await submit('a'));
    const batch = { points: Array.from({ length: 500 }, (_, step) => ({ key: 'loss', step, value: step })) };
    await Promise.all([
      platform.recorder.record(token, batch),
      platform.recorder.record(token, batch),
      platform.recorder.record(token, batch),
    ]);
    await database.prisma.$executeRaw`DELETE FROM run_metric`;
    await platform.recorder.record(token, batch);
    expect(await database.prisma.metric.count({ where: { runId: token.runId } })).toBe(500);
    expect(await metricsOf(token.runId)).toEqual({ loss: 499 });
  });
});

test('a run with very many keys shows the last value of a thousand, and records all', async () => {
  const token = await begin(await submit('a'));
  const batch = (from: number, step: number) => ({
    points: Array.from({ length: 1500 }, (_, i) => ({ key: `k${from + i}`, step, value: step })),
  });
  for (const [from, step] of [
    [0, 0],
    [1000, 0],
    [0, 1],
    [0, 1],
  ] as const)
    await platform.recorder.record(token, batch(from, step));
  expect(Object.keys(await metricsOf(token.runId))).toHaveLength(1000);
  expect(await database.prisma.metric.count({ where: { runId: token.runId } })).toBe(2500 + 1500);
});

describe('the list', () => {
  beforeEach(async () => {
    for (const [name, knn] of [
      ['bright', 0.5],
      ['Crop', 0.7],
      ['dull', undefined],
      ['early', 0.7],
      ['flip', 0.1],
      ['gray', undefined],
      ['hue', -2e-7],
    ] as const) {
      const id = await submit(name);
      if (knn === undefined) continue;
      const token = await begin(id);
      await platform.recorder.record(token, {
        step: { step: 1, totalSteps: 2 },
        points: [
          { key: 'eval/knn', step: 0, value: 0.99 },
          { key: 'eval/knn', step: 1, value: knn },
          { key: 'loss', step: 1, value: 1 / (1 + knn) },
        ],
      });
      if (name !== 'early') await platform.leases.succeed(token, { metrics: {} });
    }
  });
  const listed = { tag: 'listed' };

  test('is sorted by a last value, either way, page by page without holes or repeats; without come last', async () => {
    const names = await allNames({ ...listed, sort: '-metric:eval/knn' });
    expect(names.slice(0, 2).sort()).toEqual(['Crop', 'early']);
    expect(names.slice(2, 5)).toEqual(['bright', 'flip', 'hue']);
    expect(names.slice(5).sort()).toEqual(['dull', 'gray']);
    expect((await allNames({ ...listed, sort: 'metric:eval/knn' })).slice(0, 3)).toEqual(['hue', 'flip', 'bright']);
    expect((await allNames({ ...listed, sort: 'metric:unknown' })).toSorted()).toEqual([
      'Crop',
      'bright',
      'dull',
      'early',
      'flip',
      'gray',
      'hue',
    ]);
  });

  test('is sorted by times, names and duration', async () => {
    const order = ['bright', 'Crop', 'dull', 'early', 'flip', 'gray', 'hue'];
    expect(await allNames(listed)).toEqual(order.toReversed());
    expect(await allNames({ ...listed, sort: 'createdAt' })).toEqual(order);
    expect(await allNames({ ...listed, sort: 'name' })).toEqual(order.toSorted());
    expect((await allNames({ ...listed, sort: '-finishedAt' })).slice(0, 4)).toEqual(['hue', 'flip', 'Crop', 'bright']);
    const slow = (await list({ name: 'flip' })).items[0]!.id;
    await database.prisma
      .$executeRaw`UPDATE run SET started_at = started_at - interval '1 hour' WHERE id = ${slow}::uuid`;
    const byDuration = await allNames({ ...listed, sort: '-duration' });
    expect([byDuration[0], byDuration.length, byDuration.slice(4).sort()]).toEqual([
      'flip',
      7,
      ['dull', 'early', 'gray'],
    ]);
  });

  test('is filtered by last values, together with the rest; counts and bulk actions name the same runs', async () => {
    expect(namesOf(await list({ where: 'eval/knn>0.5', sort: 'name' }))).toEqual(['Crop', 'early']);
    expect(namesOf(await list({ where: ['eval/knn>=.1', 'loss>0.6'], sort: 'name' }))).toEqual(['bright', 'flip']);
    expect(namesOf(await list({ where: 'eval/knn=-2e-7' }))).toEqual(['hue']);
    expect(namesOf(await list({ where: 'eval/knn<=0.7', status: 'running', kind: 'pretrain', name: 'EAR' }))).toEqual([
      'early',
    ]);
    expect(namesOf(await list({ where: 'eval/knn>0.5', sort: '-metric:loss' })).sort()).toEqual(['Crop', 'early']);
    const filter = BulkRuns.shape.filter.parse({ where: 'eval/knn>0.5' });
    expect(await queries.runCounts(filter)).toEqual({ succeeded: 1, running: 1 });
    expect(await platform.bulk.planBulk({ action: 'cancel', filter, tags: undefined, cursor: undefined })).toEqual({
      done: 1,
      skipped: { succeeded: 1 },
      nextCursor: null,
    });
  });

  test('shows last values of each run', async () => {
    const { items } = await list({ ...listed, sort: 'name' });
    expect(items.find(({ name }) => name === 'flip')!.metrics).toEqual({ 'eval/knn': 0.1, loss: 1 / 1.1 });
    expect(items.find(({ name }) => name === 'dull')!.metrics).toEqual({});
  });

  test.each([
    ['sort', { sort: 'speed' }],
    ['sort', { sort: 'metric:' }],
    ['where.0', { where: 'eval/knn~0.5' }],
    ['where.1', { where: ['eval/knn>0.5', 'loss>high'] }],
    ['where', { where: Array.from({ length: 9 }, () => 'a>1') }],
  ])('an error names %s', (field, query) => {
    expect(ListRuns.safeParse(query).error!.issues.map(({ path }) => path.join('.'))).toEqual([field]);
  });

  test('a cursor belongs to its order', async () => {
    const { nextCursor } = await list({ ...listed, sort: 'metric:eval/knn', limit: 2 });
    await expect(list({ ...listed, sort: 'name', limit: 2, cursor: nextCursor! })).rejects.toMatchObject({
      code: 'invalid_request',
      faults: [{ path: ['cursor'] }],
    });
  });
});

test('tags are added and removed by a filter, once, and no run gets too many', async () => {
  for (const name of ['a', 'b', 'c'])
    await submit(name, name === 'c' ? Array.from({ length: 32 }, (_, i) => `t${i}`) : ['listed', 'old']);
  const request = BulkRuns.parse({
    action: 'tag',
    filter: { kind: 'pretrain' },
    tags: { add: ['new'], remove: ['old'] },
  });
  expect(await platform.bulk.planBulk(request)).toEqual({ done: 2, skipped: { too_many_tags: 1 }, nextCursor: null });
  expect(await platform.bulk.bulk(request)).toEqual({ done: 2, skipped: { too_many_tags: 1 }, nextCursor: null });
  expect(await platform.bulk.bulk(request)).toEqual({
    done: 0,
    skipped: { unchanged: 2, too_many_tags: 1 },
    nextCursor: null,
  });
  expect((await list({ tag: 'new' })).items.map(({ tags }) => tags)).toEqual([
    ['listed', 'new'],
    ['listed', 'new'],
  ]);
  // What is removed names the runs, which it no longer does afterwards.
  expect(
    await platform.bulk.bulk(BulkRuns.parse({ action: 'tag', filter: { tag: 'new' }, tags: { remove: ['new'] } })),
  ).toMatchObject({ done: 2 });
  expect((await list({ tag: 'new' })).items).toEqual([]);
  for (const wrong of [
    { action: 'tag', filter: {} },
    { action: 'tag', filter: {}, tags: {} },
    { action: 'cancel', filter: {}, tags: { add: ['x'] } },
  ])
    expect(BulkRuns.safeParse(wrong).error!.issues[0]!.path).toEqual(['tags']);
});
