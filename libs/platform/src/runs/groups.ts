/** Runs in groups of equal fields, with what their metrics come to. */
import { MOST_GROUPS, type GroupRuns, type RunGroups } from '#libs/contracts';
import { Prisma, type Transaction } from '../machine/database.js';
import { runsLike, specField } from './filter.js';

const SPEC = 'spec:';
/** What runs are grouped by, beside fields of their specs. */
const COLUMNS: Record<string, Prisma.Sql> = {
  kind: Prisma.sql`run.kind`,
  status: Prisma.sql`run.status`,
  project: Prisma.sql`run.project`,
};
const valueOf = (field: string): Prisma.Sql =>
  field.startsWith(SPEC) ? specField(field.slice(SPEC.length)) : COLUMNS[field]!;

/** The runs that a filter names, in groups of equal fields, the largest first. */
export async function groupsOf(tx: Transaction, { by, metric = [], ...filter }: GroupRuns): Promise<RunGroups> {
  const rows = await tx.$queryRaw<GroupRow[]>(groupRows(Prisma.join(by.map(valueOf)), metric, runsLike(filter)));
  return {
    groups: rows.map(({ values, runs, metrics }) => ({
      by: Object.fromEntries(by.map((field, i) => [field, values[i]!])),
      runs,
      metrics: metrics ?? {},
    })),
    more: Math.max(0, (rows[0]?.groups ?? 0) - rows.length),
  };
}

interface GroupRow {
  values: RunGroups['groups'][number]['by'][string][];
  runs: number;
  metrics: RunGroups['groups'][number]['metrics'] | null;
  groups: number;
}

/**
 * Counts and moments of each group. One statement, so that a run that ends meanwhile is in both or in neither. Moments
 * are those of exact numbers: of the largest doubles a sum of doubles would be none.
 */
const groupRows = (values: Prisma.Sql, metrics: readonly string[], like: Prisma.Sql): Prisma.Sql => Prisma.sql`
  WITH
    named AS (
      SELECT run.id, jsonb_build_array(${values}) AS values
      FROM run
      WHERE ${like}),
    grouped AS (
      SELECT values, count(*)::int AS runs, (count(*) OVER ())::int AS groups
      FROM named
      GROUP BY values
      ORDER BY runs DESC, values
      LIMIT ${MOST_GROUPS}),
    measured AS (
      SELECT
        named.values,
        of.key,
        count(*) AS runs,
        avg(of.value::numeric)::float8 AS mean,
        CASE WHEN count(*) > 1 THEN least(stddev_samp(of.value::numeric), 1e308)::float8 END AS deviation,
        min(of.value) AS min,
        max(of.value) AS max
      FROM named JOIN run_metric of ON of.run_id = named.id
      WHERE of.key = ANY(${[...metrics]}::text[]) AND abs(of.value) < 'Infinity'
      GROUP BY named.values, of.key)
  SELECT
    grouped.values,
    grouped.runs,
    grouped.groups,
    (
      SELECT jsonb_object_agg(key, to_jsonb(measured) - 'values' - 'key')
      FROM measured
      WHERE measured.values = grouped.values) AS metrics
  FROM grouped
  ORDER BY grouped.runs DESC, grouped.values`;
