/** Conditions that name runs, and the orders in which runs are listed. */
import { parseCondition, parseSort, SHORT_ID, type RunFilter, type RunSort, type RunStatus } from '#libs/contracts';
import { Prisma, type Transaction } from '../machine/database.js';
import { decodeCursor, encodeCursor, invalidCursor } from './page.js';

/** Of the row of `run_metric` under this alias: that it is of the metric of a condition, which holds. */
export const holdsOf = (condition: string, alias = 'run_metric'): Prisma.Sql => {
  const { key, operator, value } = parseCondition(condition)!;
  const metric = Prisma.raw(alias);
  return Prisma.sql`${metric}.key = ${key} AND ${metric}.value ${Prisma.raw(operator)} ${String(value)}::text::float8`;
};

/** A field of the spec of `run` as JSON; NULL where the spec has none, or null. */
export const specField = (field: string): Prisma.Sql => Prisma.sql`nullif(run.spec #> ${path(field)}::text[], 'null')`;
const path = (field: string): string[] => field.split('.');

/** A condition on `run`. Numbers are compared as numbers, whatever else as text; what is no number has no order. */
function isLike(condition: string): Prisma.Sql {
  const { of, key, operator, value } = parseCondition(condition)!;
  if (of === 'metric') return Prisma.sql`run.id IN (SELECT run_id FROM run_metric WHERE ${holdsOf(condition)})`;
  const found = specField(key);
  const [is, wanted] =
    typeof value === 'number'
      ? [found, Prisma.sql`to_jsonb(${String(value)}::text::float8)`]
      : [Prisma.sql`(run.spec #>> ${path(key)}::text[])`, Prisma.sql`${value}::text`];
  if (operator === '=') return Prisma.sql`${is} = ${wanted}`;
  if (operator === '!=') return Prisma.sql`${is} IS DISTINCT FROM ${wanted}`;
  return Prisma.sql`(jsonb_typeof(${found}) = 'number' AND ${found} ${Prisma.raw(operator)} ${wanted})`;
}

/** What a run is called, as `runLabel` says it. */
const LABEL = Prisma.sql`coalesce(run.name, run.kind || ' ' || right(run.id::text, ${SHORT_ID}::int))`;

/** A condition on the row of `run` or `sweep`: that a list has it, as `archived` of the list says. */
export const isArchived = (table: 'run' | 'sweep', archived: NonNullable<RunFilter['archived']>): Prisma.Sql => {
  if (archived === 'all') return Prisma.sql`true`;
  return Prisma.raw(`${table}.archived_at IS ${archived === 'yes' ? 'NOT NULL' : 'NULL'}`);
};

/** A condition on `run`: that a filter names it. */
export const runsLike = ({
  status,
  kind,
  tag,
  sweep,
  name,
  search,
  id,
  parent,
  project,
  where = [],
  archived,
}: RunFilter): Prisma.Sql =>
  Prisma.join(
    [
      // Who names runs by these means all of them.
      isArchived('run', archived ?? ([id, sweep, parent].some(Boolean) ? 'all' : 'no')),
      // A condition for each status, so that a single one is answered by its index, in the index's order.
      // None of no statuses: an empty list can't be joined.
      ...(status?.length === 0 ? [Prisma.sql`false`] : []),
      ...(status?.length
        ? [Prisma.sql`run.status IN (${Prisma.join(status.map((each) => Prisma.sql`${each}::text::run_status`))})`]
        : []),
      ...(kind ? [Prisma.sql`run.kind = ANY(${kind}::text[])`] : []),
      ...(tag ? [Prisma.sql`run.tags @> ARRAY[${tag}]::text[]`] : []),
      ...(sweep ? [Prisma.sql`run.id IN (SELECT run_id FROM trial_run WHERE sweep_id = ${sweep}::uuid)`] : []),
      ...(name ? [Prisma.sql`position(lower(${name}) IN lower(run.name)) > 0`] : []),
      ...(search ? [Prisma.sql`position(lower(${search}) IN lower(concat_ws(chr(10), ${LABEL}, run.id))) > 0`] : []),
      ...(project ? [Prisma.sql`run.project = ${project}`] : []),
      ...(id ? [Prisma.sql`run.id = ANY(${id}::uuid[])`] : []),
      ...(parent ? [Prisma.sql`run.id IN (SELECT run_id FROM run_dependency WHERE parent_id = ${parent}::uuid)`] : []),
      ...where.map(isLike),
    ],
    ' AND ',
  );

/** What something is sorted by: its type, and whether it can lack it. */
export interface SortedType {
  type: 'timestamptz' | 'text' | 'float8' | 'jsonb';
  optional: boolean;
}
/** By what runs are sorted. */
const SORTS: Record<Exclude<RunSort['by'], 'spec'>, { by: Prisma.Sql } & SortedType> = {
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
const orderOf = ({ by, key }: RunSort): { by: Prisma.Sql } & SortedType =>
  by === 'spec' ? { by: specField(key), type: 'jsonb', optional: true } : SORTS[by];

/** What is listed and what it is sorted by; null where it lacks that. */
export interface Sorted<Status = RunStatus> {
  id: string;
  status: Status;
  value: Date | number | string | null;
}

/** Where a page in the order `sort` ended. */
export const cursorAfter = (sort: string, { id, value }: Pick<Sorted, 'id' | 'value'>): string =>
  encodeCursor(sort, value instanceof Date ? value.toISOString() : String(value ?? ''), id, value === null ? 0 : 1);

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * The place that a cursor names in the order of `sort`.
 * @throws RequestError for one that is none, or of another order.
 */
export function placeIn(
  sort: string,
  cursor: string | undefined,
  { type, optional }: SortedType,
): { value: string; id: string; lacks: boolean } | undefined {
  const after = decodeCursor(cursor, 'text', 'text', 'id', 'number') as [string, string, string, number] | undefined;
  if (!after) return undefined;
  const [order, value, id, has] = after;
  const fits = {
    text: () => true,
    float8: () => value !== '' && Number.isFinite(Number(value)),
    timestamptz: () => !Number.isNaN(Date.parse(value)),
    jsonb: () => isJson(value),
  }[type];
  if (order !== sort || !(has === 0 ? optional : fits())) throw invalidCursor();
  return { value, id, lacks: has === 0 };
}

/**
 * At most so many runs that a filter names, by what `sort` says and the id; runs that lack it come last, in either
 * direction, and are looked for apart, so that each of the two goes by an index.
 * @throws RequestError for a cursor that is none, or of another order.
 */
export async function runsInOrder(
  tx: Transaction,
  filter: RunFilter,
  { sort, cursor, limit }: { sort: string; cursor: string | undefined; limit: number },
): Promise<Sorted[]> {
  const order = parseSort<RunSort['by']>(sort);
  const { key, descending } = order;
  const { by, type, optional } = orderOf(order);
  const byMetric = order.by === 'metric';
  // As text: a cursor says where a page ended as it stands here.
  const told = type === 'jsonb' ? Prisma.sql`(${by})::text` : by;
  const [direction, beyond] = descending ? [Prisma.raw('DESC'), Prisma.raw('<')] : [Prisma.raw('ASC'), Prisma.raw('>')];
  const after = placeIn(sort, cursor, { type, optional });
  const like = runsLike(filter);
  const found: Sorted[] = [];
  if (!after?.lacks) {
    const source = byMetric
      ? Prisma.sql`run_metric AS sorted JOIN run ON run.id = sorted.run_id AND sorted.key = ${key}`
      : Prisma.sql`run`;
    // The id of the table whose index gives the order.
    const id = byMetric ? Prisma.sql`sorted.run_id` : Prisma.sql`run.id`;
    const has = byMetric || !optional ? Prisma.sql`true` : Prisma.sql`${by} IS NOT NULL`;
    const rest = after
      ? Prisma.sql`(${by}, ${id}) ${beyond} (${after.value}::text::${Prisma.raw(type)}, ${after.id}::uuid)`
      : Prisma.sql`true`;
    const having = await tx.$queryRaw<Sorted[]>`
      SELECT run.id, run.status::text AS status, ${told} AS value
      FROM ${source}
      WHERE ${like} AND ${has} AND ${rest}
      ORDER BY ${by} ${direction}, ${id} ${direction}
      LIMIT ${limit}`;
    found.push(...having);
  }
  if (!optional || found.length >= limit) return found;
  const lacks = byMetric
    ? Prisma.sql`NOT EXISTS (SELECT 1 FROM run_metric AS sorted WHERE sorted.run_id = run.id AND sorted.key = ${key})`
    : Prisma.sql`${by} IS NULL`;
  const rest = after?.lacks ? Prisma.sql`run.id ${beyond} ${after.id}::uuid` : Prisma.sql`true`;
  const lacking = await tx.$queryRaw<Sorted[]>`
    SELECT run.id, run.status::text AS status, NULL AS value
    FROM run
    WHERE ${like} AND ${lacks} AND ${rest}
    ORDER BY run.id ${direction}
    LIMIT ${limit}`;
  return [...found, ...lacking.slice(0, limit - found.length)];
}
