/** A request to each route of openapi.json that a healthy API answers with 2xx: for faults that every route meets. */
import type { LoomClient } from '#libs/contracts';
import type { Database, Runs } from '#libs/platform';
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { knowShapes, shapes } from './shapes.js';

/** `GET /v1/runs/{id}`, as the document has it. */
type Route = string;

export interface RouteRequest {
  route: Route;
  method: string;
  path: string;
  /** A file where it is a Buffer, else JSON. */
  body?: unknown;
}

export interface Platform {
  client: LoomClient;
  database: Database;
  runs: Runs;
  artifactsDir: string;
}

const pretrain = { kind: 'pretrain', dataset: 'shapes', batchSize: 32 } as const;
/** Of no run that another sweep has. */
const grid = () => ({
  name: `s-${randomUUID().slice(0, 8)}`,
  stages: { pretrain: { ...pretrain, epochs: 1 } },
  parameters: { 'pretrain.temperature': { values: [0.1 + Math.random() / 10, 0.3 + Math.random() / 10] } },
});

/** Every route that the document names. */
export async function documented(): Promise<Route[]> {
  const file = path.resolve(import.meta.dirname, '../../openapi.json');
  const { paths } = JSON.parse(await readFile(file, 'utf8')) as { paths: Record<string, Record<string, unknown>> };
  return Object.entries(paths).flatMap(([at, item]) =>
    Object.keys(item).map((method) => `${method.toUpperCase()} ${at}`),
  );
}

/** A run that waits. */
async function waiting({ client }: Platform): Promise<string> {
  const { run } = await client.submitRun({ spec: pretrain, onDuplicate: 'replicate' });
  return run.id;
}

/** A run that a played worker has, whose trainer has begun. */
async function running(platform: Platform) {
  const id = await waiting(platform);
  const claim = await platform.runs.claims.claim({ runId: id, attempt: 1 }, 'played');
  if (!claim) throw new Error('expected a claim');
  await platform.runs.recorder.begin(claim, null, 10);
  return { id, claim };
}

/** A run that has succeeded with a file, a point and a line. */
async function succeeded(platform: Platform): Promise<{ id: string; artifact: string }> {
  const { id, claim } = await running(platform);
  const bytes = Buffer.from('what it made');
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const file = path.join(platform.artifactsDir, 'sha256', sha256.slice(0, 2), sha256);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, bytes);
  const about = { name: 'm.bin', kind: 'report', mime: 'application/octet-stream', step: null } as const;
  const { recorder, leases } = platform.runs;
  await recorder.addArtifact(claim, { ...about, sha256, sizeBytes: bytes.length });
  await recorder.record(claim, {
    points: [{ key: 'train/loss', step: 1, value: 1 }],
    lines: [{ level: 'info', message: 'a line' }],
  });
  await leases.succeed(claim, { metrics: {} });
  const { items } = await platform.client.artifacts(id);
  return { id, artifact: items[0]!.id };
}

const sweepOf = async ({ client }: Platform): Promise<string> => (await client.submitSweep({ spec: grid() })).sweep.id;

async function spareDataset({ runs }: Platform): Promise<string> {
  const digest = createHash('sha256').update(randomUUID()).digest('hex');
  await knowShapes(runs, { ...shapes, name: `spare-${digest.slice(0, 8)}`, digest });
  return `spare-${digest.slice(0, 8)}@${digest.slice(0, 12)}`;
}

/** A model that a played worker has taken in. */
async function modelOf(platform: Platform): Promise<string> {
  const { run } = await platform.client.submitRun({
    spec: { kind: 'import-model', name: 'resnet', path: 'w.safetensors' },
  });
  const claim = await platform.runs.claims.claim({ runId: run.id, attempt: 1 }, 'played');
  if (!claim) throw new Error('expected a claim');
  await platform.runs.recorder.begin(claim, null, 10);
  const digest = createHash('sha256').update(randomUUID()).digest('hex');
  await platform.runs.leases.succeed(claim, {
    metrics: {},
    model: {
      name: 'resnet',
      digest,
      encoder: { name: 'resnet18', width: 64 },
      sample: { modality: 'image', height: 32, width: 32, channels: 3 },
      parameters: 11_000_000,
      weights: digest,
    },
  });
  return `resnet@${digest.slice(0, 12)}`;
}

async function workerOf({ runs }: Platform): Promise<string> {
  const id = `w-${randomUUID().slice(0, 8)}`;
  await runs.workers.registerWorker({ id, host: 'played', pid: 1, slots: 0, versions: {} });
  return id;
}

/** A request to each route, and what it acts on: made anew by each call, the dataset `shapes` has to be known. */
export async function everyRoute(platform: Platform): Promise<RouteRequest[]> {
  const { client } = platform;
  const done = await succeeded(platform);
  const gone = await succeeded(platform);
  const trained = await running(platform);
  const [toCancel, toPause, toResume, toRetry] = await Promise.all([1, 2, 3, 4].map(() => waiting(platform)));
  await client.pauseRun(toResume!);
  await client.cancelRun(toRetry!);
  const sweeps = await Promise.all([1, 2, 3, 4, 5, 6, 7].map(() => sweepOf(platform)));
  const [known, paused, ended, changed, pausing, cancelling, over] = sweeps;
  await client.pauseSweep(paused!);
  for (const id of [ended!, over!]) await client.cancelSweep(id);
  const [spare, worker] = [await spareDataset(platform), await workerOf(platform)];
  const view = `v-${randomUUID().slice(0, 8)}`;
  await client.putSavedView(view, {});
  const page = { title: 'What we saw', blocks: [{ type: 'table' as const, runs: [done.id], columns: ['status'] }] };
  const [report, torn] = [await client.addReport(page), await client.addReport(page)];
  const [model, unused] = [await modelOf(platform), await modelOf(platform)];
  const [run, sweep] = [`/v1/runs/${done.id}`, `/v1/sweeps/${known}`];
  const list: [Route, string?, unknown?][] = [
    ['POST /v1/runs', undefined, { spec: pretrain, onDuplicate: 'replicate' }],
    ['GET /v1/runs'],
    ['POST /v1/runs/bulk', undefined, { action: 'tag', filter: {}, tags: { add: [`t-${randomUUID()}`] } }],
    ['POST /v1/runs/why', undefined, { spec: pretrain }],
    ['GET /v1/runs/{id}/why', `${run}/why`],
    ['GET /v1/runs/counts'],
    ['GET /v1/runs/groups', '/v1/runs/groups?by=spec:method&metric=train/loss'],
    ['GET /v1/runs/stream', `/v1/runs/stream?id=${done.id}`],
    ['GET /v1/runs/{id}', run],
    ['PATCH /v1/runs/{id}', run, { notes: 'looked at' }],
    ['DELETE /v1/runs/{id}', `/v1/runs/${gone.id}`],
    ['GET /v1/runs/{id}/events', `${run}/events`],
    ['GET /v1/runs/{id}/metrics', `${run}/metrics`],
    [
      'POST /v1/runs/{id}/metrics',
      `/v1/runs/${trained.id}/metrics`,
      { attempt: 1, points: [{ key: 'x', step: 1, value: 2 }] },
    ],
    ['GET /v1/runs/{id}/logs', `${run}/logs`],
    ['GET /v1/runs/{id}/artifacts', `${run}/artifacts`],
    ['PUT /v1/runs/{id}/artifacts/{name}', `${run}/artifacts/n-${randomUUID()}.txt`, Buffer.from('what was seen')],
    ['GET /v1/runs/{id}/artifacts/{artifactId}/content', `${run}/artifacts/${done.artifact}/content`],
    ['GET /v1/runs/{id}/stream', `${run}/stream`],
    ['POST /v1/runs/{id}/cancel', `/v1/runs/${toCancel}/cancel`],
    ['POST /v1/runs/{id}/pause', `/v1/runs/${toPause}/pause`],
    ['POST /v1/runs/{id}/resume', `/v1/runs/${toResume}/resume`],
    ['POST /v1/runs/{id}/retry', `/v1/runs/${toRetry}/retry`],
    ['POST /v1/runs/{id}/archive', `${run}/archive`],
    ['POST /v1/runs/{id}/unarchive', `${run}/unarchive`],
    ['POST /v1/sweeps', undefined, { spec: grid() }],
    ['GET /v1/sweeps'],
    ['GET /v1/sweeps/{id}', sweep],
    ['PATCH /v1/sweeps/{id}', `/v1/sweeps/${changed}`, { parallel_trials: 1 }],
    ...['trials', 'results', 'rungs', 'trials.csv', 'trials.json', 'trials.parquet', 'mlflow.tar'].map(
      (view): [Route, string] => [`GET /v1/sweeps/{id}/${view}`, `${sweep}/${view}`],
    ),
    ['GET /v1/sweeps/{id}/stream', `/v1/sweeps/${over}/stream`],
    ['DELETE /v1/sweeps/{id}', `/v1/sweeps/${ended}`],
    ['POST /v1/sweeps/{id}/pause', `/v1/sweeps/${pausing}/pause`],
    ['POST /v1/sweeps/{id}/resume', `/v1/sweeps/${paused}/resume`],
    ['POST /v1/sweeps/{id}/retry', `${sweep}/retry`],
    ['POST /v1/sweeps/{id}/clone', `${sweep}/clone`, { changes: { name: 'again' } }],
    ['POST /v1/sweeps/{id}/archive', `/v1/sweeps/${over}/archive`],
    ['POST /v1/sweeps/{id}/unarchive', `/v1/sweeps/${over}/unarchive`],
    ['POST /v1/sweeps/{id}/cancel', `/v1/sweeps/${cancelling}/cancel`],
    ['GET /v1/data-root'],
    ['GET /v1/datasets'],
    ['GET /v1/datasets/{reference}', '/v1/datasets/shapes'],
    ['DELETE /v1/datasets/{reference}', `/v1/datasets/${encodeURIComponent(spare)}`],
    ['GET /v1/models'],
    ['GET /v1/models/{reference}', `/v1/models/${encodeURIComponent(model)}`],
    ['DELETE /v1/models/{reference}', `/v1/models/${encodeURIComponent(unused)}`],
    ['GET /v1/workers'],
    ['POST /v1/workers/{id}/drain', `/v1/workers/${worker}/drain`],
    ['POST /v1/artifacts/collect'],
    ['GET /v1/projects'],
    ['PUT /v1/projects/{name}', '/v1/projects/team', { weight: 2 }],
    ['GET /v1/saved-views'],
    ['PUT /v1/saved-views/{name}', '/v1/saved-views/kept', { status: 'running' }],
    ['DELETE /v1/saved-views/{name}', `/v1/saved-views/${view}`],
    ['GET /v1/reports'],
    ['POST /v1/reports', undefined, page],
    ['GET /v1/reports/{id}', `/v1/reports/${report.id}`],
    ['GET /v1/reports/{id}/html', `/v1/reports/${report.id}/html`],
    ['PUT /v1/reports/{id}', `/v1/reports/${report.id}`, { ...page, version: 1 }],
    ['DELETE /v1/reports/{id}', `/v1/reports/${torn.id}`],
    ['GET /v1/references', '/v1/references?text=shapes'],
    ['GET /healthz'],
    ['GET /readyz'],
    ['GET /schemas/{name}', '/schemas/sweep'],
    ['GET /metrics'],
  ];
  return list.map(([route, at, body]) => {
    const [method, documentedAt] = route.split(' ') as [string, string];
    return { route, method, path: at ?? documentedAt, ...(body !== undefined && { body }) };
  });
}
