/**
 * The line of runs that wait for a worker, in Postgres. Redis holds a short window of it: whom the leader has admitted.
 * Here is read who comes next. Nothing here changes anything.
 */
import { ACTIVE_STATUSES, WAITING_STATUSES, type Gpu, type Requires } from '#libs/contracts';
import { Prisma, type Transaction } from '../machine/database.js';
import { attemptSeconds, hasStatus, interval, takesRuns } from '../runs/sql.js';
import { chooseNext, type Share } from './fair-share.js';
import type { RunJob } from './queue.js';

/** A worker that answers. `free`: slots in which it has no run. */
export interface Machine {
  id: string;
  slots: number;
  free: number;
  labels: Record<string, string>;
  gpus: Gpu[];
}

/** A run that may be put into Redis now, and the tag that its project has with it. */
export interface Admission extends RunJob {
  outboxId: bigint;
  project: string;
  tag: number;
}

/** How many runs may be in Redis that no worker has taken. */
export type Window = number | 'auto';

/** Shares of the projects, runs in Redis and workers, all of one moment. */
export interface Line {
  /** The moment, by the database's clock, in milliseconds since 1970. */
  now: number;
  shares: Share[];
  /** How many of each project and placement are in Redis, and how many are not. */
  lanes: { project: string; placement: string; admitted: number; waiting: number }[];
  machines: Machine[];
  /** Runs that workers took within the last second. */
  startedLately: number;
}

/**
 * Of what workers take in a second so much is kept ready, that none of them waits for the leader; of each slot at most
 * so many runs.
 */
const READY_SECONDS = 1;
const READY_PER_SLOT = 4;
/** How many runs that ask for this a machine can have at once in so many of its slots. */
export function capacity({ labels, gpus }: Machine, slots: number, asked: Requires): number {
  if (Object.entries(asked.labels).some(([key, value]) => labels[key] !== value)) return 0;
  const { gpu } = asked;
  if (!gpu) return slots;
  return Math.min(
    slots,
    gpus.filter(
      ({ name, memoryMiB }) =>
        name.toLowerCase().includes((gpu.name ?? '').toLowerCase()) && memoryMiB >= (gpu.memoryMiB ?? 0),
    ).length,
  );
}
export const total = (numbers: readonly number[]): number => numbers.reduce((sum, each) => sum + each, 0);

/** Seconds that workers have worked on the runs of each project, and how many attempts began in the last moments. */
const USED = Prisma.sql`
  SELECT
    p.name,
    p.spent + coalesce(sum(${attemptSeconds('a')}), 0)::float8 AS seconds,
    count(*) FILTER (WHERE a.started_at > now() - ${interval(1000 * READY_SECONDS)})::int AS started
  FROM project p LEFT JOIN (attempt a JOIN run r ON r.id = a.run_id AND NOT a.charged) ON r.project = p.name
  GROUP BY p.name`;

/** What the rules of sharing go by, of each project `p`, from `active`, `lane` and `used`. */
const SHARES = Prisma.sql`
  SELECT coalesce(json_agg(json_build_object(
    'name', p.name,
    'weight', p.weight,
    'maxRunning', p.max_running,
    'gpuSeconds', p.gpu_seconds,
    'tag', p.tag,
    'usedSeconds', used.seconds,
    'running', coalesce((SELECT sum(runs) FROM active WHERE active.project = p.name), 0),
    'admitted', coalesce((SELECT sum(admitted) FROM lane WHERE lane.project = p.name), 0))), '[]')
  FROM project p JOIN used ON used.name = p.name`;

/** Workers that take runs, and in how many of their slots they have none, from `active`. */
const machines = (leaseMs: number) => Prisma.sql`
  SELECT coalesce(json_agg(json_build_object(
    'id', id,
    'slots', slots,
    'labels', labels,
    'gpus', gpus,
    'free', greatest(0, slots - coalesce((SELECT sum(runs) FROM active WHERE active.worker_id = worker.id), 0)))), '[]')
  FROM worker
  WHERE ${takesRuns(leaseMs)}`;

/** Who shares, waits and works: one statement, so that a run which is taken meanwhile is counted once. */
export async function readLine(tx: Transaction, leaseMs: number, counted: 'admitted' | 'all'): Promise<Line> {
  const wanted = counted === 'all' ? Prisma.sql`true` : Prisma.sql`dispatched_at IS NOT NULL`;
  const [line] = await tx.$queryRaw<Line[]>`
    WITH active AS (
        SELECT project, worker_id, count(*) AS runs
        FROM run
        WHERE ${hasStatus(ACTIVE_STATUSES)}
        GROUP BY project, worker_id),
      lane AS (
        SELECT
          project,
          placement,
          count(dispatched_at)::int AS admitted,
          count(*) FILTER (WHERE dispatched_at IS NULL)::int AS waiting
        FROM outbox
        WHERE ${wanted}
        GROUP BY project, placement),
      used AS (${USED})
    SELECT
      extract(epoch FROM clock_timestamp())::float8 * 1000 AS now,
      (${SHARES}) AS shares,
      (SELECT coalesce(json_agg(lane), '[]') FROM lane) AS lanes,
      (${machines(leaseMs)}) AS machines,
      (SELECT sum(started)::int FROM used) AS "startedLately"`;
  return line!;
}

interface Due {
  outboxId: bigint;
  runId: string;
  attempt: number;
  project: string;
  placement: string;
  urgency: number;
  submittedAt: number;
  labels: Record<string, string>;
  gpu: Requires['gpu'] | null;
}

/**
 * Each project and placement of which a run waits in Postgres, as the rows of a recursive `lane`: found by stepping
 * from one to the next in the index, so that the line is not read, however long it is.
 */
export const LANES = Prisma.sql`
  (
    SELECT project, placement
    FROM outbox
    WHERE dispatched_at IS NULL
    ORDER BY dispatched_at, project, placement
    LIMIT 1)
  UNION ALL
  SELECT next.project, next.placement
  FROM lane CROSS JOIN LATERAL (
    SELECT project, placement
    FROM outbox
    WHERE dispatched_at IS NULL AND (project, placement) > (lane.project, lane.placement)
    ORDER BY dispatched_at, project, placement
    LIMIT 1) AS next`;

/** Of each project and placement those who are next and are due, at most so many: each is read from its front. */
export const readDue = (tx: Transaction, limit: number): Promise<Due[]> => tx.$queryRaw<Due[]>`
  WITH RECURSIVE lane AS (${LANES})
  SELECT due.*
  FROM lane CROSS JOIN LATERAL (
    SELECT o.id AS "outboxId", o.run_id AS "runId", o.attempt, o.project, o.placement, o.urgency,
      extract(epoch FROM o.submitted_at)::float8 * 1000 AS "submittedAt",
      r.required_labels AS labels, r.required_gpu AS gpu
    FROM outbox o JOIN run r ON r.id = o.run_id
    WHERE o.dispatched_at IS NULL AND o.project = lane.project AND o.placement = lane.placement
      AND o.not_before <= now() AND ${hasStatus(WAITING_STATUSES, 'r')} AND r.attempt = o.attempt - 1
    ORDER BY o.dispatched_at, o.project, o.placement, o.urgency, o.submitted_at, o.run_id
    LIMIT ${limit}) AS due`;

/**
 * How many runs may be in Redis that no worker has taken: one for each free slot, and beyond these as many as workers
 * have taken in the last second. So short runs follow each other without a pause, and an urgent one, or another
 * project's, waits for a second of starts at most.
 */
function windowOf({ machines, startedLately }: Line): number {
  const ready = Math.min(startedLately, READY_PER_SLOT * total(machines.map(({ slots }) => slots)));
  return total(machines.map(({ free }) => free)) + Math.max(1, ready);
}

/**
 * Runs that should be in Redis and have not been put there, in the order in which they are to start: as many as the
 * window has room for (`auto`: what workers can use), and at most `limit`. Of those that ask for labels or a GPU only
 * as many as workers that have them could take now (any worker may get the job, and refuses it), or one where no worker
 * is free at all and one of them may be the next.
 */
export async function nextInLine(
  tx: Transaction,
  { leaseMs, window, limit }: { leaseMs: number; window: Window; limit: number },
): Promise<Admission[]> {
  const line = await readLine(tx, leaseMs, 'admitted');
  const places = Math.min(
    limit,
    (window === 'auto' ? windowOf(line) : window) - total(line.shares.map(({ admitted }) => admitted)),
  );
  if (places <= 0) return [];
  const due = await readDue(tx, places);
  const saturated = line.machines.every(({ free }) => free === 0);
  const asked = new Map<string, Requires>(
    due.map(({ placement, labels, gpu }) => [placement, { labels, ...(gpu && { gpu }) }]),
  );
  const placesOf = (placement: string): number => {
    const requires = asked.get(placement)!;
    const now = total(line.machines.map((machine) => capacity(machine, machine.free, requires)));
    const soon = saturated && line.machines.some((machine) => capacity(machine, machine.slots, requires) > 0) ? 1 : 0;
    return (
      Math.max(now, soon) -
      total(line.lanes.filter((lane) => lane.placement === placement).map(({ admitted }) => admitted))
    );
  };
  return chooseNext(line.shares, due, { places, placesOf }).map(({ outboxId, runId, attempt, project, tag }) => ({
    outboxId,
    runId,
    attempt,
    project,
    tag,
  }));
}

/**
 * For how many seconds a run has waited that could be in Redis; 0 where none has. It counts from when it was due, and
 * from when there last was something that may have made room for it.
 */
export async function undispatchedSeconds(
  tx: Transaction,
  options: { leaseMs: number; window: Window },
): Promise<number> {
  const [first] = await nextInLine(tx, { ...options, limit: 1 });
  if (!first) return 0;
  const [row] = await tx.$queryRaw<{ seconds: number }[]>`
    SELECT extract(epoch FROM now() - greatest(
      not_before,
      (SELECT max(dispatched_at) FROM outbox),
      (SELECT max(ended_at) FROM attempt WHERE NOT charged)))::float8 AS seconds
    FROM outbox
    WHERE id = ${String(first.outboxId)}::text::bigint`;
  return Math.max(0, row?.seconds ?? 0);
}

/**
 * For how many seconds the run has waited that has waited longest of those that count as put into Redis though a worker
 * that is as it asks has a slot free; 0 where there is none. It counts from when it was put there, and from when that
 * worker last had an attempt end. So it grows where Redis has lost the run, or no worker hears of it.
 */
export async function untakenSeconds(tx: Transaction, { leaseMs }: { leaseMs: number }): Promise<number> {
  const line = await readLine(tx, leaseMs, 'admitted');
  const free = line.machines.filter(({ free }) => free > 0);
  if (free.length === 0) return 0;
  const waiting = await tx.$queryRaw<
    { seconds: number; labels: Record<string, string>; gpu: Requires['gpu'] | null }[]
  >`
    SELECT
      extract(epoch FROM now() - min(greatest(o.dispatched_at, o.not_before)))::float8 AS seconds,
      r.required_labels AS labels,
      r.required_gpu AS gpu
    FROM outbox o JOIN run r ON r.id = o.run_id JOIN project p ON p.name = o.project
    WHERE o.dispatched_at IS NOT NULL AND o.not_before <= now() AND ${hasStatus(WAITING_STATUSES, 'r')}
      AND (p.max_running IS NULL OR p.max_running > (
        SELECT count(*)
        FROM run active
        WHERE active.project = p.name AND ${hasStatus(ACTIVE_STATUSES, 'active')}))
    GROUP BY r.required_labels, r.required_gpu`;
  const idle = new Map(
    (
      await tx.$queryRaw<{ id: string; seconds: number }[]>`
        SELECT
          worker.id,
          extract(epoch FROM now() - greatest(worker.started_at, max(attempt.ended_at)))::float8 AS seconds
        FROM worker LEFT JOIN attempt ON attempt.worker_id = worker.id AND NOT attempt.charged
        WHERE worker.id = ANY(${free.map(({ id }) => id)}::text[])
        GROUP BY worker.id`
    ).map(({ id, seconds }) => [id, seconds]),
  );
  const untaken = waiting.map(({ seconds, labels, gpu }) => {
    const able = free.filter((machine) => capacity(machine, machine.free, { labels, ...(gpu && { gpu }) }) > 0);
    return Math.min(seconds, Math.max(0, ...able.map(({ id }) => idle.get(id) ?? 0)));
  });
  return Math.max(0, ...untaken);
}

/** Seconds that workers have worked on the runs of each project, by its name. */
export async function usedSeconds(tx: Transaction): Promise<Map<string, number>> {
  return new Map(
    (await tx.$queryRaw<{ name: string; seconds: number }[]>`${USED}`).map(({ name, seconds }) => [name, seconds]),
  );
}
