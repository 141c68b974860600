/** What the suites of projects and of the waiting line share: workers are played by the test. */
import { SubmitRun } from '#libs/contracts';
import { Database, ProjectStore, RunQueries, Runs } from '#libs/platform';
import { afterAll, beforeAll, beforeEach } from 'vitest';
import type { z } from 'zod';
import { freshDatabase } from './database.js';
import { knowShapes } from './shapes.js';

export let database: Database;
export let platform: Runs;
export let queries: RunQueries;
export let projects: ProjectStore;
export const options = { leaseMs: 60_000 };

/** Projects in a database of this file's own, which each test finds empty but for `default` and a dataset of shapes. */
export function useProjects(): void {
  let home: Awaited<ReturnType<typeof freshDatabase>>;
  beforeAll(async () => {
    home = await freshDatabase();
    database = new Database(home.url);
    platform = new Runs(database, { dataRoot: '/data', ...options });
    projects = new ProjectStore(database);
  });
  beforeEach(async () => {
    await database.prisma.$executeRaw`TRUNCATE run, sweep, dataset, worker, idempotency_key CASCADE`;
    await database.prisma.$executeRaw`DELETE FROM project WHERE name <> 'default'`;
    // What is told is a second old at most: each test asks anew.
    queries = new RunQueries(database, options);
    await knowShapes(platform);
  });
  afterAll(async () => {
    await database.close();
    await home.drop();
  });
}

let seed = 0;
export const pretrain = (more: Partial<z.input<typeof SubmitRun>> = {}) =>
  SubmitRun.parse({ spec: { kind: 'pretrain', dataset: 'shapes', batchSize: 32, seed: ++seed }, ...more });
export const submit = async (project: string, more: Partial<z.input<typeof SubmitRun>> = {}): Promise<string> =>
  (await platform.submission.submitRun(pretrain({ project, ...more }))).runId;
export const submitMany = async (project: string, count: number, more: Partial<z.input<typeof SubmitRun>> = {}) => {
  const ids: string[] = [];
  for (let i = 0; i < count; i++) ids.push(await submit(project, more));
  return ids;
};
/** So many copies of a run that waits, of priorities from 40 to 59. */
export async function copies(template: string, project: string, count: number): Promise<void> {
  for (let rest = count; rest > 0; rest -= 5000) {
    await database.prisma.$executeRaw`
      WITH copies AS (
        INSERT INTO run (id, name, kind, status, digest, spec, tags, project, priority, dataset_digest)
        SELECT gen_random_uuid(), 'many', kind, 'queued', digest, spec, '{many}', ${project}, 40 + n % 20,
          dataset_digest
        FROM run, generate_series(1, ${Math.min(rest, 5000)}::int) AS n
        WHERE id = ${template}::uuid
        RETURNING id, project, priority)
      INSERT INTO outbox (run_id, attempt, project, urgency)
      SELECT id, 1, project, 100 - priority
      FROM copies`;
  }
}
export async function worker(id: string, slots: number, labels: Record<string, string> = {}): Promise<void> {
  await platform.workers.registerWorker({ id, host: 'h', pid: 1, slots, versions: {}, labels });
  await platform.workers.setWorkerState(id, 'running');
}
/** The leader's part, by hand. */
export async function admit(
  window: number | 'auto' = 'auto',
): Promise<{ runId: string; attempt: number; project: string }[]> {
  const next = await platform.outbox.takeDispatchable(1000, window);
  if (next.length) await platform.outbox.markDispatched(next);
  return next;
}
export const told = async (id: string) => {
  const { jobsAhead, waitsFor, predictedStartAt } = (await new RunQueries(database, options).run(id))!;
  return { jobsAhead, waitsFor, predictedStartAt };
};
