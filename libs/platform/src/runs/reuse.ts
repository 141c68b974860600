/** Runs that are there already, by the digests of what is asked for: which of them answer it. */
import { ACTIVE_STATUSES, REUSABLE_STATUSES, type RunStatus } from '#libs/contracts';
import { Prisma, type Transaction } from '../machine/database.js';
import { batchesOf } from '../machine/turns.js';
import { hasStatus } from './sql.js';

/** Which runs may answer a draft. */
export interface Reuse {
  /** Any that can still give a result, none, or (the id of a sweep) those of that sweep. */
  from: boolean | string;
  /** Sweeps whose runs also answer where they were stopped early: these would be judged again as they were. */
  stoppedIn?: readonly string[];
}

/** A run that exists and can answer a draft. */
interface Reusable {
  id: string;
  digest: string;
  status: RunStatus;
}

/** What exists of the digests of a submit. */
export interface Known {
  /** By digest the run to attach to. */
  reusable: ReadonlyMap<string, Reusable>;
  /** Digests of which a run was stopped early after it had begun. */
  stopped: ReadonlySet<string>;
}

/** Locks are taken by hash so that a sweep of any size takes few of them, always in ascending order. */
const DIGEST_LOCKS = 256;
const DIGEST_LOCK_SPACE = 0x10_0d;
/** Digests that are asked for at once: to write and to read what a statement says holds the event loop. */
const DIGEST_BATCH = 2000;

/** What is there of these digests. Equal submits at the same moment wait for each other here. */
export async function knownOf(
  tx: Transaction,
  digests: readonly string[],
  { from, stoppedIn = [] }: Reuse,
): Promise<Known> {
  if (!from) return { reusable: new Map(), stopped: new Set() };
  await lockDigests(tx, digests);
  const reusable = await reusableRuns(tx, digests, typeof from === 'string' ? from : null);
  for (const run of await stoppedRuns(tx, digests, stoppedIn))
    if (!reusable.has(run.digest)) reusable.set(run.digest, run);
  return { reusable, stopped: await stoppedEarly(tx, digests) };
}

async function lockDigests(tx: Transaction, digests: readonly string[]): Promise<void> {
  const buckets = [...new Set(digests.map((digest) => Number.parseInt(digest.slice(0, 8), 16) % DIGEST_LOCKS))].sort(
    (a, b) => a - b,
  );
  await tx.$queryRaw`
    SELECT pg_advisory_xact_lock(${DIGEST_LOCK_SPACE}::int, bucket)::text
    FROM unnest(${buckets}::int[]) AS bucket`;
}

/**
 * For each digest the run to attach to: one that has succeeded before one that runs, one that runs before one that
 * waits.
 */
async function reusableRuns(
  tx: Transaction,
  digests: readonly string[],
  sweepId: string | null,
): Promise<Map<string, Reusable>> {
  const rank = (status: RunStatus) => {
    if (status === 'succeeded') return 0;
    return (ACTIVE_STATUSES as readonly RunStatus[]).includes(status) ? 1 : 2;
  };
  const best = new Map<string, Reusable>();
  for (const batch of batchesOf(digests, DIGEST_BATCH))
    for (const run of await tx.$queryRaw<Reusable[]>(runsOfDigests(batch, sweepId))) {
      const known = best.get(run.digest);
      if (!known || rank(run.status) < rank(known.status)) best.set(run.digest, run);
    }
  return best;
}

/** Runs that can be reused, the oldest first, without their specs: they may be many. */
const runsOfDigests = (digests: string[], sweepId: string | null): Prisma.Sql => Prisma.sql`
  SELECT id, digest, status::text AS status
  FROM run
  WHERE digest = ANY(${digests}::text[]) AND ${hasStatus(REUSABLE_STATUSES)}
    AND (${sweepId}::uuid IS NULL OR id IN (SELECT run_id FROM trial_run WHERE sweep_id = ${sweepId}::uuid))
  ORDER BY created_at
  FOR SHARE`;

/** Runs of these digests that were stopped early in these sweeps, or with a run that was. */
async function stoppedRuns(
  tx: Transaction,
  digests: readonly string[],
  sweepIds: readonly string[],
): Promise<Reusable[]> {
  if (sweepIds.length === 0) return [];
  const found: Reusable[] = [];
  for (const batch of batchesOf(digests, DIGEST_BATCH))
    found.push(
      ...(await tx.$queryRaw<Reusable[]>`
        SELECT id, digest, status::text AS status
        FROM run
        WHERE digest = ANY(${batch}::text[]) AND ${hasStatus(['early_stopped'])}
          AND id IN (SELECT run_id FROM trial_run WHERE sweep_id = ANY(${[...sweepIds]}::uuid[]))
        ORDER BY created_at
        FOR SHARE`),
    );
  return found;
}

/**
 * Those of the digests of which a run was stopped early after it had begun. It answers no draft but one of a sweep that
 * judges it among the same trials: it was not among the best of those, and may be among others.
 */
async function stoppedEarly(tx: Transaction, digests: readonly string[]): Promise<Set<string>> {
  const stopped = new Set<string>();
  for (const batch of batchesOf(digests, DIGEST_BATCH)) {
    const found = await tx.$queryRaw<{ digest: string }[]>`
      SELECT DISTINCT digest
      FROM run
      WHERE digest = ANY(${batch}::text[]) AND ${hasStatus(['early_stopped'])} AND attempt > 0`;
    for (const { digest } of found) stopped.add(digest);
  }
  return stopped;
}
