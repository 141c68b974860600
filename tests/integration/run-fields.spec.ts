/** Runs by the fields of their specs: found, put into an order and grouped by them. */
import { GroupRuns, ListRuns, SubmitRun } from '#libs/contracts';
import { Database, RunQueries, Runs } from '#libs/platform';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { freshDatabase } from '../support/database.js';
import { knowShapes } from '../support/shapes.js';

let home: Awaited<ReturnType<typeof freshDatabase>>;
let database: Database;
let queries: RunQueries;

/** By their names; `eval/knn` of those that have run. */
const RUNS: [string, object, number?][] = [
  ['a', { epochs: 9, method: 'simclr', collapseBelow: 0.1 }, 0.5],
  ['b', { epochs: 10, method: 'simclr', collapseBelow: 0.5 }, 0.7],
  ['c', { epochs: 100, method: 'vicreg' }, 0.9],
  ['d', { epochs: 100, method: 'vicreg', encoder: { width: 8 } }],
];

beforeAll(async () => {
  home = await freshDatabase();
  database = new Database(home.url);
  const runs = new Runs(database, { dataRoot: '/data', leaseMs: 60_000 });
  queries = new RunQueries(database, { leaseMs: 60_000 });
  await knowShapes(runs);
  for (const [name, fields, knn] of RUNS) {
    const spec = { kind: 'pretrain', dataset: 'shapes', batchSize: 32, ...fields };
    const { runId } = await runs.submission.submitRun(SubmitRun.parse({ spec, name }));
    if (knn === undefined) continue;
    const token = (await runs.claims.claim({ runId, attempt: 1 }, 'worker-1'))!;
    await runs.recorder.begin(token, null, 4711);
    await runs.recorder.record(token, { points: [{ key: 'eval/knn', step: 1, value: knn }] });
  }
});
afterAll(async () => {
  await database.close();
  await home.drop();
});

/** Page by page, two at a time. */
async function names(query: z.input<typeof ListRuns>): Promise<string> {
  let found = '';
  for (let cursor: string | null | undefined; cursor !== null;) {
    const page = await queries.runs(
      ListRuns.parse({ kind: 'pretrain', ...query, limit: 2, ...(cursor && { cursor }) }),
    );
    for (const { name } of page.items) found += name;
    cursor = page.nextCursor;
  }
  return found;
}

test.each([
  ['spec:method=simclr', 'ab'],
  ['spec:method!=simclr', 'cd'],
  ['spec:collapseBelow>0.1', 'b'],
  ['spec:collapseBelow=0.10', 'a'],
  // Where there is no such field, no order holds, and nothing is equal.
  ['spec:collapseBelow<=10', 'ab'],
  ['spec:collapseBelow!=0.1', 'bcd'],
  ['spec:method>1', ''],
  // As numbers, not as texts.
  ['spec:epochs>9', 'bcd'],
  ['spec:epochs>=1e2', 'cd'],
  ['spec:encoder.width!=8', 'abc'],
  ['spec:nothing.of.the.kind=1', ''],
  ['spec:dataset=shapes', ''],
  ['spec:epochs=100,eval/knn>0.8', 'c'],
])('where=%s', async (where, found) => expect(await names({ where, sort: 'name' })).toBe(found));

test.each(['spec:', 'spec:epochs', 'spec:epochs>many', 'spec:epochs=', 'spec:a..b=1', "spec:a'b=1", 'spec:a<b'])(
  '%s is no condition',
  (where) => expect(ListRuns.safeParse({ where }).error?.issues[0]?.message).toContain('spec:method=simclr'),
);

describe('runs in the order of a field', () => {
  test.each([
    ['spec:epochs', 'abcd'],
    ['-spec:epochs', 'dcba'],
    ['spec:method', 'abcd'],
    // Those that lack it come last, in either direction.
    ['spec:collapseBelow', 'abcd'],
    ['-spec:collapseBelow', 'badc'],
  ])('sort=%s', async (sort, found) => expect(await names({ sort })).toBe(found));

  test('what a cursor says has to be of that order', async () => {
    const { nextCursor } = await queries.runs(ListRuns.parse({ sort: 'name', limit: 1 }));
    await expect(queries.runs(ListRuns.parse({ sort: 'spec:epochs', cursor: nextCursor! }))).rejects.toThrow();
    const forged = Buffer.from(JSON.stringify(['spec:epochs', '{', home.url.slice(0, 0).padEnd(36, '0'), 1]));
    await expect(
      queries.runs(ListRuns.parse({ sort: 'spec:epochs', cursor: forged.toString('base64url') })),
    ).rejects.toThrow();
  });
});

const closeTo = (value: number): number => expect.closeTo(value, 12) as number;

describe('groups', () => {
  const groups = (query: z.input<typeof GroupRuns> = {}) =>
    queries.runGroups(GroupRuns.parse({ kind: 'pretrain', ...query }));

  test('have the mean and the spread of metrics, the largest first', async () => {
    expect(await groups({ by: 'spec:method', metric: 'eval/knn,loss' })).toEqual({
      groups: [
        {
          by: { 'spec:method': 'simclr' },
          runs: 2,
          metrics: {
            'eval/knn': { runs: 2, mean: 0.6, deviation: closeTo(Math.SQRT1_2 * 0.2), min: 0.5, max: 0.7 },
          },
        },
        {
          by: { 'spec:method': 'vicreg' },
          runs: 2,
          metrics: { 'eval/knn': { runs: 1, mean: 0.9, deviation: null, min: 0.9, max: 0.9 } },
        },
      ],
      more: 0,
    });
  });

  test('are of several fields, and of the runs of a filter; what runs lack is null', async () => {
    const { groups: found } = await groups({
      by: 'status,spec:collapseBelow,spec:epochs',
      where: 'spec:epochs>9',
    });
    expect(found.map(({ by, runs }) => [by['status'], by['spec:collapseBelow'], by['spec:epochs'], runs])).toEqual(
      expect.arrayContaining([
        ['running', 0.5, 10, 1],
        ['running', null, 100, 1],
        ['queued', null, 100, 1],
      ]),
    );
    expect(await groups({ where: 'spec:epochs>100' })).toEqual({ groups: [], more: 0 });
    expect((await groups()).groups).toMatchObject([{ by: { kind: 'pretrain' }, runs: 4, metrics: {} }]);
  });

  test('of the largest numbers there is a mean', async () => {
    const [c] = (await queries.runs(ListRuns.parse({ name: 'c' }))).items;
    const huge = { key: 'huge', step: 1, value: 1.7e308 };
    await database.prisma.runMetric.createMany({
      data: [
        { runId: c!.id, ...huge },
        ...(await queries.runs(ListRuns.parse({ name: 'd' }))).items.map((run) => ({
          runId: run.id,
          ...huge,
          value: -1.7e308,
        })),
      ],
    });
    const { groups: found } = await groups({ by: 'spec:method', metric: 'huge' });
    expect(found.find(({ by }) => by['spec:method'] === 'vicreg')!.metrics).toMatchObject({
      huge: { mean: 0 },
    });
  });

  test.each(['name', 'spec:', '', 'a,b'])('%j is nothing to group by', (by) =>
    expect(GroupRuns.safeParse({ by }).success).toBe(false),
  );
});
