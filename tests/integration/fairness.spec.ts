/**
 * Projects share the workers: who is let into Redis, and whose quota holds. Workers are played.
 */
import { RunFilter, SubmitSweep } from '#libs/contracts';
import { ClaimRefusedError, RequestError, SweepQueries, SweepStore, type ClaimedRun } from '#libs/platform';
import { beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';

import {
  admit,
  copies,
  database,
  platform,
  pretrain,
  projects,
  queries,
  submit,
  submitMany,
  told,
  useProjects,
  worker,
} from '../support/projects.js';

let sweepQueries: SweepQueries;

useProjects();
beforeAll(() => {
  sweepQueries = new SweepQueries(database);
});

test('a project is made, changed and read; one that is not there is refused with those that are', async () => {
  expect(await projects.put('vision', { weight: 3, maxRunning: 2 })).toMatchObject({
    name: 'vision',
    weight: 3,
    maxRunning: 2,
    gpuSeconds: null,
    running: 0,
    waiting: 0,
    gpuSecondsUsed: 0,
  });
  expect(await projects.put('vision', { gpuSeconds: 10 })).toMatchObject({ weight: 3, maxRunning: 2, gpuSeconds: 10 });
  expect(await projects.put('vision', { maxRunning: null, weight: 1 })).toMatchObject({
    weight: 1,
    maxRunning: null,
    gpuSeconds: 10,
  });
  for (const refused of [
    platform.submission.submitRun(pretrain({ project: 'speech' })),
    platform.submission.planRun(pretrain({ project: 'speech' })),
  ]) {
    await expect(refused).rejects.toMatchObject({
      code: 'invalid_request',
      faults: [{ path: ['project'], message: expect.stringMatching(/\(default, vision\), got speech/) as string }],
    });
  }
  const run = await submit('vision');
  // Also where the line was read just before the project was there.
  await queries.run(await submit('default'));
  await projects.put('newest', {});
  expect(await queries.run(await submit('newest'))).toMatchObject({ project: 'newest', waitsFor: 'slot' });
  expect(await queries.run(run)).toMatchObject({ project: 'vision', status: 'queued' });
  expect(
    (await queries.runs({ project: 'vision', limit: 9, status: undefined, kind: undefined })).items.map(({ id }) => id),
  ).toEqual([run]);
  expect(
    await platform.bulk.planBulk({
      action: 'cancel',
      filter: RunFilter.parse({ project: 'vision' }),
      cursor: undefined,
    }),
  ).toMatchObject({ done: 1 });
  expect((await projects.list()).map(({ name, waiting }) => [name, waiting])).toEqual([
    ['default', 1],
    ['newest', 1],
    ['vision', 1],
  ]);
});

test(
  'an equal run of another project is shared, and stays with the one that submitted it first; a sweep takes its ' +
    'project to its runs',
  async () => {
    await projects.put('vision', {});
    const request = pretrain();
    const first = await platform.submission.submitRun(request);
    expect(await platform.submission.submitRun({ ...request, project: 'vision' })).toEqual({
      runId: first.runId,
      outcome: 'reused',
    });
    expect((await queries.run(first.runId))!.project).toBe('default');
    const sweeps = new SweepStore(database, platform);
    const sweep = SubmitSweep.parse({
      project: 'vision',
      spec: {
        name: 's',
        stages: { pretrain: { kind: 'pretrain', dataset: 'shapes', batchSize: 16 } },
        parameters: { 'pretrain.seed': { values: [1, 2] } },
        metric: { name: 'eval/knn' },
      },
    });
    const { sweepId } = await sweeps.submit(sweep);
    expect(await sweepQueries.sweep(sweepId)).toMatchObject({ project: 'vision', runCounts: { queued: 2 } });
    expect((await projects.list()).find(({ name }) => name === 'vision')).toMatchObject({ waiting: 2 });
    await expect(sweeps.submit({ ...sweep, project: 'speech' })).rejects.toBeInstanceOf(RequestError);
    const clone = await sweeps.clone(sweepId, { name: 'again', on_duplicate: 'replicate' });
    expect(await sweepQueries.sweep(clone.sweepId)).toMatchObject({ project: 'vision', runCounts: { queued: 2 } });
  },
);

test(
  'Redis holds a short window: a job for each free slot and one more, in the order of priority and age; who is ' +
    'refused leaves it',
  async () => {
    const ids = await submitMany('default', 12);
    const urgent = await submit('default', { priority: 90 });
    expect(await admit()).toHaveLength(1);
    expect(await admit()).toEqual([]);
    await worker('w', 4);
    const more = await admit();
    expect(more.map(({ runId }) => runId)).toEqual(ids.slice(0, 4));
    expect(await admit()).toEqual([]);
    // A claim moves a job from the window into a slot; only an end makes room.
    const claims = [urgent, ...ids.slice(0, 3)].map((runId) => platform.claims.claim({ runId, attempt: 1 }, 'w'));
    await Promise.all(claims);
    await platform.outbox.offerAgain({ runId: ids[3]!, attempt: 1 });
    await eventually(async () => {
      expect((await platform.outbox.takeDispatchable(1)).map(({ runId }) => runId)).toEqual([ids[3]]);
    });
    // Four were taken within the last second: as many are kept ready.
    expect((await admit()).length).toBeLessThanOrEqual(4);
  },
);

test('a run that nobody can take keeps no other out; one that only busy workers can take has its turn', async () => {
  await worker('plain', 2);
  const nowhere = await submitMany('default', 5, { requires: { labels: { gpu: 'h100' } }, priority: 100 });
  const anywhere = await submitMany('default', 5);
  expect((await admit()).map(({ runId }) => runId)).toEqual(anywhere.slice(0, 3));
  expect(await told(nowhere[0]!)).toMatchObject({ waitsFor: 'placement', predictedStartAt: null });
  await worker('gpu', 1, { gpu: 'h100' });
  expect((await admit()).map(({ runId }) => runId)).toEqual([nowhere[0]]);
  expect(await admit(50)).toHaveLength(2);
  for (const runId of anywhere.slice(0, 2)) await platform.claims.claim({ runId, attempt: 1 }, 'plain');
  await platform.claims.claim({ runId: anywhere[2]!, attempt: 1 }, 'gpu');
  // No slot is free: the one that waits for the GPU may still be the next that it takes, and a second may not.
  await platform.requests.cancel(nowhere[0]!);
  expect((await admit(50)).map(({ runId }) => runId)).toEqual([nowhere[1]]);
  expect(await admit(50)).toEqual([]);
});

test('a quota of runs holds whoever has admitted them; a claim beyond it is refused and offered again', async () => {
  await projects.put('small', { maxRunning: 3 });
  const ids = await submitMany('small', 12);
  await worker('w', 12);
  expect(await admit()).toHaveLength(3);
  expect(await admit()).toEqual([]);
  // A second leader that has not seen any of it: all are in Redis, and twelve workers take one each at one moment.
  const outcomes = await Promise.allSettled(ids.map((runId) => platform.claims.claim({ runId, attempt: 1 }, 'w')));
  const taken = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' && outcome.value ? [outcome.value] : []));
  expect(taken).toHaveLength(3);
  expect(
    outcomes.filter((outcome) => outcome.status === 'rejected' && outcome.reason instanceof ClaimRefusedError),
  ).toHaveLength(9);
  expect((await projects.list()).find(({ name }) => name === 'small')).toMatchObject({ running: 3, waiting: 9 });
  const waits = ids.find((id) => !taken.some(({ runId }) => runId === id))!;
  expect(await told(waits)).toMatchObject({ waitsFor: 'max_running' });
  await projects.put('small', { maxRunning: 4 });
  await eventually(async () => {
    expect(await admit()).toHaveLength(1);
  });
  await projects.put('small', { maxRunning: 0 });
  await platform.leases.succeed(taken[0]!, { metrics: {} });
  expect(await admit()).toEqual([]);
  expect(await told(waits)).toMatchObject({ waitsFor: 'max_running', predictedStartAt: null });
});

test('what workers spend on its runs is charged to a project once; beyond its quota nothing more starts', async () => {
  await projects.put('broke', { gpuSeconds: 100 });
  const [first, second] = (await submitMany('broke', 2)) as [string, string];
  await worker('w', 4);
  await admit();
  const token = (await platform.claims.claim({ runId: first, attempt: 1 }, 'w'))!;
  await database.prisma
    .$executeRaw`UPDATE attempt SET started_at = now() - interval '60 s' WHERE run_id = ${first}::uuid`;
  const used = async () => (await projects.list()).find(({ name }) => name === 'broke')!.gpuSecondsUsed;
  expect(await used()).toBeCloseTo(60, 0);
  await platform.leases.release(token);
  await projects.charge();
  expect(await used()).toBeCloseTo(60, 0);
  await database.prisma.$executeRaw`
      UPDATE attempt SET started_at = started_at - interval '70 s', ended_at = ended_at - interval '20 s'
      WHERE run_id = ${first}::uuid`;
  await Promise.all([projects.charge(), projects.charge()]);
  await projects.charge();
  expect(await used()).toBeCloseTo(110, 0);
  await database.prisma.$executeRaw`UPDATE outbox SET dispatched_at = NULL`;
  expect(await admit()).toEqual([]);
  expect(await told(second)).toMatchObject({ waitsFor: 'gpu_seconds', predictedStartAt: null });
  await projects.put('broke', { gpuSeconds: null });
  expect(await admit()).toHaveLength(2);
});

test(
  'a flood of one project, and a few runs of another: half of the starts are its own; with weights they are as ' +
    'these, and each starts once',
  async () => {
    await projects.put('flood', {});
    await projects.put('few', {});
    await copies(await submit('flood'), 'flood', 100);
    await worker('w', 4);
    const running: ClaimedRun[] = [];
    /** One more start, as workers on four slots make it: in the order in which they were put into Redis. */
    const redis: { runId: string; attempt: number }[] = [];
    const start = async (): Promise<string> => {
      if (running.length === 4) await platform.leases.succeed(running.shift()!, { metrics: {} });
      redis.push(...(await admit()));
      const next = redis.shift()!;
      running.push((await platform.claims.claim(next, 'w'))!);
      return (await queries.run(next.runId))!.project;
    };
    for (let i = 0; i < 8; i++) expect(await start()).toBe('flood');
    await copies(await submit('few'), 'few', 40);
    const starts: string[] = [];
    for (let i = 0; i < 24; i++) starts.push(await start());
    // What was in Redis before it came, and then the slots until both have as many.
    expect(starts.indexOf('few')).toBeLessThanOrEqual(8);
    const since = starts.slice(starts.indexOf('few'));
    expect(since.filter((project) => project === 'few').length).toBeGreaterThanOrEqual(since.length / 2 - 1);
    await projects.put('few', { weight: 3 });
    const weighted: string[] = [];
    for (let i = 0; i < 28; i++) weighted.push(await start());
    const share = weighted.slice(8).filter((project) => project === 'few').length / 20;
    expect(share).toBeGreaterThanOrEqual(0.6);
    expect(share).toBeLessThanOrEqual(0.9);
  },
  60_000,
);
