/** Everything that is read from Postgres for people and programs. Nothing here changes anything. */
import {
  parseCondition,
  parseSort,
  type Artifact,
  type Dataset,
  type ListMetrics,
  type ListPage,
  type ListRuns,
  type LogLine,
  type MetricPoint,
  type MetricSeries,
  type Requires,
  type RunDetail,
  type RunFilter,
  type RunEvent,
  type RunRecord,
  type RunSort,
  type RunSpec,
  type RunStatus,
  type Worker,
} from '#libs/contracts';
import type { z } from 'zod';
import { Prisma, type Database } from '../machine/database.js';
import { RequestError } from '../request-error.js';
import { undispatchedSeconds, WaitingLine, type Window } from '../dispatch/waiting-line.js';

export interface Page<Item> {
  items: Item[];
  nextCursor: string | null;
}
/** What is read, with dates as dates; the API's schemas turn it into what is sent. */
export type Complete<Record, Spec> = Omit<Record, 'spec'> & { spec: Spec };
export type RunDetailRecord = Complete<z.input<typeof RunDetail>, RunSpec>;
export type RunEventRecord = z.input<typeof RunEvent>;
export type ArtifactRecord = z.input<typeof Artifact>;
export type LogLineRecord = z.input<typeof LogLine>;
export type DatasetRecord = z.input<typeof Dataset>;
export type WorkerRecord = z.input<typeof Worker>;
export type MetricSeriesRecord = z.input<typeof MetricSeries>;

/** Where a page ended, as opaque text. */
export const encodeCursor = (...key: (string | number)[]): string =>
  Buffer.from(JSON.stringify(key)).toString('base64url');
const invalidCursor = () =>
  RequestError.invalid([{ path: ['cursor'], message: 'expected the nextCursor of an earlier page' }]);

export function decodeCursor(
  cursor: string | undefined,
  ...types: ('date' | 'text' | 'id' | 'number')[]
): (string | number)[] | undefined {
  if (cursor === undefined) return undefined;
  let key: unknown;
  try {
    key = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  } catch {
    throw invalidCursor();
  }
  const fits = (value: unknown, type: (typeof types)[number]) =>
    type === 'number'
      ? Number.isSafeInteger(value)
      : typeof value === 'string' &&
        ((type === 'text' && !value.includes('\0')) ||
          (type === 'date' ? !Number.isNaN(Date.parse(value)) : /^[0-9a-f-]{36}$/.test(value)));
  if (
    !Array.isArray(key) ||
    key.length !== types.length ||
    !types.every((type, i) => fits((key as unknown[])[i], type))
  )
    throw invalidCursor();
  return key as (string | number)[];
}

/** One row more than asked for tells whether a page follows. */
export function pageOf<Row, Item>(
  rows: Row[],
  limit: number,
  cursorOf: (row: Row) => string,
  itemOf: (row: Row) => Item,
): Page<Item> {
  const shown = rows.slice(0, limit);
  return { items: shown.map(itemOf), nextCursor: rows.length > limit ? cursorOf(shown.at(-1)!) : null };
}

/** A condition on `run`: that a filter names it. */
export const runsLike = ({ status, kind, tag, sweep, name, id, parent, project, where = [] }: RunFilter): Prisma.Sql =>
  Prisma.join(
    [
      Prisma.sql`true`,
      // One by one, so that a single one goes by the index in its order.
      ...(status
        ? [Prisma.sql`run.status IN (${Prisma.join(status.map((each) => Prisma.sql`${each}::text::run_status`))})`]
        : []),
      ...(kind ? [Prisma.sql`run.kind = ANY(${kind}::text[])`] : []),
      ...(tag ? [Prisma.sql`run.tags @> ARRAY[${tag}]::text[]`] : []),
      ...(sweep ? [Prisma.sql`run.id IN (SELECT run_id FROM trial_run WHERE sweep_id = ${sweep}::uuid)`] : []),
      ...(name ? [Prisma.sql`position(lower(${name}) IN lower(run.name)) > 0`] : []),
      ...(project ? [Prisma.sql`run.project = ${project}`] : []),
      ...(id ? [Prisma.sql`run.id = ANY(${id}::uuid[])`] : []),
      ...(parent ? [Prisma.sql`run.id IN (SELECT run_id FROM run_dependency WHERE parent_id = ${parent}::uuid)`] : []),
      ...where.map((text) => {
        const { key, operator, value } = parseCondition(text)!;
        return Prisma.sql`run.id IN (SELECT run_id FROM run_metric WHERE key = ${key} AND value ${Prisma.raw(operator)} ${String(value)}::text::float8)`;
      }),
    ],
    ' AND ',
  );

/** By what runs are sorted: the expression, its type, and whether a run can lack it. */
const SORTS: Record<RunSort['by'], { by: Prisma.Sql; type: 'timestamptz' | 'text' | 'float8'; optional: boolean }> = {
  createdAt: { by: Prisma.sql`run.created_at`, type: 'timestamptz', optional: false },
  startedAt: { by: Prisma.sql`run.started_at`, type: 'timestamptz', optional: true },
  finishedAt: { by: Prisma.sql`run.finished_at`, type: 'timestamptz', optional: true },
  name: { by: Prisma.sql`run.name`, type: 'text', optional: true },
  duration: {
    by: Prisma.sql`(extract(epoch FROM run.finished_at - run.started_at))::float8`,
    type: 'float8',
    optional: true,
  },
  priority: { by: Prisma.sql`run.priority::float8`, type: 'float8', optional: false },
  metric: { by: Prisma.sql`sorted.value`, type: 'float8', optional: true },
};

export const withParents = {
  parents: { select: { parentId: true } },
  lastMetrics: { select: { key: true, value: true } },
} satisfies Prisma.RunInclude;
type RunRow = Prisma.RunGetPayload<{ include: typeof withParents }>;

/** What waits is told by `RunQueries.inLine`. */
export const runRecord = (row: RunRow): RunRecord => ({
  id: row.id,
  name: row.name,
  project: row.project,
  kind: row.kind as RunRecord['kind'],
  status: row.status,
  statusReason: row.statusReason as RunRecord['statusReason'],
  statusDetail: row.statusDetail,
  digest: row.digest,
  spec: row.spec as unknown as RunRecord['spec'],
  tags: row.tags,
  priority: row.priority,
  requires: {
    labels: row.requiredLabels as Record<string, string>,
    ...(row.requiredGpu !== null && { gpu: row.requiredGpu as NonNullable<Requires['gpu']> }),
  },
  attempt: row.attempt,
  step: row.step,
  totalSteps: row.totalSteps,
  result: row.result as unknown as RunRecord['result'],
  metrics: Object.fromEntries(row.lastMetrics.map(({ key, value }) => [key, value])),
  parents: row.parents.map(({ parentId }) => parentId),
  workerId: row.workerId,
  createdAt: row.createdAt,
  startedAt: row.startedAt,
  finishedAt: row.finishedAt,
  nextStartAt: row.nextStartAt,
  jobsAhead: null,
  predictedStartAt: null,
  waitsFor: null,
});

const artifactRecord = (row: Prisma.ArtifactGetPayload<object>): ArtifactRecord => ({
  id: row.id,
  runId: row.runId,
  attempt: row.attempt,
  name: row.name,
  kind: row.kind,
  mime: row.mime,
  sizeBytes: Number(row.sizeBytes),
  sha256: row.sha256,
  step: row.step,
  createdAt: row.createdAt,
});

const eventRecord = (row: Prisma.RunEventGetPayload<object>): RunEventRecord => ({
  id: Number(row.id),
  runId: row.runId,
  attempt: row.attempt,
  type: row.type,
  data: row.data as Record<string, unknown>,
  at: row.at,
});

const logLineRecord = (row: Prisma.LogLineGetPayload<object>): LogLineRecord => ({
  id: Number(row.id),
  attempt: row.attempt,
  level: row.level as LogLineRecord['level'],
  message: row.message,
  at: row.at,
});

const datasetRecord = (row: Prisma.DatasetGetPayload<object>): DatasetRecord => ({
  name: row.name,
  digest: row.digest,
  manifest: row.manifest as unknown as DatasetRecord['manifest'],
  runId: row.runId,
  createdAt: row.createdAt,
});

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

  async run(id: string): Promise<RunRecord | undefined> {
    const row = await this.prisma.run.findUnique({ where: { id }, include: withParents });
    return row ? (await this.inLine([runRecord(row)]))[0] : undefined;
  }

  /** With where they stand, those that wait for a worker. */
  private async inLine(runs: RunRecord[]): Promise<RunRecord[]> {
    const told = await this.line.told(
      runs.filter(({ status }) => status === 'queued' || status === 'retrying').map(({ id }) => id),
    );
    return runs.map((run) => ({ ...run, ...told.get(run.id) }));
  }

  async runDetail(id: string): Promise<RunDetailRecord | undefined> {
    const row = await this.prisma.run.findUnique({
      where: { id },
      include: { ...withParents, attempts: { orderBy: { attempt: 'asc' } } },
    });
    return row
      ? {
          ...(await this.inLine([runRecord(row)]))[0]!,
          attempts: row.attempts.map(({ runId: _, ...attempt }) => attempt),
        }
      : undefined;
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
    const { key, descending, by: field } = parseSort(sort);
    const { by, type, optional } = SORTS[field];
    const [direction, beyond] = descending
      ? [Prisma.raw('DESC'), Prisma.raw('<')]
      : [Prisma.raw('ASC'), Prisma.raw('>')];
    const after = decodeCursor(cursor, 'text', 'text', 'id', 'number') as [string, string, string, number] | undefined;
    const fits =
      !after ||
      (after[0] === sort &&
        (after[3] === 0
          ? optional
          : type === 'text' ||
            (type === 'float8'
              ? after[1] !== '' && Number.isFinite(Number(after[1]))
              : !Number.isNaN(Date.parse(after[1])))));
    if (!fits) throw invalidCursor();
    const at = after && {
      value: Prisma.sql`${after[1]}::text::${Prisma.raw(type)}`,
      id: Prisma.sql`${after[2]}::uuid`,
      lacks: after[3] === 0,
    };
    const like = runsLike(filter);
    const source =
      field === 'metric'
        ? Prisma.sql`run_metric AS sorted JOIN run ON run.id = sorted.run_id AND sorted.key = ${key}`
        : Prisma.sql`run`;
    // The id as the index has it.
    const id = field === 'metric' ? Prisma.sql`sorted.run_id` : Prisma.sql`run.id`;
    const having = Prisma.sql`
      SELECT run.id, ${by} AS value FROM ${source} WHERE ${like} AND ${field === 'metric' || !optional ? Prisma.sql`true` : Prisma.sql`${by} IS NOT NULL`}
        AND ${at ? Prisma.sql`(${by}, ${id}) ${beyond} (${at.value}, ${at.id})` : Prisma.sql`true`} ORDER BY ${by} ${direction}, ${id} ${direction} LIMIT ${limit + 1}`;
    const lacking = Prisma.sql`
      SELECT run.id, NULL AS value FROM run WHERE ${like} AND ${field === 'metric' ? Prisma.sql`NOT EXISTS (SELECT 1 FROM run_metric AS sorted WHERE sorted.run_id = run.id AND sorted.key = ${key})` : Prisma.sql`${by} IS NULL`}
        AND ${at?.lacks ? Prisma.sql`run.id ${beyond} ${at.id}` : Prisma.sql`true`} ORDER BY run.id ${direction} LIMIT ${limit + 1}`;
    const found = at?.lacks
      ? []
      : await this.prisma.$queryRaw<{ id: string; value: Date | number | string | null }[]>(having);
    if (optional && found.length <= limit)
      found.push(...(await this.prisma.$queryRaw<typeof found>(lacking)).slice(0, limit + 1 - found.length));
    const rows = new Map(
      (
        await this.prisma.run.findMany({ where: { id: { in: found.map((each) => each.id) } }, include: withParents })
      ).map((row) => [row.id, row]),
    );
    const cursorOf = ({ id: last, value }: (typeof found)[number]) =>
      encodeCursor(
        sort,
        value instanceof Date ? value.toISOString() : String(value ?? ''),
        last,
        value === null ? 0 : 1,
      );
    const page = pageOf(found, limit, cursorOf, (each) => runRecord(rows.get(each.id)!));
    return { ...page, items: await this.inLine(page.items) };
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
  async metrics(runId: string, { key, since, points }: ListMetrics): Promise<MetricSeriesRecord[]> {
    const rows = await this.prisma.$queryRaw<(MetricPoint & { at: Date })[]>`
      SELECT key, max(step) AS step, avg(value) AS value, max(at) AS at
      FROM (SELECT key, step, value, at, ntile(${points}::int) OVER (PARTITION BY key ORDER BY step) AS bucket FROM metric
            WHERE run_id = ${runId}::uuid AND step >= ${since ?? 0} AND (${key ?? null}::text[] IS NULL OR key = ANY(${key ?? null}::text[]))) AS bucketed
      GROUP BY key, bucket ORDER BY key, step`;
    return [...Map.groupBy(rows, (row) => row.key)].map(([name, series]) => ({
      key: name,
      points: series.map(({ step, value, at }) => ({ step, value, at })),
    }));
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
      SELECT coalesce((SELECT max(id) FROM run_event WHERE run_id = ${runId}::uuid), 0)::float8 AS event, coalesce((SELECT max(seq) FROM metric WHERE run_id = ${runId}::uuid), 0)::float8 AS metric,
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
    const groups = await this.prisma.$queryRaw<
      { status: RunStatus; count: number }[]
    >`SELECT status::text AS status, count(*)::int AS count FROM run WHERE ${runsLike(filter)} GROUP BY run.status`;
    return Object.fromEntries(groups.map(({ status, count }) => [status, count]));
  }

  /** For how many seconds a run has waited that could be in Redis; 0 where none has. */
  dispatchWaitSeconds(): Promise<number> {
    return undispatchedSeconds(this.prisma, { leaseMs: this.options.leaseMs, window: this.options.window ?? 'auto' });
  }

  // Datasets and workers

  /** All versions, the newest first. */
  async datasets({ limit, cursor }: ListPage): Promise<Page<DatasetRecord>> {
    const after = decodeCursor(cursor, 'date', 'text', 'text') as [string, string, string] | undefined;
    const at = after && new Date(after[0]);
    const rows = await this.prisma.dataset.findMany({
      where: after
        ? {
            OR: [
              { createdAt: { lt: at! } },
              { createdAt: at!, name: { gt: after[1] } },
              { createdAt: at!, name: after[1], digest: { gt: after[2] } },
            ],
          }
        : {},
      orderBy: [{ createdAt: 'desc' }, { name: 'asc' }, { digest: 'asc' }],
      take: limit + 1,
    });
    return pageOf(rows, limit, (row) => encodeCursor(row.createdAt.toISOString(), row.name, row.digest), datasetRecord);
  }

  /** `name` for its newest version, or `name@digest`. */
  async dataset(reference: string): Promise<DatasetRecord | undefined> {
    const [name = '', digest = ''] = reference.split('@');
    const row = await this.prisma.dataset.findFirst({
      where: { name, digest: { startsWith: digest } },
      orderBy: { createdAt: 'desc' },
    });
    return row ? datasetRecord(row) : undefined;
  }

  /** The newest first; of one id, or all. */
  async workers(id: string | null = null): Promise<WorkerRecord[]> {
    return this.prisma.$queryRaw`
      SELECT id, host, pid, state, slots, versions, labels, gpus, memory_mib AS "memoryMiB", started_at AS "startedAt", heartbeat_at AS "heartbeatAt",
        (state <> 'stopped' AND heartbeat_at > now() - make_interval(secs => ${this.options.leaseMs / 1000}::float8)) AS alive
      FROM worker WHERE ${id}::text IS NULL OR id = ${id} ORDER BY started_at DESC LIMIT 500`;
  }
}
