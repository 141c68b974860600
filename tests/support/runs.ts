/** What the suites of runs share: workers are played by the test, and a lease is short. */
import { SubmitRun, type RunStatus } from '#libs/contracts';
import { Database, RunQueries, Runs } from '#libs/platform';
import type { z } from 'zod';
import { afterAll, beforeAll, beforeEach } from 'vitest';
import { freshDatabase } from './database.js';
import { knowShapes } from './shapes.js';

export const LEASE_MS = 600;
export let database: Database;
export let platform: Runs;
export let queries: RunQueries;

/** Runs in a database of this file's own, which each test finds empty but for a dataset of shapes. */
export function useRuns(): void {
  let home: Awaited<ReturnType<typeof freshDatabase>>;
  beforeAll(async () => {
    home = await freshDatabase();
    database = new Database(home.url);
    platform = new Runs(database, { dataRoot: '/data', leaseMs: LEASE_MS });
    queries = new RunQueries(database, { leaseMs: LEASE_MS });
  });
  beforeEach(async () => {
    await database.prisma.$executeRaw`TRUNCATE run, sweep, dataset, worker, idempotency_key CASCADE`;
    await knowShapes(platform);
  });
  afterAll(async () => {
    await database.close();
    await home.drop();
  });
}

export const request = (spec: z.input<typeof SubmitRun>['spec'], rest: Partial<z.input<typeof SubmitRun>> = {}) =>
  SubmitRun.parse({ spec, ...rest });
export const pretrain = (more: object = {}) => request({ kind: 'pretrain', dataset: 'shapes', batchSize: 32, ...more });
export const statusOf = async (id: string): Promise<RunStatus> => (await queries.run(id))!.status;

export async function claimed(runId: string, attempt = 1) {
  const run = await platform.claims.claim({ runId, attempt }, 'worker-1');
  if (!run) throw new Error('expected the run to be claimed');
  return run;
}
