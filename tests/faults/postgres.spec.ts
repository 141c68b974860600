/** Faults of Postgres and of the way to it. The numbers are rows of the table in docs/reliability.md. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { ownPostgres, type OwnServer } from '../support/own-services.js';
import { isRunning } from '../support/processes.js';
import { startProxy, type Proxy } from '../support/proxy.js';
import { checkpointAt, expectKeptPromises, LONG, MEDIUM, prepareStripes, SHORT } from '../support/small-runs.js';
import { startStack, type Stack } from '../support/stack.js';

let postgres: OwnServer;
let stack: Stack;
let way: (Proxy & { url: string }) | undefined;

beforeAll(async () => {
  postgres = await ownPostgres();
  stack = await startStack({
    environment: { DATABASE_URL: postgres.url, LOOM_CHECKPOINT_SECONDS: '0.4', LOOM_NETWORK_TIMEOUT_MS: '2000' },
  });
  await prepareStripes(stack);
}, 120_000);
afterEach(async () => {
  await stack?.clear();
  await way?.close();
  way = undefined;
});
afterAll(async () => {
  await stack?.stop();
  await postgres?.stop();
});

const proves = (...ids: string[]) => expectKeptPromises(stack, ids);
const trainerOf = async (id: string): Promise<number> => (await stack.client.run(id)).attempts.at(-1)!.trainerPid!;
/** A worker with a way to Postgres that only it takes. */
async function workerByItself(more: Record<string, string> = {}) {
  way = await startProxy(postgres.url);
  return stack.startWorker({ DATABASE_URL: way.url, ...more });
}
const status = async (path: string, body?: object): Promise<Response> =>
  fetch(
    `${stack.client.url}${path}`,
    body ? { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) } : {},
  );

test(
  '#11 an immediate restart of Postgres: requests get 503 with Retry-After, the trainer goes on, no ' +
    'metric is lost',
  async () => {
    stack.startWorker({ LOOM_LEASE_MS: '20000' });
    const id = await stack.submit(MEDIUM);
    await stack.runsAt(id, 10);
    const trainer = await trainerOf(id);
    await postgres.kill('SIGQUIT');
    const answers = [await status('/v1/runs'), await status('/v1/runs', { spec: SHORT })];
    for (const answer of answers) {
      expect(answer.status).toBe(503);
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
      expect(await answer.json()).toMatchObject({ code: 'unavailable' });
    }
    expect(await isRunning(trainer)).toBe(true);
    await postgres.start();
    await eventually(async () => expect((await status('/v1/runs')).status).toBe(200), { timeoutMs: 20_000 });
    await stack.ended(id);
    expect((await stack.client.run(id)).attempts).toHaveLength(1);
    await proves(id);
  },
  90_000,
);

test(
  '#12 Postgres away for longer than the lease: the worker stops its trainer by its own clock, and the run goes on ' +
    'from its checkpoint',
  async () => {
    stack.startWorker();
    const id = await stack.submit(LONG);
    await stack.runsAt(id, 10);
    const checkpoint = await checkpointAt(stack.client, id);
    const trainer = await trainerOf(id);
    await postgres.kill('SIGQUIT');
    await eventually(
      async () => {
        if (await isRunning(trainer)) throw new Error('the trainer outlives its lease');
      },
      { timeoutMs: 5000 },
    );
    await postgres.start();
    const run = await stack.goesOnAs(id, 2);
    expect(run.attempts[1]!.resumedFromStep).toBeGreaterThanOrEqual(checkpoint);
    await stack.client.cancelRun(id);
    await stack.ended(id, 'cancelled');
    await proves(id);
  },
  90_000,
);

test(
  '#15 kill -9 between the file of an artifact and its row: nothing is visible, the repeat makes ' +
    'it, and it is whole',
  async () => {
    const worker = await workerByItself();
    const died = Promise.withResolvers<void>();
    const id = await stack.submit({ ...MEDIUM, seed: 15 });
    await stack.runsAt(id, 2);
    way!.when('INSERT INTO artifact', () => {
      way!.freeze();
      died.resolve(worker.kill('SIGKILL'));
    });
    await died.promise;
    expect((await stack.client.artifacts(id)).items.filter(({ attempt }) => attempt > 1)).toEqual([]);
    const before = (await stack.client.artifacts(id)).items.length;
    stack.startWorker();
    await stack.ended(id);
    expect((await stack.client.artifacts(id)).items.length).toBeGreaterThan(before);
    await proves(id);
  },
  90_000,
);

test(
  '#27 a worker that is cut off from Postgres fences itself when its lease has passed; another goes ' + 'on meanwhile',
  async () => {
    await workerByItself();
    const id = await stack.submit(LONG);
    await stack.runsAt(id, 10);
    await checkpointAt(stack.client, id);
    const trainer = await trainerOf(id);
    way!.freeze();
    stack.startWorker();
    await eventually(
      async () => {
        if (await isRunning(trainer)) throw new Error('the trainer outlives its lease');
      },
      { timeoutMs: 5000 },
    );
    // The worker that is cut off still hears Redis, and leaves the run's job to the other.
    const run = await stack.goesOnAs(id, 2);
    // What the first worker had sent arrives now, and finds no row.
    way!.heal();
    await stack.runsAt(id, run.step + 20);
    await stack.client.cancelRun(id);
    expect((await stack.ended(id, 'cancelled')).attempt).toBe(2);
    await proves(id);
  },
  120_000,
);

test(
  '#27 a worker that is cut off from Postgres alone takes no jobs from others, and takes some again when there is a ' +
    'way',
  async () => {
    const lonely = await workerByItself();
    await eventually(() => expect(lonely.output()).toContain('worker ready'), { timeoutMs: 40_000 });
    way!.cut();
    await eventually(() => expect(lonely.output()).toContain('no runs are taken until it does'), { timeoutMs: 20_000 });
    const other = stack.startWorker();
    const ids: string[] = [];
    for (let seed = 270; seed < 273; seed++) ids.push(await stack.submit({ ...SHORT, seed }));
    for (const id of ids) expect((await stack.ended(id)).attempt).toBe(1);
    await other.kill('SIGKILL');
    way!.heal();
    const last = await stack.submit({ ...SHORT, seed: 279 });
    await stack.ended(last);
    await proves(...ids, last);
  },
  120_000,
);

test(
  '#28 a way to Postgres that swallows everything: the API answers 503 within the limit and works once there is a ' +
    'way again, and another leads meanwhile',
  async () => {
    way = await startProxy(postgres.url);
    const api = await stack.startApi({ DATABASE_URL: way.url });
    const leads = async (url: string) => /^loom_leader 1$/m.test(await (await fetch(`${url}/metrics`)).text());
    try {
      // The stack's own API ends, so that the one behind the proxy leads; a third stands by.
      await stack.api.kill('SIGTERM');
      await eventually(async () => expect(await leads(api.client.url)).toBe(true));
      const standby = await stack.startApi();
      way.blackhole();
      const begun = performance.now();
      expect((await fetch(`${api.client.url}/v1/runs`)).status).toBe(503);
      expect(performance.now() - begun).toBeLessThan(30_000);
      // Postgres takes the lock from a leader that says nothing: it would hold it for hours.
      await eventually(async () => expect(await leads(standby.client.url)).toBe(true), { timeoutMs: 30_000 });
      stack.startWorker();
      const { run } = await standby.client.submitRun({ spec: { ...SHORT, seed: 28 } });
      await standby.client.follow(run.id, {}, { signal: AbortSignal.timeout(40_000) });
      way.heal();
      await eventually(async () => expect((await fetch(`${api.client.url}/v1/runs`)).status).toBe(200), {
        timeoutMs: 20_000,
      });
      await proves(run.id);
    } finally {
      await api.kill('SIGKILL');
    }
  },
  120_000,
);
