/** What suites share that speak to the platform itself: workers are played by the test. */
import { Database, RunQueries, Runs } from '#libs/platform';
import { afterAll, beforeAll, beforeEach } from 'vitest';
import { freshDatabase } from './database.js';
import { knowShapes } from './shapes.js';

export let database: Database;
export let platform: Runs;
export let queries: RunQueries;

/**
 * A database of this file's own, which each test finds empty but for the project `default` and a dataset of shapes.
 * `opened` is called when it is open.
 */
export function usePlatform(leaseMs: number, opened = (): void => undefined): void {
  let home: Awaited<ReturnType<typeof freshDatabase>>;
  beforeAll(async () => {
    home = await freshDatabase();
    database = new Database(home.url);
    platform = new Runs(database, { dataRoot: '/data', leaseMs });
    queries = new RunQueries(database, { leaseMs });
    opened();
  });
  beforeEach(async () => {
    await database.prisma.$executeRaw`TRUNCATE run, sweep, dataset, worker, idempotency_key CASCADE`;
    await database.prisma.$executeRaw`DELETE FROM project WHERE name <> 'default'`;
    // What is told of the waiting line is a second old at most: each test asks anew.
    queries = new RunQueries(database, { leaseMs });
    await knowShapes(platform);
  });
  afterAll(async () => {
    await database.close();
    await home.drop();
  });
}
