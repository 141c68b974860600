/** The time limit of runs. Workers are played by the test, which makes attempts have begun earlier than they did. */
import { SubmitRun, SubmitSweep } from '#libs/contracts';
import { ProjectStore, type Ask, type ClaimedRun } from '#libs/platform';
import { expect, test } from 'vitest';
import {
  alone,
  database,
  LEASE_MS,
  platform,
  queries,
  sweep,
  sweepQueries,
  sweeps,
  tick,
  useSweeps,
} from '../support/sweeps.js';

const LIMIT = 60;
useSweeps();

const request = (more: object = {}) =>
  SubmitRun.parse({ spec: { kind: 'pretrain', dataset: 'shapes', batchSize: 32 }, maxSeconds: LIMIT, ...more });
async function claimed(runId: string, attempt = 1): Promise<ClaimedRun> {
  const run = await platform.claims.claim({ runId, attempt }, 'w');
  if (!run) throw new Error(`expected run ${runId} to be claimed as attempt ${attempt}`);
  return run;
}
const begun = async (more: object = {}) => claimed((await platform.submission.submitRun(request(more))).runId);
const asked = async (run: ClaimedRun): Promise<Ask | undefined> =>
  (await platform.leases.heartbeat('w', [run])).asked.get(run.runId);
/** Lets so many seconds pass for an attempt. */
const pass = ({ runId, attempt }: ClaimedRun, seconds: number) => database.prisma.$executeRaw`
  UPDATE attempt SET started_at = started_at - make_interval(secs => ${seconds}::float8)
  WHERE run_id = ${runId}::uuid AND attempt = ${attempt}`;
const stateOf = async (runId: string) => {
  const { status, statusReason } = (await queries.run(runId))!;
  return [status, statusReason];
};

test('a heartbeat tells the worker to stop a run beyond its limit, which then ends as timed out', async () => {
  const run = await begun();
  const { runId: child } = await platform.submission.submitRun(
    SubmitRun.parse({ spec: { kind: 'finetune', dataset: 'shapes', from: run.runId, batchSize: 4 } }),
  );
  await pass(run, LIMIT - 30);
  expect(await asked(run)).toBe('go on');
  await pass(run, 31);
  expect(await asked(run)).toBe('time out');
  expect(await platform.leases.release(run)).toBe('timed_out');
  expect(await queries.run(run.runId)).toMatchObject({
    status: 'timed_out',
    statusReason: 'time_limit',
    statusDetail: expect.stringMatching(/^it took 61\.\d s, its time limit is 60 s/) as string,
    maxSeconds: LIMIT,
    finishedAt: expect.any(Date) as Date,
  });
  expect(await database.prisma.attempt.findMany({ where: { runId: run.runId } })).toMatchObject([
    { outcome: 'timed_out', reason: 'time_limit' },
  ]);
  expect(await stateOf(child)).toEqual(['upstream_failed', 'parent_failed']);
  expect(await asked(run)).toBeUndefined();
});

test('attempts count together, and a retry begins afresh', async () => {
  const first = await begun();
  await pass(first, 40);
  expect(await platform.leases.release(first)).toBe('queued');
  const second = await claimed(first.runId, 2);
  expect(await asked(second)).toBe('go on');
  await pass(second, 25);
  expect(await asked(second)).toBe('time out');
  // A failure that would be repeated.
  expect(await platform.leases.fail(second, 'gpu_error', 'it is gone')).toBe('timed_out');
  expect(await platform.claims.claim({ runId: first.runId, attempt: 3 }, 'w')).toBeUndefined();

  await platform.requests.retry(first.runId);
  const third = await claimed(first.runId, 3);
  await pass(third, LIMIT - 30);
  expect(await asked(third)).toBe('go on');
  expect(await platform.leases.release(third)).toBe('queued');
  const fourth = await claimed(first.runId, 4);
  await pass(fourth, 31);
  expect(await asked(fourth)).toBe('time out');
});

test('a cancel goes before the limit, the limit before a pause, and a result before both', async () => {
  const [cancelled, paused, finished] = [
    await begun({ spec: { ...request().spec, seed: 1 } }),
    await begun({ spec: { ...request().spec, seed: 2 } }),
    await begun({ spec: { ...request().spec, seed: 3 } }),
  ];
  for (const run of [cancelled, paused, finished]) await pass(run, LIMIT);
  await platform.requests.cancel(cancelled.runId);
  await platform.requests.pause(paused.runId);
  expect([await asked(cancelled), await asked(paused), await asked(finished)]).toEqual([
    'cancel',
    'time out',
    'time out',
  ]);
  expect([
    await platform.leases.release(cancelled),
    await platform.leases.release(paused),
    await platform.leases.succeed(finished, { metrics: {} }),
  ]).toEqual(['cancelled', 'timed_out', 'succeeded']);
});

test('the leader ends what no worker ends: one is dead, another does not obey', async () => {
  const [dead, deaf, slow] = [
    await begun({ spec: { ...request().spec, seed: 1 } }),
    await begun({ spec: { ...request().spec, seed: 2 } }),
    await begun({ spec: { ...request().spec, seed: 3 } }),
  ];
  for (const run of [dead, deaf, slow]) await pass(run, LIMIT);
  expect(await platform.leases.recoverLost()).toBe(0);
  await database.prisma.$executeRaw`
    UPDATE run SET lease_until = now() - interval '1 second'
    WHERE id = ${dead.runId}::uuid`;
  await pass(deaf, LEASE_MS / 1000);
  expect(await asked(deaf)).toBe('time out');
  expect(await platform.leases.recoverLost()).toBe(2);
  expect([await stateOf(dead.runId), await stateOf(deaf.runId)]).toEqual([
    ['timed_out', 'time_limit'],
    ['timed_out', 'time_limit'],
  ]);
  // What the leader leaves to its worker yet, and what its worker holds no more.
  expect([await asked(slow), await asked(deaf)]).toEqual(['time out', undefined]);
});

test("a project's limit is that of runs submitted without one; one that is attached to keeps its own", async () => {
  const projects = new ProjectStore(database);
  expect(await projects.put('brief', { maxSeconds: 5 })).toMatchObject({ maxSeconds: 5, maxRunning: null });
  expect(await projects.put('brief', { weight: 2 })).toMatchObject({ maxSeconds: 5, weight: 2 });
  const limitOf = async (more: object) => {
    const { runId, outcome } = await platform.submission.submitRun(request({ project: 'brief', ...more }));
    return [outcome, (await queries.run(runId))!.maxSeconds];
  };
  expect(await limitOf({ maxSeconds: undefined })).toEqual(['created', 5]);
  expect(await limitOf({ maxSeconds: 7 })).toEqual(['reused', 5]);
  expect(await limitOf({ maxSeconds: 7, onDuplicate: 'replicate' })).toEqual(['created', 7]);
  expect(await projects.put('brief', { maxSeconds: null })).toMatchObject({ maxSeconds: null });
  expect(await limitOf({ maxSeconds: undefined, onDuplicate: 'replicate' })).toEqual(['created', null]);
});

test("a sweep's limit is that of each of its runs, also of those that start later, and of its clone's", async () => {
  const { sweepId } = await sweeps.submit(
    SubmitSweep.parse({
      ...sweep({ ...alone, parallel_trials: 1, parameters: { 'pretrain.temperature': { values: [0.1, 0.2] } } }),
      maxSeconds: LIMIT,
    }),
  );
  const limits = async (id: string) => {
    const runs = (await sweepQueries.sweep(id))!.trials.flatMap((trial) => trial.runs);
    return Promise.all(runs.map(async ({ runId }) => (await queries.run(runId))!.maxSeconds));
  };
  expect(await limits(sweepId)).toEqual([LIMIT]);
  const first = (await sweepQueries.sweep(sweepId))!.trials.flatMap((trial) => trial.runs)[0]!;
  await platform.leases.succeed(await claimed(first.runId), { metrics: {} });
  await tick();
  expect(await limits(sweepId)).toEqual([LIMIT, LIMIT]);
  const clone = await sweeps.clone(sweepId, { name: 'clone', on_duplicate: 'replicate' });
  expect(await limits(clone.sweepId)).toEqual([LIMIT]);
});
