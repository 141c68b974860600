/** The API in a test's own process, for tests of the HTTP contract that play the workers themselves. */
import { Database, loadEnv, Runs } from '#libs/platform';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { inject } from 'vitest';
import { createApplication } from '../../apps/api/src/application.js';
import { freshDatabase } from './database.js';
import { knowShapes, shapes } from './shapes.js';

export interface RunView {
  id: string;
  status: string;
  name: string | null;
}
export type Api = Awaited<ReturnType<typeof startApi>>;

/** A run on the dataset that every such API knows. */
export const pretrain = { kind: 'pretrain', dataset: 'shapes', batchSize: 32 };

export const json = async <T>(response: Response | Promise<Response>): Promise<T> =>
  (await (await response).json()) as T;

/** An API on an empty database that knows the dataset `shapes`, without its test split, with `dir` for its files. */
export async function startApi(environment: Record<string, string> = {}) {
  const dir = await mkdtemp(path.join(tmpdir(), 'loom-api-'));
  const home = await freshDatabase();
  const env = loadEnv({
    DATABASE_URL: home.url,
    REDIS_URL: inject('redisUrl'),
    LOOM_PORT: '0',
    LOOM_LOG_LEVEL: 'silent',
    LOOM_QUEUE: `test-${randomUUID()}`,
    LOOM_ARTIFACTS_DIR: dir,
    LOOM_DATA_ROOT: dir,
    ...environment,
  });
  const app = await createApplication(env);
  await app.listen(0, '127.0.0.1');
  const url = await app.getUrl();
  const database = new Database(home.url);
  const runs = new Runs(database, env);
  const { test: _, ...splits } = shapes.splits;
  await knowShapes(runs, { ...shapes, splits });

  const post = (to: string, body: unknown, headers: Record<string, string> = {}) =>
    fetch(url + to, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
  const submit = async (spec: object, more: object = {}) => json<RunView>(post('/v1/runs', { spec, ...more }));

  async function stop(): Promise<void> {
    await app.close();
    await database.close();
    await home.drop();
    await rm(dir, { recursive: true, force: true });
  }

  return { app, dir, url, database, runs, post, submit, stop };
}
