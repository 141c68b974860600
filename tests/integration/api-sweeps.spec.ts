/** The HTTP contract, against a real Postgres and Redis: sweeps and projects. */
import { LoomClient, type Problem } from '#libs/contracts';
import { parquetReadObjects } from 'hyparquet';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { extract } from 'tar-stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { json, pretrain, startApi, type Api } from '../support/api.js';

let api: Api;
beforeAll(async () => {
  api = await startApi();
}, 30_000);
afterAll(() => api.stop());

test('a sweep is planned, changed, paused, resumed, cloned and cancelled; a run says why it is no other', async () => {
  const client = new LoomClient({ url: api.url });
  const stage = { ...pretrain, kind: 'pretrain' as const, seed: 7777 };
  const spec = {
    name: 'live',
    parallel_trials: 1,
    stages: { p: stage },
    parameters: { 'p.temperature': { values: [0.1, 0.2, 0.3] } },
  };
  expect(await client.planSweep({ spec })).toMatchObject({
    trials: 3,
    newRuns: { pretrain: 3 },
    estimate: { slots: 0, wallSeconds: null },
  });
  const { sweep } = await client.submitSweep({ spec });
  expect(await client.sweep(sweep.id)).toMatchObject({
    status: 'running',
    trialCounts: { running: 1, held: 2 },
    gpuSeconds: 0,
    haltReason: null,
  });
  expect((await client.pauseSweep(sweep.id)).status).toBe('paused');
  expect((await client.changeSweep(sweep.id, { parallel_trials: 2 })).spec.parallel_trials).toBe(2);
  await expect(client.changeSweep(sweep.id, { parallel_trials: 0 })).rejects.toThrow(
    /parallel_trials: expected at least 1, got 0/,
  );
  expect((await client.resumeSweep(sweep.id)).status).toBe('running');
  await expect
    .poll(async () => (await client.sweep(sweep.id)).trialCounts, { timeout: 10_000 })
    .toEqual({ running: 2, held: 1 });
  expect(await client.retrySweep(sweep.id)).toEqual({ done: 0, skipped: {} });
  const clone = await client.cloneSweep(sweep.id, {
    name: 'twin',
    parameters: { 'p.temperature': { values: [0.1, 0.4] } },
  });
  expect(clone).toMatchObject({
    created: true,
    sweep: { name: 'twin', plan: { newRuns: { pretrain: 1 }, reused: { pretrain: 1 } } },
  });
  await expect(client.cloneSweep(sweep.id, { method: 'dance' })).rejects.toThrow(/changes\.method/);
  const [one, two] = (await client.sweep(sweep.id)).trials.flatMap(({ runs }) => runs.map(({ runId }) => runId));
  expect(await client.why(one!, two)).toMatchObject({
    reused: false,
    differences: [{ field: 'temperature', here: 0.1, there: 0.2 }],
  });
  expect(await client.whySubmission({ spec: { ...stage, temperature: 0.2 } })).toMatchObject({
    against: two,
    reused: true,
  });
  expect((await client.sweepCsv(sweep.id)).split('\r\n')[0]).toBe('trial,status,p.temperature,p:run,p:reused,p:status');
  expect((await fetch(`${api.url}/v1/sweeps/${sweep.id}/trials.csv`)).headers.get('content-type')).toBe(
    'text/csv; charset=utf-8',
  );
  const exported = async (file: Parameters<LoomClient['exportSweep']>[1]) =>
    Buffer.from(await new Response(await client.exportSweep(sweep.id, file)).arrayBuffer());
  expect(JSON.parse((await exported('trials.json')).toString())).toMatchObject([
    { trial: 0, 'p.temperature': 0.1, 'p:run': one },
    { trial: 1, 'p:run': two },
    { trial: 2, status: 'held' },
  ]);
  const rows: Record<string, unknown>[] = await parquetReadObjects({
    file: new Uint8Array(await exported('trials.parquet')).buffer,
  });
  expect(rows.map((row) => row['p.temperature'])).toEqual([0.1, 0.2, 0.3]);
  const files = new Map<string, string>();
  for await (const entry of Readable.from([await exported('mlflow.tar')]).pipe(extract()))
    files.set(entry.header.name, await text(entry));
  expect([...files.keys()].filter((name) => name.endsWith('/meta.yaml'))).toHaveLength(1 + 3 + 2);
  expect([...files].find(([name]) => name.endsWith(`${one!.replaceAll('-', '')}/params/temperature`))?.[1]).toBe('0.1');
  for (const file of ['trials.csv', 'trials.json', 'trials.parquet', 'mlflow.tar'] as const)
    await expect(client.exportSweep(one!, file)).rejects.toMatchObject({ code: 'not_found' });
  for (const id of [sweep.id, clone.sweep.id]) await client.cancelSweep(id);
  expect((await client.sweep(sweep.id)).status).toBe('cancelled');
});

test('projects are made, changed and listed; runs and sweeps are submitted to them, and to no other', async () => {
  const client = new LoomClient({ url: api.url, retries: 0 });
  expect(await client.putProject('vision', { weight: 2.5, maxRunning: 4 })).toMatchObject({
    name: 'vision',
    weight: 2.5,
    maxRunning: 4,
    gpuSeconds: null,
    running: 0,
    waiting: 0,
    gpuSecondsUsed: 0,
  });
  await expect(client.putProject('vision', { weight: 0 })).rejects.toMatchObject({
    status: 422,
    problem: { errors: [{ path: 'weight' }] },
  });
  await expect(client.putProject('no/name', {})).rejects.toMatchObject({ status: 422 });
  const { run } = await client.submitRun({ project: 'vision', spec: { ...pretrain, seed: 71 } as never });
  expect(run).toMatchObject({ project: 'vision', status: 'queued', waitsFor: 'slot' });
  expect(run.jobsAhead).toBeGreaterThanOrEqual(0);
  expect((await client.runs({ project: 'vision' })).items.map(({ id }) => id)).toEqual([run.id]);
  expect((await client.projects()).map(({ name, waiting }) => [name, waiting])).toContainEqual(['vision', 1]);
  const refused = await api.post('/v1/runs', { spec: { ...pretrain, seed: 72 }, project: 'nobody' });
  expect([refused.status, (await json<Problem>(refused)).errors]).toEqual([
    422,
    [{ path: 'project', message: expect.stringMatching(/\(default, vision\), got nobody/) as string }],
  ]);
  const etag = async () => (await fetch(`${api.url}/v1/runs/${run.id}`)).headers.get('etag');
  expect(await etag()).toBe(await etag());
  expect((await client.cancelRun(run.id)).waitsFor).toBeNull();
  expect(await (await fetch(`${api.url}/metrics`)).text()).toMatch(
    /loom_project_runs\{project="vision",state="waiting"\} 0/,
  );
});
