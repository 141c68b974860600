/** How long the runs that workers hold will still take, and those that are next in the line. */
import { ACTIVE_STATUSES, canonicalJson, type RunSpec } from '#libs/contracts';
import { Prisma, type Transaction } from '../machine/database.js';
import { secondsOfEach } from '../runs/estimate.js';
import { attemptSeconds, hasStatus } from '../runs/sql.js';
import { readDue, total } from './waiting-line.js';

/** The runs that are next, of each project and placement, whose durations are estimated. */
const SAMPLE = 20;

/** A run that a worker holds, and how many seconds it may still take; Infinity where nothing is known. */
export interface Busy {
  project: string;
  workerId: string;
  seconds: number;
}
export interface Forecast {
  /** When the forecast was read, by the database's clock, in milliseconds since 1970. */
  readAt: number;
  busy: Busy[];
  /** Mean seconds of the runs that are next; null where no run of their kinds has succeeded yet. */
  each: number | null;
}

export async function readForecast(tx: Transaction): Promise<Forecast> {
  interface Known {
    spec: RunSpec;
    datasetDigest: string | null;
    encoder: string | null;
  }
  const described = Prisma.sql`
    r.spec,
    r.dataset_digest AS "datasetDigest",
    (coalesce(r.spec->'encoder', p.spec->'encoder'))::text AS encoder`;
  const working = await tx.$queryRaw<
    (Known & { project: string; workerId: string; elapsed: number; done: number; left: number | null; now: number })[]
  >`
    SELECT
      ${described},
      r.project,
      r.worker_id AS "workerId",
      ${attemptSeconds('a')}::float8 AS elapsed,
      r.step - a.resumed_from_step AS done,
      r.total_steps - r.step AS left
    FROM run r JOIN attempt a ON a.run_id = r.id AND a.attempt = r.attempt
      LEFT JOIN run p ON p.id = (r.spec->>'from')::uuid
    WHERE ${hasStatus(ACTIVE_STATUSES, 'r')}`;
  const due = await readDue(tx, SAMPLE);
  const next = due.length
    ? await tx.$queryRaw<Known[]>`
        SELECT ${described}
        FROM run r LEFT JOIN run p ON p.id = (r.spec->>'from')::uuid
        WHERE r.id = ANY(${due.map(({ runId }) => runId)}::uuid[])`
    : [];
  const [{ now } = { now: Date.now() }] = await tx.$queryRaw<{ now: number }[]>`
    SELECT extract(epoch FROM clock_timestamp())::float8 * 1000 AS now`;
  const canonical = (runs: readonly Known[]) =>
    runs.map((run) => ({ ...run, encoder: run.encoder === null ? null : canonicalJson(JSON.parse(run.encoder)) }));
  const seconds = (await secondsOfEach(tx, canonical([...working, ...next]))).map((known) => known?.seconds ?? null);
  const busy = working.map(({ project, workerId, elapsed, done, left }, i) => {
    // The pace of the run itself says more than that of runs like it.
    const rest =
      done > 0 && left !== null
        ? (elapsed / done) * left
        : Math.max(0, (seconds[i] ?? Number.POSITIVE_INFINITY) - elapsed);
    return { project, workerId, seconds: rest };
  });
  const known = seconds.slice(working.length).filter((each) => each !== null);
  return { readAt: now, busy, each: known.length ? total(known) / known.length : null };
}
