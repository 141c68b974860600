/**
 * The line of runs that wait for a worker, in Postgres. Redis holds a short window of it: whom the leader has admitted.
 * Here is read who comes next, and what can be told of those who wait. Nothing here changes anything.
 */
import { canonicalJson, type Gpu, type Requires, type RunRecord, type RunSpec, type WaitsFor } from '#libs/contracts';
import { Prisma, type Database, type Transaction } from '../machine/database.js';
import { secondsOfEach } from '../runs/estimate.js';
import { chooseNext, othersAhead, quotaReached, startsIn, type Share } from './fair-share.js';
import type { RunJob } from './queue.js';

/** A worker that answers. `free`: slots in which it has no run. */
interface Machine {
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

/** Who shares, who is in Redis, and who works, at one moment. */
interface Line {
  /** By the database's clock. */
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
/** What is told of those who wait may be as old as this. */
const TOLD_MS = 1000;
const DURATIONS_MS = 10_000;
/** Of each project and placement so many that are next are asked how long they will take. */
const SAMPLE = 20;

/** 'running', 'pausing', 'cancelling': a worker holds it. */
const ACTIVE = Prisma.sql`('running', 'pausing', 'cancelling')`;

/** How many runs that ask for this a machine can have at once in so many of its slots. */
function capacity({ labels, gpus }: Machine, slots: number, asked: Requires): number {
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
const total = (numbers: readonly number[]): number => numbers.reduce((sum, each) => sum + each, 0);

/** Seconds that workers have worked on the runs of each project. */
const USED = Prisma.sql`
  SELECT p.name, p.spent + coalesce(sum(extract(epoch FROM coalesce(a.ended_at, now()) - a.started_at)), 0)::float8 AS seconds, count(*) FILTER (WHERE a.started_at > now() - make_interval(secs => ${READY_SECONDS}))::int AS started
  FROM project p LEFT JOIN (attempt a JOIN run r ON r.id = a.run_id AND NOT a.charged) ON r.project = p.name GROUP BY p.name`;

/** One statement, so that a run which is taken meanwhile is counted once. */
async function readLine(tx: Transaction, leaseMs: number, counted: 'admitted' | 'all'): Promise<Line> {
  const [line] = await tx.$queryRaw<Line[]>`
    WITH active AS (SELECT project, worker_id, count(*) AS runs FROM run WHERE status IN ${ACTIVE} GROUP BY project, worker_id),
      lane AS (
        SELECT project, placement, count(dispatched_at)::int AS admitted, count(*) FILTER (WHERE dispatched_at IS NULL)::int AS waiting
        FROM outbox ${counted === 'all' ? Prisma.empty : Prisma.sql`WHERE dispatched_at IS NOT NULL`} GROUP BY project, placement),
      used AS (${USED})
    SELECT extract(epoch FROM clock_timestamp())::float8 * 1000 AS now,
      (SELECT coalesce(json_agg(json_build_object('name', p.name, 'weight', p.weight, 'maxRunning', p.max_running, 'gpuSeconds', p.gpu_seconds, 'tag', p.tag, 'usedSeconds', used.seconds,
          'running', coalesce((SELECT sum(runs) FROM active WHERE active.project = p.name), 0), 'admitted', coalesce((SELECT sum(admitted) FROM lane WHERE lane.project = p.name), 0))), '[]')
        FROM project p JOIN used ON used.name = p.name) AS shares,
      (SELECT coalesce(json_agg(lane), '[]') FROM lane) AS lanes,
      (SELECT coalesce(json_agg(json_build_object('id', id, 'slots', slots, 'labels', labels, 'gpus', gpus, 'free', greatest(0, slots - coalesce((SELECT sum(runs) FROM active WHERE active.worker_id = worker.id), 0)))), '[]')
        FROM worker WHERE state = 'running' AND heartbeat_at > now() - make_interval(secs => ${leaseMs / 1000}::float8)) AS machines,
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
  labels: Record<string, string>;
  gpu: Requires['gpu'] | null;
}

/** Of each project and placement those who are next and are due, at most so many. */
const readDue = (tx: Transaction, limit: number): Promise<Due[]> => tx.$queryRaw<Due[]>`
  WITH RECURSIVE lane AS (
    (SELECT project, placement FROM outbox WHERE dispatched_at IS NULL ORDER BY dispatched_at, project, placement LIMIT 1)
    UNION ALL SELECT next.project, next.placement FROM lane CROSS JOIN LATERAL (
      SELECT project, placement FROM outbox WHERE dispatched_at IS NULL AND (project, placement) > (lane.project, lane.placement) ORDER BY dispatched_at, project, placement LIMIT 1) AS next)
  SELECT due.* FROM lane CROSS JOIN LATERAL (
    SELECT o.id AS "outboxId", o.run_id AS "runId", o.attempt, o.project, o.placement, o.urgency, r.required_labels AS labels, r.required_gpu AS gpu
    FROM outbox o JOIN run r ON r.id = o.run_id
    WHERE o.dispatched_at IS NULL AND o.project = lane.project AND o.placement = lane.placement AND o.not_before <= now() AND r.status IN ('queued', 'retrying') AND r.attempt = o.attempt - 1
    ORDER BY o.dispatched_at, o.project, o.placement, o.urgency, o.run_id LIMIT ${limit}) AS due`;

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
    SELECT extract(epoch FROM now() - greatest(not_before, (SELECT max(dispatched_at) FROM outbox), (SELECT max(ended_at) FROM attempt WHERE NOT charged)))::float8 AS seconds FROM outbox WHERE id = ${String(first.outboxId)}::text::bigint`;
  return Math.max(0, row?.seconds ?? 0);
}

/** Seconds that workers have worked on the runs of each project, by its name. */
export async function usedSeconds(tx: Transaction): Promise<Map<string, number>> {
  return new Map(
    (await tx.$queryRaw<{ name: string; seconds: number }[]>`${USED}`).map(({ name, seconds }) => [name, seconds]),
  );
}

type Told = Pick<RunRecord, 'jobsAhead' | 'predictedStartAt' | 'waitsFor'>;
interface Place {
  runId: string;
  project: string;
  placement: string;
  admitted: boolean;
  ahead: number;
  nextStartAt: Date | null;
  labels: Record<string, string>;
  gpu: Requires['gpu'] | null;
}
/** A run that a worker holds, and how many seconds it may still take; Infinity where nothing is known. */
interface Busy {
  project: string;
  workerId: string;
  seconds: number;
}
interface Forecast {
  readAt: number;
  busy: Busy[];
  /** Seconds of a run of those who are next; null where nothing of their kinds has succeeded. */ each: number | null;
}

/** What can be told of runs that wait. Looks at the whole line once a second at most, however many ask. */
export class WaitingLine {
  private line: Promise<Line> | undefined;
  private lineUntil = 0;
  private forecast: Promise<Forecast> | undefined;
  private forecastUntil = 0;

  constructor(
    private readonly database: Database,
    private readonly options: { leaseMs: number },
  ) {}

  private readNow(): Promise<Line> {
    if (performance.now() > this.lineUntil) {
      this.lineUntil = performance.now() + TOLD_MS;
      this.line = readLine(this.database.prisma, this.options.leaseMs, 'all');
      this.line.catch(() => {
        this.lineUntil = 0;
      });
    }
    return this.line!;
  }

  private foresee(): Promise<Forecast> {
    if (performance.now() > this.forecastUntil) {
      this.forecastUntil = performance.now() + DURATIONS_MS;
      this.forecast = readForecast(this.database.prisma);
      this.forecast.catch(() => {
        this.forecastUntil = 0;
      });
    }
    return this.forecast!;
  }

  /**
   * For each of these runs that waits for a worker: how many start before it, when it may start, and what for it waits.
   */
  async told(runIds: readonly string[]): Promise<Map<string, Told>> {
    const told = new Map<string, Told>();
    if (runIds.length === 0) return told;
    const { busy, each, readAt } = await this.foresee();
    let line = await this.readNow();
    const places = await this.places(runIds, line);
    // A project may be younger than what was read last.
    if (places.some(({ project }) => !line.shares.some(({ name }) => name === project))) {
      this.lineUntil = 0;
      line = await this.readNow();
    }
    const inRedis = total(line.shares.map(({ admitted }) => admitted));
    const waitingIn = (project: string) =>
      total(line.lanes.filter((lane) => lane.project === project).map(({ waiting }) => waiting));
    const passed = (line.now - readAt) / 1000;
    for (const { runId, project, admitted, ahead, nextStartAt, labels, gpu } of places) {
      const requires = { labels, ...(gpu && { gpu }) };
      const share = line.shares.find(({ name }) => name === project)!;
      const jobsAhead = admitted ? ahead : inRedis + ahead + othersAhead(line.shares, project, ahead, waitingIn);
      const able = line.machines.filter((machine) => capacity(machine, machine.slots, requires) > 0);
      // One that is in Redis is asked once more when it is claimed, for its place only.
      const quota = quotaReached(admitted ? { ...share, admitted: 0, gpuSeconds: null } : share);
      const waitsFor: WaitsFor =
        nextStartAt !== null && nextStartAt.getTime() > line.now
          ? 'backoff'
          : (quota ?? (able.length === 0 && line.machines.length > 0 ? 'placement' : 'slot'));
      const slots = able.flatMap((machine) => {
        const held = busy
          .filter(({ workerId }) => workerId === machine.id)
          .map(({ seconds }) => Math.max(0, seconds - passed));
        return [...held, ...Array.from({ length: Math.max(0, machine.slots - held.length) }, () => 0)].slice(
          0,
          capacity(machine, machine.slots, requires),
        );
      });
      let seconds = startsIn(jobsAhead, each ?? Number.POSITIVE_INFINITY, slots);
      if (share.maxRunning !== null) {
        // Its project's own places come free no sooner than its own runs end.
        const most = Math.min(share.maxRunning, total(line.machines.map((machine) => machine.slots)));
        const own = busy
          .filter((run) => run.project === project)
          .map((run) => Math.max(0, run.seconds - passed))
          .sort((a, b) => a - b)
          .slice(-most);
        const free = Array.from({ length: Math.max(0, most - own.length) }, () => 0);
        seconds = Math.max(
          seconds,
          startsIn(
            admitted ? Math.min(ahead, share.admitted - 1) : ahead + share.admitted,
            each ?? Number.POSITIVE_INFINITY,
            most === 0 ? [] : [...own, ...free],
          ),
        );
      }
      const at = Math.max(line.now + seconds * 1000, nextStartAt?.getTime() ?? 0);
      told.set(runId, {
        jobsAhead,
        waitsFor,
        predictedStartAt:
          waitsFor === 'gpu_seconds' || waitsFor === 'placement' || !Number.isFinite(at) ? null : new Date(at),
      });
    }
    return told;
  }

  /**
   * Who is before each in its project (in Redis: of all), however long the line is: those who are asked about are
   * counted from one to the next, so that none in between is looked at twice.
   */
  private places(runIds: readonly string[], { lanes }: Line): Promise<Place[]> {
    return this.database.prisma.$queryRaw<Place[]>`
      WITH lane AS (SELECT * FROM unnest(${lanes.map(({ project }) => project)}::text[], ${lanes.map(({ placement }) => placement)}::text[]) AS l(project, placement)),
        asked AS (
          SELECT o.run_id, o.project, o.placement, o.urgency, o.id, o.dispatched_at, r.next_start_at, r.required_labels AS labels, r.required_gpu AS gpu
          FROM outbox o JOIN run r ON r.id = o.run_id WHERE o.run_id = ANY(${[...runIds]}::uuid[])),
        stepwise AS (
          SELECT asked.*, coalesce(lag(urgency) OVER line, -1) AS from_urgency, coalesce(lag(run_id) OVER line, '00000000-0000-0000-0000-000000000000') AS from_id, row_number() OVER line - 1 AS asked_before
          FROM asked WHERE dispatched_at IS NULL WINDOW line AS (PARTITION BY project ORDER BY urgency, run_id)),
        counted AS (
          SELECT s.*, (SELECT coalesce(sum(n), 0) FROM lane CROSS JOIN LATERAL (
              SELECT count(*) AS n FROM outbox o
              WHERE o.dispatched_at IS NULL AND o.project = lane.project AND o.placement = lane.placement AND (o.urgency, o.run_id) > (s.from_urgency, s.from_id) AND (o.urgency, o.run_id) < (s.urgency, s.run_id)) AS between_them
            WHERE lane.project = s.project) AS step
          FROM stepwise s)
      SELECT run_id AS "runId", project, placement, false AS admitted, (asked_before + sum(step) OVER (PARTITION BY project ORDER BY urgency, run_id))::int AS ahead, next_start_at AS "nextStartAt", labels, gpu FROM counted
      UNION ALL
      SELECT run_id, project, placement, true, (SELECT count(*) FROM outbox o WHERE o.dispatched_at <= asked.dispatched_at AND (o.dispatched_at, o.urgency, o.run_id) < (asked.dispatched_at, asked.urgency, asked.run_id))::int, next_start_at, labels, gpu
      FROM asked WHERE dispatched_at IS NOT NULL`;
  }
}

/** How long those who work will still take, and those who are next. */
async function readForecast(tx: Transaction): Promise<Forecast> {
  interface Known {
    spec: RunSpec;
    datasetDigest: string | null;
    encoder: string | null;
  }
  const described = Prisma.sql`r.spec, r.dataset_digest AS "datasetDigest", (coalesce(r.spec->'encoder', p.spec->'encoder'))::text AS encoder`;
  const working = await tx.$queryRaw<
    (Known & { project: string; workerId: string; elapsed: number; done: number; left: number | null; now: number })[]
  >`
    SELECT ${described}, r.project, r.worker_id AS "workerId", extract(epoch FROM now() - a.started_at)::float8 AS elapsed, r.step - a.resumed_from_step AS done, r.total_steps - r.step AS left
    FROM run r JOIN attempt a ON a.run_id = r.id AND a.attempt = r.attempt LEFT JOIN run p ON p.id = (r.spec->>'from')::uuid WHERE r.status IN ${ACTIVE}`;
  const due = await readDue(tx, SAMPLE);
  const next = due.length
    ? await tx.$queryRaw<
        Known[]
      >`SELECT ${described} FROM run r LEFT JOIN run p ON p.id = (r.spec->>'from')::uuid WHERE r.id = ANY(${due.map(({ runId }) => runId)}::uuid[])`
    : [];
  const [{ now } = { now: Date.now() }] = await tx.$queryRaw<
    { now: number }[]
  >`SELECT extract(epoch FROM clock_timestamp())::float8 * 1000 AS now`;
  const canonical = (runs: readonly Known[]) =>
    runs.map((run) => ({ ...run, encoder: run.encoder === null ? null : canonicalJson(JSON.parse(run.encoder)) }));
  const seconds = (await secondsOfEach(tx, canonical([...working, ...next]))).map((known) => known?.seconds ?? null);
  const busy = working.map(({ project, workerId, elapsed, done, left }, i) => {
    // Its own pace says more than that of others.
    const rest =
      done > 0 && left !== null
        ? (elapsed / done) * left
        : Math.max(0, (seconds[i] ?? Number.POSITIVE_INFINITY) - elapsed);
    return { project, workerId, seconds: rest };
  });
  const known = seconds.slice(working.length).filter((each) => each !== null);
  return { readAt: now, busy, each: known.length ? total(known) / known.length : null };
}
