/** Postgres behind a pooler, Redis that is a cluster or a Sentinel: rows of docs/reliability.md. */
import { Database } from '#libs/platform';
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { startPooler, type Pooler } from '../support/pooler.js';
import { freePort, type Started } from '../support/processes.js';
import { prepareStripes, SHORT } from '../support/small-runs.js';
import { startStack, type Stack } from '../support/stack.js';

let stack: Stack;
const poolers: Pooler[] = [];
const servers: ChildProcess[] = [];

beforeAll(async () => {
  stack = await startStack();
  await prepareStripes(stack);
}, 90_000);
afterEach(async () => {
  await stack?.killWorkers();
  for (const pooler of poolers.splice(0)) await pooler.close();
  for (const server of servers.splice(0)) server.kill('SIGKILL');
});
afterAll(() => stack?.stop());

async function pooler(options: Parameters<typeof startPooler>[1] = {}): Promise<string> {
  const started = await startPooler(stack.database.url, options);
  poolers.push(started);
  return started.url;
}
/** Waits until a process has refused to go on. */
const refuses = (app: Started) =>
  eventually(() => expect(app.child.exitCode, app.output()).toBe(1), { timeoutMs: 30_000 });

test.each([
  ['lends the same session to all', { servers: 4 }],
  ['has one session', { servers: 1 }],
  ['lends two in turn', { servers: 2, inTurn: true }],
  ['lends three in turn', { servers: 3, inTurn: true }],
])('#58 a pooler by transaction that %s is known as one', async (_, options) => {
  const database = new Database(await pooler(options));
  try {
    await expect(database.requireSessions()).rejects.toThrow('expected a session of its own for each connection');
  } finally {
    await database.close();
  }
});

test('#58 behind a pooler by transaction neither an API nor a worker starts, and both say what to do', async () => {
  const DATABASE_URL = await pooler();
  const api = await stack.startApi({ DATABASE_URL }, [], { waits: false });
  const worker = stack.startWorker({ DATABASE_URL });
  await refuses(api);
  await refuses(worker);
  for (const app of [api, worker])
    expect(app.output()).toContain('set DATABASE_DIRECT_URL to a URL of Postgres itself');
  const again = await stack.startApi({ DATABASE_URL, DATABASE_DIRECT_URL: DATABASE_URL }, [], { waits: false });
  await refuses(again);
  expect(again.output()).toContain('expected a session of its own for each connection to DATABASE_DIRECT_URL');
});

test('#58 the lock of a session is held by both of two behind a pooler, and by one with a direct URL', async () => {
  const url = await pooler();
  const locked = async (database: Database) => {
    const clients = [await database.connect(), await database.connect()];
    try {
      const answers: boolean[] = [];
      for (const client of clients)
        answers.push((await client.query<{ ok: boolean }>('SELECT pg_try_advisory_lock(58) AS ok')).rows[0]!.ok);
      return answers;
    } finally {
      await Promise.all(clients.map((client) => client.end()));
      await database.close();
    }
  };
  const direct = { databaseDirectUrl: stack.database.url };
  expect(await locked(new Database(url, direct))).toEqual([true, false]);
  expect(await locked(new Database(url))).toEqual([true, true]);
});

test('#58 with a direct URL beside it one API leads, streams hear of what happens, and runs are trained', async () => {
  const behind = { DATABASE_URL: await pooler({ servers: 8 }), DATABASE_DIRECT_URL: stack.database.url };
  await stack.api.kill('SIGTERM');
  const apis = [await stack.startApi(behind), await stack.startApi(behind)];
  const leading = async () =>
    (await Promise.all(apis.map(async ({ url }) => (await fetch(`${url}/metrics`)).text()))).filter((text) =>
      /^loom_leader 1$/m.test(text),
    ).length;
  await eventually(async () => expect(await leading()).toBe(1));
  stack.startWorker(behind);
  const { client } = apis[0]!;
  const { run } = await client.submitRun({ spec: SHORT, onDuplicate: 'replicate' });
  expect(await client.follow(run.id)).toMatchObject({ status: 'succeeded', attempt: 1 });
  expect(await leading()).toBe(1);
}, 120_000);

/** A Redis of the system's, with these settings; resolves with its URL when it answers. */
async function redisServer(settings: readonly string[], ...words: string[]): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), 'loom-redis-'));
  const port = await freePort();
  const file = path.join(dir, 'redis.conf');
  await writeFile(file, [`port ${port}`, 'bind 127.0.0.1', `dir ${dir}`, 'save ""', ...settings].join('\n'));
  const server = spawn('redis-server', [file, ...words], { stdio: 'ignore' });
  server.once('exit', () => void rm(dir, { recursive: true, force: true }));
  servers.push(server);
  const url = `redis://127.0.0.1:${port}`;
  const client = new Redis(url, { maxRetriesPerRequest: null });
  client.on('error', () => undefined);
  await client.ping().finally(() => client.disconnect());
  return url;
}

test.each([
  ['a node of a cluster', ['cluster-enabled yes'], [], 'got one in cluster mode, whose nodes each keep a part'],
  ['a Sentinel', [], ['--sentinel'], 'got a Sentinel, which knows where a Redis is and keeps nothing'],
])('#59 %s is refused at the start, with what is expected', async (_, settings, words, found) => {
  const REDIS_URL = await redisServer(settings, ...words);
  const api = await stack.startApi({ REDIS_URL }, [], { waits: false });
  const worker = stack.startWorker({ REDIS_URL });
  await refuses(api);
  await refuses(worker);
  for (const app of [api, worker])
    expect(app.output()).toContain(`to name a Redis that keeps all keys (redis_mode standalone), ${found}`);
});

test('#59 a Redis that is away when an API starts is asked when it comes', async () => {
  const port = await freePort();
  const api = await stack.startApi({ REDIS_URL: `redis://127.0.0.1:${port}` }, [], { waits: false });
  await eventually(async () => expect((await fetch(`${api.url}/healthz`)).status).toBe(200), { timeoutMs: 30_000 });
  const server = spawn('redis-server', ['--port', String(port), '--cluster-enabled', 'yes', '--dir', stack.dir], {
    stdio: 'ignore',
  });
  servers.push(server);
  await refuses(api);
});
