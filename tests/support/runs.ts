/** What the suites of runs share: workers are played by the test, and a lease is short. */
import { SubmitRun, type RunStatus } from '#libs/contracts';
import type { z } from 'zod';
import { platform, queries, usePlatform } from './platform.js';

export { database, platform, queries } from './platform.js';

export const LEASE_MS = 600;

/** Runs in a database of this file's own. */
export const useRuns = (): void => usePlatform(LEASE_MS);

export const request = (spec: z.input<typeof SubmitRun>['spec'], rest: Partial<z.input<typeof SubmitRun>> = {}) =>
  SubmitRun.parse({ spec, ...rest });
export const pretrain = (more: object = {}) => request({ kind: 'pretrain', dataset: 'shapes', batchSize: 32, ...more });
export const statusOf = async (id: string): Promise<RunStatus> => (await queries.run(id))!.status;

export async function claimed(runId: string, attempt = 1) {
  const run = await platform.claims.claim({ runId, attempt }, 'worker-1');
  if (!run) throw new Error('expected the run to be claimed');
  return run;
}
