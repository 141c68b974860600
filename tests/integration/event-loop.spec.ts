/**
 * No request, whatever its size, holds up the API's event loop: the leader, all streams and who else asks would stand
 * still meanwhile. On a real API, as a process of its own.
 */
import { Database, Runs, SweepStore } from '#libs/platform';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startWatchedStack, type Hold } from '../support/event-loop.js';
import { largeComparison, largeSweep, PARAMETERS } from '../support/large-sweeps.js';
import { knowShapes } from '../support/shapes.js';
import { LEASE_MS } from '../support/sweeps.js';

const TRIALS = 10_000;
let stack: Awaited<ReturnType<typeof startWatchedStack>>;
let database: Database;
/** What rows ask for, by the ids that it was given. */
const ids = { sweep: '', comparison: '', small: '' };

beforeAll(async () => {
  stack = await startWatchedStack();
  database = new Database(stack.database.url);
  const runs = new Runs(database, { dataRoot: stack.dataRoot, leaseMs: LEASE_MS });
  const sweeps = new SweepStore(database, runs);
  await knowShapes(runs);
  ids.sweep = await largeSweep(database, sweeps, TRIALS);
  ids.comparison = await largeComparison(database, sweeps, TRIALS);
  // For MLflow the curves of each run are asked for: of ten thousand that takes a minute.
  ids.small = await largeSweep(database, sweeps, 300);
  await database.prisma.$executeRaw`ANALYZE`;
}, 240_000);
afterAll(async () => {
  await database?.close();
  await stack?.stop();
});

/** Asks, reads the whole answer, and resolves with it. @throws where it is not a success */
async function ask(path: string, body?: object): Promise<Buffer> {
  const response = await fetch(stack.api.url + path, {
    ...(body && { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    signal: AbortSignal.timeout(60_000),
  });
  const answer = Buffer.from(await response.arrayBuffer());
  if (!response.ok) throw new Error(`${path}: ${response.status} ${answer.toString('utf8', 0, 500)}`);
  return answer;
}
const told = async <T>(answer: Promise<Buffer>): Promise<T> => JSON.parse((await answer).toString()) as T;

/** The results are told anew, for what they are made of has changed. */
const changed = (id: string) => database.prisma.$executeRaw`
  UPDATE trial
  SET outcome = CASE WHEN outcome IS NULL THEN 'refused' END
  WHERE sweep_id = ${id}::uuid AND index = 0`;

/** So many values of two parameters. */
const grid = (first: number, second: number) => ({
  'pretrain.temperature': { values: Array.from({ length: first }, (_, i) => Number((0.1 + i / 1000).toFixed(3))) },
  'pretrain.seed': { values: Array.from({ length: second }, (_, i) => i + 1) },
});
const spec = (more: object = {}) => ({
  spec: {
    name: 'large',
    stages: {
      pretrain: { kind: 'pretrain', dataset: 'shapes', batchSize: 32, epochs: 9 },
      finetune: { kind: 'finetune', dataset: 'shapes', from: 'pretrain', batchSize: 4 },
    },
    parameters: grid(100, TRIALS / 100),
    ...more,
  },
});

/** What is asked; each row is one request or several. */
const ROWS: Record<string, () => Promise<unknown>> = {
  'the runs and trials of a sweep': async () =>
    expect((await told<{ trials: unknown[] }>(ask(`/v1/sweeps/${ids.sweep}`))).trials).toHaveLength(TRIALS + 1),
  'the results of a sweep': async () => {
    await changed(ids.sweep);
    const table = await told<{ importance: unknown[] }>(ask(`/v1/sweeps/${ids.sweep}/results`));
    expect(table.importance).toHaveLength(PARAMETERS);
  },
  'the results of a comparison of augmentations': async () => {
    await changed(ids.comparison);
    const table = await told<{ effects: unknown[]; rows: unknown[] }>(ask(`/v1/sweeps/${ids.comparison}/results`));
    expect(table.effects).toHaveLength(4);
    expect(table.rows).toHaveLength(17);
  },
  'trials as CSV': () => ask(`/v1/sweeps/${ids.sweep}/trials.csv`),
  'trials as JSON': () => ask(`/v1/sweeps/${ids.sweep}/trials.json`),
  'trials as Parquet': () => ask(`/v1/sweeps/${ids.sweep}/trials.parquet`),
  'the rungs of a sweep': () => ask(`/v1/sweeps/${ids.sweep}/rungs`),
  'sweeps for MLflow': () => ask(`/v1/sweeps/${ids.small}/mlflow.tar`),
  'all sweeps': () => ask('/v1/sweeps'),
  'the plan of a sweep': () => ask('/v1/sweeps?validate_only=true', spec()),
  'the plan of a sweep in an order': () =>
    ask('/v1/sweeps?validate_only=true', spec({ order_by: ['-pretrain.seed', 'pretrain.temperature'] })),
};

/** Says what was measured. @throws where it is too long */
function judge(name: string, { worked, lasted }: Hold): void {
  const said = `${name}: ${worked.toFixed(0)} ms of processor time, ${lasted.toFixed(0)} ms by the clock`;
  process.stdout.write(`${said}; ${stack.bound.toFixed(0)} ms are allowed\n`);
  expect(worked, said).toBeLessThan(stack.bound);
}

test.each(Object.entries(ROWS))(
  'the event loop is free while the API tells %s',
  async (name, work) => judge(name, await stack.longestHold(work)),
  180_000,
);

test('the event loop is free while a sweep is submitted, and while it is cancelled', async () => {
  let id = '';
  const submitted = await stack.longestHold(async () => {
    ({ id } = await told<{ id: string }>(ask('/v1/sweeps', spec({ parallel_trials: 4 }))));
  }, 2);
  const cancelled = await stack.longestHold(() => ask(`/v1/sweeps/${id}/cancel`, {}), 1);
  judge('submit', submitted);
  judge('cancel', cancelled);
}, 240_000);
