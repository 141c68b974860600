/** What the suites of projects and of the waiting line share: workers are played by the test. */
import { SubmitRun } from '#libs/contracts';
import { ProjectStore, RunQueries } from '#libs/platform';
import type { z } from 'zod';
import { database, platform, usePlatform } from './platform.js';

export { database, platform, queries } from './platform.js';

export let projects: ProjectStore;
export const options = { leaseMs: 60_000 };

/** Projects in a database of this file's own. */
export const useProjects = (): void =>
  usePlatform(options.leaseMs, () => {
    projects = new ProjectStore(database);
  });

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
