/**
 * Postgres that is there and of little use while a worker trains: slow, full, read-only, out of connections. That is
 * Postgres being away, and no fault of a run. The numbers are rows of the table in docs/reliability.md.
 */
import { readFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { readHistory, violations } from '../support/history.js';
import { administer, outOfConnections, readOnly, smallDisk, type SmallDisk } from '../support/own-postgres.js';
import { ownPostgres, type OwnServer } from '../support/own-services.js';
import { preload, type Started } from '../support/processes.js';
import { startProxy, type Proxy } from '../support/proxy.js';
import { checkpointAt, expectKeptPromises, MEDIUM, prepareStripes, pretraining, SHORT } from '../support/small-runs.js';
import { startStack, type Stack } from '../support/stack.js';

/** A trainer may be silent for so long. */
const HUNG_MS = 3000;
const LEASE_MS = 20_000;
let postgres: OwnServer;
let disk: SmallDisk | undefined;
let stack: Stack;
let way: (Proxy & { url: string }) | undefined;

beforeAll(async () => {
  postgres = await ownPostgres();
  disk = await smallDisk(postgres, 96);
  stack = await startStack({
    environment: {
      DATABASE_URL: postgres.url,
      LOOM_CHECKPOINT_SECONDS: '0.4',
      LOOM_HUNG_MS: String(HUNG_MS),
      LOOM_LEASE_MS: String(LEASE_MS),
    },
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
  await disk?.remove();
});

const charges = async (id: string) =>
  administer(
    postgres,
    async (admin) => (await admin.query('SELECT failures, losses FROM run WHERE id = $1', [id])).rows[0] as object,
    'loom',
  );

/** All of these succeed by one attempt, and were charged for nothing. */
async function succeedAtOnce(...ids: string[]): Promise<void> {
  await eventually(async () => expect(await stack.client.ready()).toBe(true), { timeoutMs: 30_000 });
  for (const id of ids) {
    await stack.ended(id);
    expect((await stack.client.run(id)).attempts.map(({ outcome }) => outcome)).toEqual(['succeeded']);
    expect(await charges(id)).toEqual({ failures: 0, losses: 0 });
  }
}

/** Waits until so much time has passed and the worker has repeated a write. */
async function repeatsFor(worker: Started, milliseconds: number): Promise<void> {
  const begun = performance.now();
  let repeated = false;
  await eventually(
    () => {
      repeated ||= worker.output().includes('it is repeated');
      if (!repeated || performance.now() - begun < milliseconds)
        throw new Error(`expected ${milliseconds} ms to pass and a write to be repeated: ${worker.output()}`);
    },
    { timeoutMs: 60_000 },
  );
}

test(
  '#54 Postgres takes a second for each answer: a checkpoint takes longer than a trainer may be silent, and no run ' +
    'is taken for hung or lost',
  async () => {
    way = await startProxy(postgres.url);
    stack.startWorker({ DATABASE_URL: way.url, LOOM_SLOTS: '2' });
    const id = await stack.submit({ ...MEDIUM, seed: 54 });
    const first = await checkpointAt(stack.client, id);
    way.slow(1000);
    const begun = performance.now();
    const second = await checkpointAt(stack.client, id, first + 1);
    await checkpointAt(stack.client, id, second + 1);
    expect(performance.now() - begun).toBeGreaterThan(HUNG_MS);
    way.slow(100);
    const other = await stack.submit({ ...SHORT, seed: 541 });
    await stack.ended(other);
    way.slow(0);
    await succeedAtOnce(id, other);
    await expectKeptPromises(stack, [id, other], postgres.url);
  },
  180_000,
);

test(
  '#55 Postgres is full while a run says 10,000 metrics a second: they wait in bounded memory, and it ends as usual ' +
    'when there is room',
  async (context) => {
    if (!disk) context.skip('a small file system could not be mounted: this needs root');
    const resident = async (pid: number) =>
      Number(/^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;
    const worker = stack.startWorker({
      NODE_OPTIONS: preload('flood.mjs'),
      // Ten steps fill what may wait, however slow the machine is.
      TEST_FLOOD: '500',
      TEST_FLOOD_SEED: '55',
      // Until then it goes on saying things, and after that it waits.
      LOOM_CHECKPOINT_SECONDS: '3',
    });
    const id = await stack.submit({ ...pretraining(40), seed: 55 });
    await stack.runsAt(id, 20);
    const before = await resident(worker.pid);
    try {
      await disk!.fill();
      await repeatsFor(worker, 9000);
      expect((await resident(worker.pid)) - before).toBeLessThan(150);
    } finally {
      await disk!.empty();
    }
    await succeedAtOnce(id);
    const { items: lines } = await stack.client.logs(id);
    expect(lines.map(({ message }) => message)).toContainEqual(
      expect.stringContaining('metrics came faster than they can be written'),
    );
    // Of the curve some steps were left out, as that line says.
    const histories = await readHistory(postgres.url, stack.environment['LOOM_ARTIFACTS_DIR']!, [id]);
    expect(violations(histories, [id], 'none')).toEqual([]);
  },
  180_000,
);

test.each([
  ['#56 Postgres is read-only', readOnly],
  ['#57 Postgres is out of connections', outOfConnections],
])(
  '%s for several times as long as a trainer may be silent: what a run has made is written when it can be',
  async (_, hindrance) => {
    const worker = stack.startWorker();
    const id = await stack.submit({ ...MEDIUM, seed: 56 });
    await checkpointAt(stack.client, id);
    const { begin, end } = hindrance(postgres);
    await begin();
    try {
      await repeatsFor(worker, 3 * HUNG_MS);
    } finally {
      await end();
    }
    await succeedAtOnce(id);
    await expectKeptPromises(stack, [id], postgres.url);
  },
  120_000,
);
