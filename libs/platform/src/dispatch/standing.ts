/** What can be told of runs that wait: where they stand in the line, what for they wait, and when they may start. */
import { WAITING_STATUSES, type RunRecord, type RunStatus } from '#libs/contracts';
import { Prisma, type Database } from '../machine/database.js';
import { readForecast, type Forecast } from './forecast.js';
import { Outlook, type Place, type Told } from './outlook.js';
import { LANES, readLine, type Line } from './waiting-line.js';

/** Milliseconds for which a reading of the line, and the places of runs in it, may be told. */
const TOLD_MS = 1000;
const DURATIONS_MS = 10_000;

export const isWaiting = ({ status }: { status: RunStatus }): boolean =>
  (WAITING_STATUSES as readonly RunStatus[]).includes(status);

/** What was read from Postgres, for as long as it may be told. */
class Reading<Value> {
  private value: Promise<Value> | undefined;
  private until = 0;

  constructor(
    private readonly lastsMs: number,
    private readonly read: () => Promise<Value>,
  ) {}

  get(): Promise<Value> {
    if (performance.now() > this.until) {
      this.until = performance.now() + this.lastsMs;
      this.value = this.read();
      this.value.catch(() => this.forget());
    }
    return this.value!;
  }

  forget(): void {
    this.until = 0;
  }
}

/** What can be told of runs that wait. Looks at the line, and for each run's place, once a second at most. */
export class WaitingLine {
  private readonly line: Reading<Line>;
  private readonly forecast: Reading<Forecast>;
  private readonly database: Database;
  private outlook: Outlook | undefined;
  /** Places in the line that were asked for since the last reading, by the run's id. */
  private places = new Map<string, Promise<Place | undefined>>();
  private placesUntil = 0;

  constructor(database: Database, { leaseMs }: { leaseMs: number }) {
    this.database = database;
    this.line = new Reading(TOLD_MS, () => readLine(database.prisma, leaseMs, 'all'));
    this.forecast = new Reading(DURATIONS_MS, () => readForecast(database.prisma));
  }

  /**
   * Looks up where those of these runs stand that wait for a worker.
   * @returns what tells of a run how many start before it, when it may start, and what for it waits; undefined of one
   *   that does not wait.
   */
  async standings(runIds: readonly string[]): Promise<(run: RunRecord) => Told | undefined> {
    if (runIds.length === 0) return () => undefined;
    const [found, forecast, before] = await Promise.all([this.placesOf(runIds), this.forecast.get(), this.line.get()]);
    const outlook = this.outlookOn(await this.withProjectsOf(found, before), forecast);
    const places = new Map(found.map((place) => [place.runId, place]));
    return (run) => {
      const place = places.get(run.id);
      return place && isWaiting(run) ? outlook.told(run, place) : undefined;
    };
  }

  private outlookOn(line: Line, forecast: Forecast): Outlook {
    if (this.outlook?.line !== line || this.outlook.forecast !== forecast) this.outlook = new Outlook(line, forecast);
    return this.outlook;
  }

  /** The line; read anew where it lacks the project of one of these runs, which was made since it was read. */
  private withProjectsOf(places: readonly Place[], line: Line): Line | Promise<Line> {
    const known = new Set(line.shares.map(({ name }) => name));
    if (places.every(({ project }) => known.has(project))) return line;
    this.line.forget();
    return this.line.get();
  }

  private async placesOf(runIds: readonly string[]): Promise<Place[]> {
    if (performance.now() > this.placesUntil) {
      this.placesUntil = performance.now() + TOLD_MS;
      this.places = new Map();
    }
    const { places } = this;
    const asked = runIds.filter((id) => !places.has(id));
    if (asked.length) {
      const counted = this.database.prisma
        .$queryRaw<Place[]>(placesInLine(asked))
        .then((rows) => new Map(rows.map((row) => [row.runId, row])));
      for (const id of asked) {
        const place = counted.then((found) => found.get(id));
        place.catch(() => places.delete(id));
        places.set(id, place);
      }
    }
    const found = await Promise.all(runIds.map((id) => places.get(id)!));
    return found.filter((place) => place !== undefined);
  }
}

/**
 * Who is before each in its project (in Redis: of all). One statement, however long the line is: those who are asked
 * about are counted from one to the next, in each placement of their project, so that none in between is looked at
 * twice.
 */
const placesInLine = (runIds: readonly string[]): Prisma.Sql => Prisma.sql`
  WITH RECURSIVE lane AS (${LANES}),
    asked AS (
      SELECT run_id, project, urgency, submitted_at, dispatched_at
      FROM outbox
      WHERE run_id = ANY(${[...runIds]}::uuid[])),
    stepwise AS (
      SELECT
        asked.*,
        coalesce(lag(urgency) OVER line, -1) AS from_urgency,
        coalesce(lag(submitted_at) OVER line, '-infinity') AS from_time,
        coalesce(lag(run_id) OVER line, '00000000-0000-0000-0000-000000000000') AS from_id,
        row_number() OVER line - 1 AS asked_before
      FROM asked
      WHERE dispatched_at IS NULL
      WINDOW line AS (PARTITION BY project ORDER BY urgency, submitted_at, run_id)),
    counted AS (
      SELECT s.*, (
        SELECT coalesce(sum(n), 0)
        FROM lane CROSS JOIN LATERAL (
          SELECT count(*) AS n
          FROM outbox o
          WHERE o.dispatched_at IS NULL AND o.project = lane.project AND o.placement = lane.placement
            AND (o.urgency, o.submitted_at, o.run_id) > (s.from_urgency, s.from_time, s.from_id)
            AND (o.urgency, o.submitted_at, o.run_id) < (s.urgency, s.submitted_at, s.run_id)) AS between_them
        WHERE lane.project = s.project) AS step
      FROM stepwise s)
  SELECT
    run_id AS "runId",
    project,
    false AS admitted,
    (asked_before + sum(step) OVER (PARTITION BY project ORDER BY urgency, submitted_at, run_id))::int AS ahead
  FROM counted
  UNION ALL
  SELECT run_id, project, true, (
    SELECT count(*)
    FROM outbox o
    WHERE o.dispatched_at <= asked.dispatched_at
      AND (o.dispatched_at, o.urgency, o.submitted_at, o.run_id)
        < (asked.dispatched_at, asked.urgency, asked.submitted_at, asked.run_id))::int
  FROM asked
  WHERE dispatched_at IS NOT NULL`;
