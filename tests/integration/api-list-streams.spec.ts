/** Streams of sweeps and of lists of runs: how they stand, whenever it is otherwise. */
import { LoomClient, type RunsStanding, type SweepStanding } from '#libs/contracts';
import { loadEnv } from '#libs/platform';
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { json, pretrain, startApi, type Api } from '../support/api.js';

let api: Api;
let client: LoomClient;
beforeAll(async () => {
  api = await startApi();
  client = new LoomClient({ url: api.url, retries: 0, retryDelayMs: 50 });
}, 30_000);
afterAll(() => api.stop());

/** Follows runs until the test ends it. */
function follow(filter: Parameters<LoomClient['followRuns']>[0]) {
  const told: RunsStanding[] = [];
  const ending = new AbortController();
  const over = client
    .followRuns(filter, { onChange: (standing) => told.push(standing) }, { signal: ending.signal })
    .catch((error: unknown) => error);
  return {
    told,
    over,
    end: () => {
      ending.abort(new Error('enough'));
      return over;
    },
  };
}

const taken = async (id: string) => (await api.runs.claims.claim({ runId: id, attempt: 1 }, 'w'))!;

test('a list says how many runs are in each status and which have changed, and nothing of others', async () => {
  const mine = await api.submit({ ...pretrain, seed: 1 }, { tags: ['mine'] });
  const { told, end } = follow({ tag: 'mine' });
  await expect.poll(() => told).toEqual([{ counts: { queued: 1 }, changed: [] }]);
  const other = await api.submit({ ...pretrain, seed: 2 }, { tags: ['other'] });
  await client.changeRun(other.id, { notes: 'of no list' });
  const second = await api.submit({ ...pretrain, seed: 3 }, { tags: ['mine'] });
  await expect.poll(() => told.at(-1)).toEqual({ counts: { queued: 2 }, changed: [] });
  const token = await taken(mine.id);
  await expect.poll(() => told.at(-1)?.counts).toEqual({ queued: 1, running: 1 });
  const before = told.length;
  await api.runs.recorder.record(token, { points: [{ key: 'loss', step: 1, value: 2 }] });
  await expect.poll(() => told.length).toBeGreaterThan(before);
  expect(told.at(-1)).toEqual({ counts: { queued: 1, running: 1 }, changed: [mine.id] });
  // What leaves the list changes it too.
  await client.bulkRuns({ action: 'tag', filter: { id: [second.id] }, tags: { remove: ['mine'] } });
  await expect.poll(() => told.at(-1)).toEqual({ counts: { running: 1 }, changed: [] });
  expect(told.flatMap(({ changed }) => changed ?? [])).not.toContain(other.id);
  await api.runs.leases.succeed(token, { metrics: {} });
  await expect.poll(() => told.at(-1)?.counts).toEqual({ succeeded: 1 });
  expect(String(await end())).toContain('enough');
});

test('runs that are named are followed until all have ended', async () => {
  const [one, two] = [await api.submit({ ...pretrain, seed: 11 }), await api.submit({ ...pretrain, seed: 12 })];
  const { told, over } = follow({ id: [one.id, two.id] });
  await expect.poll(() => told.length).toBe(1);
  await client.cancelRun(one.id);
  await expect.poll(() => told.at(-1)?.counts).toEqual({ cancelled: 1, queued: 1 });
  await client.cancelRun(two.id);
  expect(await over).toMatchObject({ counts: { cancelled: 2 } });
});

test('a sweep says its status and counts until it has ended, to those who come late too', async () => {
  const stages = { p: { ...pretrain, kind: 'pretrain' as const, seed: 21 } };
  const { sweep } = await client.submitSweep({
    spec: { name: 'streamed', stages, parameters: { 'p.temperature': { values: [0.1, 0.2] } } },
  });
  const told: SweepStanding[] = [];
  const over = client.followSweep(sweep.id, { onChange: (standing) => told.push(standing) });
  await expect
    .poll(() => told)
    .toEqual([{ id: sweep.id, status: 'running', haltReason: null, runCounts: { queued: 2 }, changed: [] }]);
  await client.pauseSweep(sweep.id);
  await expect.poll(() => told.at(-1)).toMatchObject({ status: 'paused', runCounts: { paused: 2 } });
  const late: SweepStanding[] = [];
  const alsoOver = client.followSweep(sweep.id, { onChange: (standing) => late.push(standing) });
  await expect.poll(() => late).toMatchObject([{ status: 'paused', changed: [] }]);
  await client.cancelSweep(sweep.id);
  for (const ended of await Promise.all([over, alsoOver]))
    expect(ended).toMatchObject({ status: 'cancelled', runCounts: { cancelled: 2 } });
  expect(told.flatMap(({ changed }) => changed ?? [])).toHaveLength(4);
  await expect(client.followSweep(randomUUID(), { onChange: () => undefined })).rejects.toMatchObject({ status: 404 });
});

test('they count among the streams of a client, are found by HEAD, and refuse what is no filter', async () => {
  const { told, end } = follow({ tag: 'nothing' });
  await expect.poll(() => told.length).toBe(1);
  expect(await (await fetch(`${api.url}/metrics`)).text()).toMatch(/^loom_streams 1$/m);
  await end();
  await expect.poll(async () => (await fetch(`${api.url}/metrics`)).text()).toMatch(/^loom_streams 0$/m);
  const head = await fetch(`${api.url}/v1/runs/stream`, { method: 'HEAD' });
  expect([head.status, head.headers.get('content-type')]).toEqual([200, 'text/event-stream']);
  const refused = await fetch(`${api.url}/v1/runs/stream?sort=name`);
  expect([refused.status, (await json<{ code: string }>(refused)).code]).toEqual([422, 'invalid_request']);
  const { clientStreams } = loadEnv({ DATABASE_URL: 'postgresql://x/y', REDIS_URL: 'redis://x' });
  const all = await Promise.all(
    Array.from({ length: clientStreams + 1 }, () => fetch(`${api.url}/v1/runs/stream?tag=nothing`)),
  );
  expect(all.map(({ status }) => status).filter((status) => status !== 200)).toEqual([429]);
  for (const response of all) await response.body?.cancel();
});
