/** `loom watch` of a sweep, on an API whose workers the test plays. */
import { LoomClient } from '#libs/contracts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { pretrain, startApi, type Api } from '../support/api.js';
import { eventually } from '../support/eventually.js';
import { piped } from '../support/terminal.js';

let api: Api;
let client: LoomClient;
beforeAll(async () => {
  api = await startApi();
  client = new LoomClient({ url: api.url, retries: 0 });
}, 60_000);
afterAll(() => api.stop());

const submitted = async (name: string, seeds: number[]) =>
  (
    await client.submitSweep({
      spec: {
        name,
        stages: { p: { ...pretrain, kind: 'pretrain' } },
        parameters: { 'p.seed': { values: seeds } },
        metric: { name: 'eval/knn' },
        parallel_trials: 2,
      },
    })
  ).sweep.id;
/** Begins the run of a trial, when the sweep has started it. */
const begun = async (sweepId: string, trial: number) => {
  const run = await eventually(async () => {
    const [only] = (await client.sweep(sweepId)).trials[trial]!.runs;
    expect(only).toBeDefined();
    return only!.runId;
  });
  return (await api.runs.claims.claim({ runId: run, attempt: 1 }, 'w'))!;
};
const watch = (id: string) => piped(['watch', id], { cwd: api.dir, env: { LOOM_URL: api.url } });

test('a run that starts later is followed from its start, though another still goes on', async () => {
  const id = await submitted('later', [1, 2, 3]);
  const { soFar, ended } = watch(id);
  const [long, short] = [await begun(id, 0), await begun(id, 1)];
  await eventually(() => expect(soFar.stdout).toMatch(/later-p-0 +running[^]*later-p-1 +running/));
  await api.runs.leases.succeed(short, { metrics: { 'eval/knn': 0.2 } });
  const last = await begun(id, 2);
  await eventually(() => expect(soFar.stdout).toMatch(/later-p-2 +running/));
  for (const token of [last, long]) await api.runs.leases.succeed(token, { metrics: { 'eval/knn': 0.1 } });
  const { code, stderr, stdout } = await ended;
  expect([code, stderr]).toEqual([0, '']);
  expect(stdout).toMatch(/later-p-0 +succeeded[^]*kNN\n/);
}, 90_000);

test('one that fails makes it a failure, and one that is paused with nothing under way is not waited for', async () => {
  const failing = await submitted('failing', [11]);
  const first = watch(failing);
  await api.runs.leases.fail(await begun(failing, 0), 'invalid_data', 'no images');
  expect((await first.ended).code).toBe(1);

  const paused = await submitted('paused', [21, 22, 23]);
  const tokens = [await begun(paused, 0), await begun(paused, 1)];
  const second = watch(paused);
  await eventually(() => expect(second.soFar.stdout).toMatch(/paused-p-1 +running/));
  const pausing = client.pauseSweep(paused);
  for (const token of tokens) await api.runs.leases.succeed(token, { metrics: { 'eval/knn': 0.1 } });
  await pausing;
  expect((await second.ended).code).toBe(1);
}, 90_000);
