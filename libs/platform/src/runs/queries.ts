/** Everything that is read from Postgres for people and programs. Nothing here changes anything. */
import type {
  DamagedRow,
  GroupRuns,
  ListMetrics,
  ListPage,
  ListRuns,
  MetricPoint,
  RunFilter,
  RunGroups,
  RunRecord,
  RunStatus,
} from '#libs/contracts';
import { isWaiting, WaitingLine } from '../dispatch/standing.js';
import { undispatchedSeconds, untakenSeconds, type Window } from '../dispatch/waiting-line.js';
import { intactRows, onlyOne, type IntactRows } from '../checked-row.js';
import type { Database } from '../machine/database.js';
import { inTurns, Turns } from '../machine/turns.js';
import { curvesOf } from './curves.js';
import { cursorAfter, runsInOrder, runsLike } from './filter.js';
import { groupsOf } from './groups.js';
import { decodeCursor, encodeCursor, pageOf, type Page } from './page.js';
import {
  artifactRecord,
  datasetRecord,
  modelRecord,
  eventRecord,
  logLineRecord,
  runsById,
  workerRecord,
  type ArtifactRecord,
  type DatasetRecord,
  type DatasetRow,
  type ModelRecord,
  type ModelRow,
  type LogLineRecord,
  type MetricSeriesRecord,
  type RunDetailRecord,
  type RunEventRecord,
  type WorkerRecord,
} from './records.js';
import { isAlive } from './sql.js';

/** Most workers that no longer answer in the list: the newest. */
const MOST_GONE_WORKERS = 500;

export class RunQueries {
  private readonly line: WaitingLine;

  constructor(
    private readonly database: Database,
    private readonly options: { leaseMs: number; window?: Window },
  ) {
    this.line = new WaitingLine(database, options);
  }

  private get prisma() {
    return this.database.prisma;
  }

  // Runs

  /** Whether there is such a run, damaged or not. */
  async hasRun(id: string): Promise<boolean> {
    return (await this.prisma.run.count({ where: { id } })) > 0;
  }

  /** @throws DamagedRowError */
  async run(id: string): Promise<RunRecord | undefined> {
    const record = onlyOne(await runsById(this.prisma, [id]));
    return record && this.inLine(record);
  }

  /** The run, with its place in the line where it waits for a worker. */
  private async inLine<Run extends RunRecord>(run: Run): Promise<Run> {
    if (!isWaiting(run)) return run;
    return { ...run, ...(await this.line.standings([run.id]))(run) };
  }

  /**
   * With its attempts, of one moment: a step of the attempt before beside the attempt that has begun since would be
   * progress that there is not.
   * @throws DamagedRowError
   */
  async runDetail(id: string): Promise<RunDetailRecord | undefined> {
    const detail = await this.database.snapshot(async (tx) => {
      const run = onlyOne(await runsById(tx, [id]));
      if (!run) return undefined;
      const { notes, attempts } = await tx.run.findUniqueOrThrow({
        where: { id },
        select: { notes: true, attempts: { orderBy: { attempt: 'asc' }, omit: { runId: true } } },
      });
      return { ...run, notes, attempts };
    });
    return detail && this.inLine(detail);
  }

  /**
   * Those that a filter names, by what `sort` says and the id; runs that lack it come last, in either direction.
   * @throws RequestError for a cursor that is none, or of another order.
   */
  async runs({
    sort = '-createdAt',
    limit,
    cursor,
    ...filter
  }: Omit<ListRuns, 'sort'> & Partial<Pick<ListRuns, 'sort'>>): Promise<Page<RunRecord>> {
    const found = await runsInOrder(this.prisma, filter, { sort, cursor, limit: limit + 1 });
    const page = await pageOf(
      found,
      limit,
      (last) => cursorAfter(sort, last),
      (each) => each,
    );
    const [{ items: records, damaged }, toldOf] = await Promise.all([
      runsById(
        this.prisma,
        page.items.map(({ id }) => id),
      ),
      this.line.standings(page.items.filter(isWaiting).map(({ id }) => id)),
    ]);
    const byId = new Map(records.map((record) => [record.id, record]));
    const items = await inTurns(
      page.items.flatMap(({ id }) => byId.get(id) ?? []),
      (run) => ({ ...run, ...toldOf(run) }),
    );
    return { ...page, items, ...(damaged && { damaged: inOrderOf(page.items, damaged) }) };
  }

  /** In the order in which they happened, from the one after `after`. */
  async events(
    runId: string,
    { after = 0, limit }: { after?: number | undefined; limit: number },
  ): Promise<RunEventRecord[]> {
    const rows = await this.prisma.runEvent.findMany({
      where: { runId, id: { gt: after } },
      orderBy: { id: 'asc' },
      take: limit,
    });
    return rows.map(eventRecord);
  }

  async logs(
    runId: string,
    { after = 0, limit }: { after?: number | undefined; limit: number },
  ): Promise<LogLineRecord[]> {
    const rows = await this.prisma.logLine.findMany({
      where: { runId, id: { gt: after } },
      orderBy: { id: 'asc' },
      take: limit,
    });
    return rows.map(logLineRecord);
  }

  /** Curves, each of at most `points` points: the mean of equal numbers of neighbours, at the last one's step. */
  async metrics(runId: string, query: ListMetrics): Promise<MetricSeriesRecord[]> {
    const series: MetricSeriesRecord[] = [];
    const turns = new Turns();
    for await (const { key, points } of curvesOf(this.prisma, runId, query)) {
      const told = JSON.parse(points) as { step: number; value: number; at: string }[];
      series.push({ key, points: told.map(({ step, value, at }) => ({ step, value, at: new Date(at) })) });
      if (turns.over) await turns.next();
    }
    return series;
  }

  /** The same as JSON text of each `MetricSeries`, as Postgres writes it: a curve costs whoever sends it nothing. */
  async *metricsAsText(runId: string, query: ListMetrics): AsyncGenerator<string> {
    for await (const { key, points } of curvesOf(this.prisma, runId, query))
      yield `{"key":${JSON.stringify(key)},"points":${points}}`;
  }

  /** Points in order of arrival, for a reader that follows the run. */
  async metricsAfter(runId: string, seq: number, limit: number): Promise<(MetricPoint & { at: Date; seq: number })[]> {
    const rows = await this.prisma.metric.findMany({
      where: { runId, seq: { gt: seq } },
      orderBy: { seq: 'asc' },
      take: limit,
    });
    return rows.map((row) => ({ key: row.key, step: row.step, value: row.value, at: row.at, seq: Number(row.seq) }));
  }

  /** How far the three sequences of a run have come. */
  async newest(runId: string): Promise<{ event: number; metric: number; log: number }> {
    const [row] = await this.prisma.$queryRaw<[{ event: number; metric: number; log: number }]>`
      SELECT
        coalesce((SELECT max(id) FROM run_event WHERE run_id = ${runId}::uuid), 0)::float8 AS event,
        coalesce((SELECT max(seq) FROM metric WHERE run_id = ${runId}::uuid), 0)::float8 AS metric,
        coalesce((SELECT max(id) FROM log_line WHERE run_id = ${runId}::uuid), 0)::float8 AS log`;
    return row;
  }

  async artifacts(runId: string, { limit, cursor }: ListPage): Promise<Page<ArtifactRecord>> {
    const after = decodeCursor(cursor, 'date', 'id') as [string, string] | undefined;
    const rows = await this.prisma.artifact.findMany({
      where: {
        runId,
        ...(after && {
          OR: [{ createdAt: { gt: new Date(after[0]) } }, { createdAt: new Date(after[0]), id: { gt: after[1] } }],
        }),
      },
      orderBy: [{ createdAt: 'asc' }, { id: 'asc' }],
      take: limit + 1,
    });
    return pageOf(rows, limit, (row) => encodeCursor(row.createdAt.toISOString(), row.id), artifactRecord);
  }

  async artifact(runId: string, id: string): Promise<ArtifactRecord | undefined> {
    const row = await this.prisma.artifact.findFirst({ where: { id, runId } });
    return row ? artifactRecord(row) : undefined;
  }

  /** How many runs that a filter names are in each status. */
  async runCounts(filter: RunFilter = {}): Promise<Partial<Record<RunStatus, number>>> {
    const groups = await this.prisma.$queryRaw<{ status: RunStatus; count: number }[]>`
      SELECT status::text AS status, count(*)::int AS count
      FROM run
      WHERE ${runsLike(filter)}
      GROUP BY run.status`;
    return Object.fromEntries(groups.map(({ status, count }) => [status, count]));
  }

  /** The runs that a filter names, in groups of equal fields. */
  runGroups(query: GroupRuns): Promise<RunGroups> {
    return groupsOf(this.prisma, query);
  }

  /** Those of some runs that a filter names. */
  async runsAmong(ids: readonly string[], filter: RunFilter): Promise<string[]> {
    if (ids.length === 0) return [];
    const rows = await this.prisma.$queryRaw<{ id: string }[]>`
      SELECT run.id
      FROM run
      WHERE run.id = ANY(${[...ids]}::uuid[]) AND ${runsLike(filter)}`;
    return rows.map(({ id }) => id);
  }

  /** For how many seconds a run has waited that could be in Redis; 0 where none has. */
  dispatchWaitSeconds(): Promise<number> {
    return undispatchedSeconds(this.prisma, { leaseMs: this.options.leaseMs, window: this.options.window ?? 'auto' });
  }

  /** For how long the run has waited that a worker could take now, and does not. */
  untakenSeconds(): Promise<number> {
    return untakenSeconds(this.prisma, this.options);
  }

  // Datasets, models and workers

  /** All versions, the newest first. */
  async datasets(page: ListPage): Promise<Page<DatasetRecord>> {
    return pageOf(await this.prisma.dataset.findMany(versionsOf(page)), page.limit, versionCursor, datasetRecord);
  }

  /** `name` for its newest version, or `name@digest`. @throws DamagedRowError */
  async dataset(reference: string): Promise<DatasetRecord | undefined> {
    const row = await this.datasetVersion(reference);
    return row && datasetRecord(row);
  }

  /** The same as it is stored. */
  async datasetVersion(reference: string): Promise<DatasetRow | undefined> {
    return (await this.prisma.dataset.findFirst(newestOf(reference))) ?? undefined;
  }

  /** The same of models. */
  async models(page: ListPage): Promise<Page<ModelRecord>> {
    return pageOf(await this.prisma.model.findMany(versionsOf(page)), page.limit, versionCursor, modelRecord);
  }

  async model(reference: string): Promise<ModelRecord | undefined> {
    const row = await this.modelVersion(reference);
    return row && modelRecord(row);
  }

  async modelVersion(reference: string): Promise<ModelRow | undefined> {
    return (await this.prisma.model.findFirst(newestOf(reference))) ?? undefined;
  }

  /**
   * How many workers answer, how many of these take no runs for now, and how many fell silent without having been told
   * to end or having said that they do.
   */
  async workerCounts(): Promise<{ alive: number; impaired: number; missed: number }> {
    const alive = isAlive(this.options.leaseMs);
    const [counts] = await this.prisma.$queryRaw<{ alive: number; impaired: number; missed: number }[]>`
      SELECT
        count(*) FILTER (WHERE ${alive})::int AS alive,
        count(*) FILTER (WHERE ${alive} AND impairment IS NOT NULL)::int AS impaired,
        count(*) FILTER (WHERE NOT ${alive} AND state NOT IN ('draining', 'stopped'))::int AS missed
      FROM worker`;
    return counts!;
  }

  /** The newest first: all that answer, and of those that do not the newest. Or the one of an id. */
  async workers(id: string | null = null): Promise<IntactRows<WorkerRecord>> {
    const rows = await this.prisma.$queryRaw<{ id: string }[]>`
      SELECT
        id,
        host,
        pid,
        state,
        impairment,
        slots,
        versions,
        labels,
        gpus,
        memory_mib AS "memoryMiB",
        started_at AS "startedAt",
        heartbeat_at AS "heartbeatAt",
        ${isAlive(this.options.leaseMs)} AS alive
      FROM worker
      WHERE id = ${id} OR (${id}::text IS NULL AND (${isAlive(this.options.leaseMs)} OR id IN (
        SELECT id
        FROM worker
        ORDER BY started_at DESC
        LIMIT ${MOST_GONE_WORKERS})))
      ORDER BY started_at DESC`;
    return intactRows(rows, workerRecord);
  }
}

/** A page of versions, the newest first, and one more. */
function versionsOf({ limit, cursor }: ListPage) {
  const after = decodeCursor(cursor, 'date', 'text', 'text') as [string, string, string] | undefined;
  const at = after && new Date(after[0]);
  return {
    where: after
      ? {
          OR: [
            { createdAt: { lt: at! } },
            { createdAt: at!, name: { gt: after[1] } },
            { createdAt: at!, name: after[1], digest: { gt: after[2] } },
          ],
        }
      : {},
    orderBy: [{ createdAt: 'desc' as const }, { name: 'asc' as const }, { digest: 'asc' as const }],
    take: limit + 1,
  };
}
const versionCursor = ({ createdAt, name, digest }: { createdAt: Date; name: string; digest: string }): string =>
  encodeCursor(createdAt.toISOString(), name, digest);

/** The newest version of a name, or of those whose digest begins so. */
function newestOf(reference: string) {
  const [name = '', digest = ''] = reference.split('@');
  return { where: { name, digest: { startsWith: digest } }, orderBy: { createdAt: 'desc' as const } };
}

/** Damaged rows in the order of those that were asked for. */
const inOrderOf = (rows: readonly { id: string }[], damaged: readonly DamagedRow[]): DamagedRow[] =>
  rows.flatMap(({ id }) => damaged.find((row) => row.id === id) ?? []);
