/** Lists of sweeps, and of the trials of one: filtered, sorted and paged by the server. */
import { LoomClient, type RunStatus } from '#libs/contracts';
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { pretrain, startApi, type Api } from '../support/api.js';

let api: Api;
let client: LoomClient;
beforeAll(async () => {
  api = await startApi();
  client = new LoomClient({ url: api.url, retries: 0 });
}, 30_000);
afterAll(() => api.stop());

let seed = 0;
/** A sweep of so many trials, each a pretraining and a finetuning of its own. */
async function submit(name: string, trials: number, more: object = {}): Promise<string> {
  const stages = {
    p: { ...pretrain, kind: 'pretrain' as const, seed: ++seed },
    f: { kind: 'finetune' as const, dataset: 'shapes', from: 'p', batchSize: 4 },
  };
  const values = Array.from({ length: trials }, (_, i) => (i + 1) / 100);
  const { sweep } = await client.submitSweep({
    spec: { name, stages, parameters: { 'p.temperature': { values } }, metric: { name: 'eval/accuracy' } },
    ...more,
  });
  return sweep.id;
}

/** Puts the runs of a trial into these statuses, whatever they were in. */
async function become(
  sweepId: string,
  index: number,
  { p, f, reason = null }: { p: RunStatus; f: RunStatus; reason?: string | null },
): Promise<void> {
  for (const [stage, status] of Object.entries({ p, f }))
    await api.database.prisma.$executeRaw`
      UPDATE run SET status = ${status}::text::run_status, status_reason = ${reason}
      FROM trial_run place
      WHERE place.run_id = run.id AND place.sweep_id = ${sweepId}::uuid AND place.index = ${index}
        AND place.stage = ${stage}`;
}

/** Leaves a trial without runs. */
async function bare(sweepId: string, index: number, { draft = false, outcome = null as string | null } = {}) {
  await api.database.prisma.trialRun.deleteMany({ where: { sweepId, index } });
  await api.database.prisma.trial.update({
    where: { sweepId_index: { sweepId, index } },
    data: { ...(draft && { draft: {} }), outcome },
  });
}

/** What a run of a trial came to. */
async function ended(sweepId: string, index: number, stage: string, key: string, value: number): Promise<void> {
  await api.database.prisma.$executeRaw`
    INSERT INTO run_metric (run_id, key, step, value)
    SELECT run_id, ${key}, 1, ${String(value)}::text::float8
    FROM trial_run
    WHERE sweep_id = ${sweepId}::uuid AND index = ${index} AND stage = ${stage}`;
}

const STATES: Record<number, [string, Parameters<typeof become>[2]]> = {
  0: ['succeeded', { p: 'succeeded', f: 'succeeded' }],
  1: ['failed', { p: 'failed', f: 'upstream_failed' }],
  2: ['running', { p: 'running', f: 'pending' }],
  3: ['waiting', { p: 'paused', f: 'pending', reason: 'rung' }],
  4: ['paused', { p: 'paused', f: 'pending', reason: 'user_pause' }],
  5: ['cancelled', { p: 'cancelled', f: 'cancelled' }],
  6: ['early_stopped', { p: 'early_stopped', f: 'early_stopped' }],
  7: ['running', { p: 'succeeded', f: 'pending' }],
  8: ['failed', { p: 'succeeded', f: 'timed_out' }],
};

test('trials are found by each status that they can have, and the detail tells the same', async () => {
  const id = await submit('states', 12);
  // The leader of this API must not go on with what was put there by hand.
  await client.cancelSweep(id);
  for (const [index, [, states]] of Object.entries(STATES)) await become(id, Number(index), states);
  await bare(id, 9, { draft: true });
  await bare(id, 10, { draft: true, outcome: 'early_stopped' });
  await bare(id, 11);
  const expected = [...Object.values(STATES).map(([status]) => status), 'held', 'early_stopped', 'failed'];
  expect((await client.sweep(id)).trials.map(({ status }) => status)).toEqual(expected);
  expect((await client.trials(id)).items.map(({ status }) => status)).toEqual(expected);
  for (const status of new Set(expected))
    expect((await client.trials(id, { status: [status as 'held'] })).items.map(({ index }) => index)).toEqual(
      expected.flatMap((each, index) => (each === status ? [index] : [])),
    );
  expect((await client.sweepResults(id)).coordinates.lines.map(({ status }) => status)).toEqual(expected);
});

test('trials are sorted by a metric of their runs, those without it last, and paged in that order', async () => {
  const id = await submit('sorted', 7);
  for (const [index, value] of [0.3, 0.9, 0.5, 0.7].entries()) await ended(id, index, 'f', 'eval/accuracy', value);
  await ended(id, 5, 'p', 'eval/knn', 0.8);
  await ended(id, 1, 'p', 'eval/knn', 0.2);
  const paged = async (query: Parameters<LoomClient['trials']>[1]) => {
    const found: number[] = [];
    for await (const { index } of client.eachTrial(id, { limit: 2, ...query })) found.push(index);
    return found;
  };
  expect(await paged({ sort: '-metric:eval/accuracy' })).toEqual([1, 3, 2, 0, 6, 5, 4]);
  expect(await paged({ sort: 'metric:eval/accuracy' })).toEqual([0, 2, 3, 1, 4, 5, 6]);
  expect(await paged({})).toEqual([0, 1, 2, 3, 4, 5, 6]);
  expect(await paged({ sort: '-index' })).toEqual([6, 5, 4, 3, 2, 1, 0]);
  expect(await paged({ where: ['eval/accuracy>=0.5'] })).toEqual([1, 2, 3]);
  expect(await paged({ where: ['eval/accuracy>=0.5', 'eval/knn<1'] })).toEqual([1]);
  const { items, nextCursor } = await client.trials(id, { sort: '-metric:eval/accuracy', limit: 1 });
  expect(items).toMatchObject([{ index: 1, value: 0.9, parameters: { 'p.temperature': 0.02 }, runs: [{}, {}] }]);
  await expect(client.trials(id, { cursor: nextCursor! })).rejects.toMatchObject({ status: 422 });
  await expect(client.trials(id, { sort: 'name' })).rejects.toMatchObject({ status: 422 });
  await expect(client.trials(randomUUID())).rejects.toMatchObject({ status: 404 });
});

test('sweeps are found by status, name, tag, project and what their runs ended at', async () => {
  const [a, b, c, d, e] = [
    await submit('Alpha', 2, { tags: ['x', 'y'] }),
    await submit('beta', 2, { tags: ['x'] }),
    await submit('gamma', 1, { tags: ['x'] }),
    await submit('delta', 1, { tags: ['x'] }),
    await submit('epsilon', 1, { tags: ['x'] }),
  ];
  const all = (states: Parameters<typeof become>[2]) => async (id: string) => {
    for (const index of [0, 1]) await become(id, index, states);
  };
  await client.pauseSweep(b);
  await all({ p: 'succeeded', f: 'early_stopped' })(c);
  await all({ p: 'succeeded', f: 'failed' })(d);
  await client.cancelSweep(e);
  const ids = async (query: Parameters<LoomClient['sweeps']>[0]) =>
    (await client.sweeps({ tag: 'x', ...query })).items.map(({ id }) => id);
  expect((await client.sweeps({ tag: 'x', sort: 'createdAt' })).items.map(({ id, status }) => [id, status])).toEqual([
    [a, 'running'],
    [b, 'paused'],
    [c, 'succeeded'],
    [d, 'failed'],
    [e, 'cancelled'],
  ]);
  for (const { id, status } of (await client.sweeps({ tag: 'x' })).items)
    expect(await ids({ status: [status] })).toEqual([id]);
  expect(await ids({ status: ['failed', 'paused'] })).toEqual([d, b]);
  expect(await ids({ tag: 'y' })).toEqual([a]);
  expect(await ids({ name: 'ALP' })).toEqual([a]);
  expect(await ids({ project: 'default', sort: 'name' })).toHaveLength(5);
  expect(await ids({ project: 'other' })).toEqual([]);
  // Of a sweep one trial has to meet all conditions.
  await ended(a, 0, 'p', 'eval/knn', 0.6);
  await ended(a, 1, 'f', 'eval/accuracy', 0.9);
  await ended(b, 0, 'p', 'eval/knn', 0.7);
  await ended(b, 0, 'f', 'eval/accuracy', 0.8);
  expect(await ids({ where: ['eval/knn>0.5'] })).toEqual([b, a]);
  expect(await ids({ where: ['eval/knn>0.5', 'eval/accuracy>0.5'] })).toEqual([b]);
  const paged: string[] = [];
  for await (const { id } of client.eachSweep({ tag: 'x', sort: '-metric:eval/accuracy', limit: 1 })) paged.push(id);
  expect(paged).toEqual([a, b, ...[c, d, e].toSorted().toReversed()]);
  await expect(client.sweeps({ where: ['knn'] })).rejects.toMatchObject({ status: 422 });
  await expect(client.sweeps({ cursor: 'abc' })).rejects.toMatchObject({ status: 422 });
});
