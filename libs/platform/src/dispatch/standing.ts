/** What can be told of runs that wait: where they stand in the line, what for they wait, and when they may start. */
import {
  ACTIVE_STATUSES,
  canonicalJson,
  type Requires,
  type RunRecord,
  type RunSpec,
  type WaitsFor,
} from '#libs/contracts';
import { Prisma, type Database, type Transaction } from '../machine/database.js';
import { secondsOfEach } from '../runs/estimate.js';
import { attemptSeconds, hasStatus } from '../runs/sql.js';
import { othersAhead, quotaReached, startsIn, type Share } from './fair-share.js';
import { capacity, readDue, readLine, total, type Line, type Machine } from './waiting-line.js';

/** What is told of those who wait may be as old as this. */
const TOLD_MS = 1000;
const DURATIONS_MS = 10_000;
/** Of each project and placement so many that are next are asked how long they will take. */
const SAMPLE = 20;

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
  /** Seconds of a run of those who are next; null where nothing of their kinds has succeeded. */
  each: number | null;
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
    if (runIds.length === 0) return new Map();
    const forecast = await this.foresee();
    let line = await this.readNow();
    const places = await this.places(runIds, line);
    // A project may be younger than what was read last.
    if (places.some(({ project }) => !line.shares.some(({ name }) => name === project))) {
      this.lineUntil = 0;
      line = await this.readNow();
    }
    return new Map(places.map((place) => [place.runId, standing(place, line, forecast)]));
  }

  /**
   * Who is before each in its project (in Redis: of all), however long the line is: those who are asked about are
   * counted from one to the next, so that none in between is looked at twice.
   */
  private places(runIds: readonly string[], { lanes }: Line): Promise<Place[]> {
    return this.database.prisma.$queryRaw<Place[]>`
      WITH lane AS (
          SELECT *
          FROM unnest(
            ${lanes.map(({ project }) => project)}::text[],
            ${lanes.map(({ placement }) => placement)}::text[]) AS l(project, placement)),
        asked AS (
          SELECT o.run_id, o.project, o.placement, o.urgency, o.id, o.dispatched_at, r.next_start_at,
            r.required_labels AS labels, r.required_gpu AS gpu
          FROM outbox o JOIN run r ON r.id = o.run_id
          WHERE o.run_id = ANY(${[...runIds]}::uuid[])),
        stepwise AS (
          SELECT
            asked.*,
            coalesce(lag(urgency) OVER line, -1) AS from_urgency,
            coalesce(lag(run_id) OVER line, '00000000-0000-0000-0000-000000000000') AS from_id,
            row_number() OVER line - 1 AS asked_before
          FROM asked
          WHERE dispatched_at IS NULL
          WINDOW line AS (PARTITION BY project ORDER BY urgency, run_id)),
        counted AS (
          SELECT s.*, (
            SELECT coalesce(sum(n), 0)
            FROM lane CROSS JOIN LATERAL (
              SELECT count(*) AS n
              FROM outbox o
              WHERE o.dispatched_at IS NULL AND o.project = lane.project AND o.placement = lane.placement
                AND (o.urgency, o.run_id) > (s.from_urgency, s.from_id)
                AND (o.urgency, o.run_id) < (s.urgency, s.run_id)) AS between_them
            WHERE lane.project = s.project) AS step
          FROM stepwise s)
      SELECT run_id AS "runId", project, placement, false AS admitted,
        (asked_before + sum(step) OVER (PARTITION BY project ORDER BY urgency, run_id))::int AS ahead,
        next_start_at AS "nextStartAt", labels, gpu
      FROM counted
      UNION ALL
      SELECT run_id, project, placement, true, (
          SELECT count(*)
          FROM outbox o
          WHERE o.dispatched_at <= asked.dispatched_at
            AND (o.dispatched_at, o.urgency, o.run_id) < (asked.dispatched_at, asked.urgency, asked.run_id))::int,
        next_start_at, labels, gpu
      FROM asked
      WHERE dispatched_at IS NOT NULL`;
  }
}

/** What is told of one that waits in this place. */
function standing(place: Place, line: Line, forecast: Forecast): Told {
  const { project, admitted, ahead, nextStartAt, labels, gpu } = place;
  const share = line.shares.find(({ name }) => name === project)!;
  const inRedis = total(line.shares.map((each) => each.admitted));
  const waitingIn = (name: string) =>
    total(line.lanes.filter((lane) => lane.project === name).map(({ waiting }) => waiting));
  const jobsAhead = admitted ? ahead : inRedis + ahead + othersAhead(line.shares, project, ahead, waitingIn);
  const requires = { labels, ...(gpu && { gpu }) };
  const able = line.machines.filter((machine) => capacity(machine, machine.slots, requires) > 0);
  const waitsFor = reasonToWait(place, share, line, able.length > 0);
  const dueAt = nextStartAt?.getTime() ?? 0;
  const seconds = Math.max(
    startsIn(jobsAhead, forecast.each ?? Number.POSITIVE_INFINITY, slotsOf(able, requires, line, forecast)),
    ownPlaceIn(place, share, line, forecast),
  );
  const at = Math.max(line.now + seconds * 1000, dueAt);
  const never = waitsFor === 'gpu_seconds' || waitsFor === 'placement' || !Number.isFinite(at);
  return { jobsAhead, waitsFor, predictedStartAt: never ? null : new Date(at) };
}

function reasonToWait({ admitted, nextStartAt }: Place, share: Share, line: Line, placeable: boolean): WaitsFor {
  if (nextStartAt !== null && nextStartAt.getTime() > line.now) return 'backoff';
  // One that is in Redis is asked once more when it is claimed, for its place only.
  const quota = quotaReached(admitted ? { ...share, admitted: 0, gpuSeconds: null } : share);
  return quota ?? (!placeable && line.machines.length > 0 ? 'placement' : 'slot');
}

/** How many seconds a run of the forecast may still take. */
const rest = ({ seconds }: Busy, line: Line, { readAt }: Forecast): number =>
  Math.max(0, seconds - (line.now - readAt) / 1000);

/** In how many seconds each slot is free that a run which asks for this could use. */
function slotsOf(able: readonly Machine[], requires: Requires, line: Line, forecast: Forecast): number[] {
  return able.flatMap((machine) => {
    const held = forecast.busy
      .filter(({ workerId }) => workerId === machine.id)
      .map((run) => rest(run, line, forecast));
    const free = Array.from({ length: Math.max(0, machine.slots - held.length) }, () => 0);
    return [...held, ...free].slice(0, capacity(machine, machine.slots, requires));
  });
}

/** In how many seconds its project may have one more run: its own places come free no sooner than its own runs end. */
function ownPlaceIn({ project, admitted, ahead }: Place, share: Share, line: Line, forecast: Forecast): number {
  if (share.maxRunning === null) return 0;
  const most = Math.min(share.maxRunning, total(line.machines.map((machine) => machine.slots)));
  const own = forecast.busy
    .filter((run) => run.project === project)
    .map((run) => rest(run, line, forecast))
    .sort((a, b) => a - b)
    .slice(-most);
  const free = Array.from({ length: Math.max(0, most - own.length) }, () => 0);
  return startsIn(
    admitted ? Math.min(ahead, share.admitted - 1) : ahead + share.admitted,
    forecast.each ?? Number.POSITIVE_INFINITY,
    most === 0 ? [] : [...own, ...free],
  );
}

/** How long those who work will still take, and those who are next. */
async function readForecast(tx: Transaction): Promise<Forecast> {
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
