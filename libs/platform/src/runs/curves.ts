/** Curves of a run's metrics, thinned and written as JSON by Postgres: a page of points costs this process nothing. */
import type { ListMetrics } from '#libs/contracts';
import { Prisma, type Transaction } from '../machine/database.js';

/** Points that one statement returns at most, but for a curve that has more by itself. */
const MOST_POINTS = 50_000;

/** A curve: `points` is the JSON of its points, `{"step", "value", "at"}` in the order of their steps. */
export interface Curve {
  key: string;
  points: string;
}

/**
 * By key, each of at most `points` points: the mean of equal numbers of neighbours, at the last one's step. Read a few
 * curves at a time: however many there are, they are never in memory together.
 */
export async function* curvesOf(tx: Transaction, runId: string, query: ListMetrics): AsyncGenerator<Curve> {
  const atOnce = Math.max(1, Math.floor(MOST_POINTS / query.points));
  for (let after = ''; ;) {
    const found = await tx.$queryRaw<{ key: string; points: string | null }[]>(
      nextCurves(runId, { ...query, after, limit: atOnce }),
    );
    for (const { key, points } of found) if (points !== null) yield { key, points };
    if (found.length < atOnce) return;
    after = found.at(-1)!.key;
  }
}

/**
 * The curves of the next keys, null for one that has no point since `since`. One statement: keys are found by stepping
 * from one to the next in the index, and the points of each are read in the index's order.
 */
const nextCurves = (
  runId: string,
  { key, since, points, after, limit }: ListMetrics & { after: string; limit: number },
): Prisma.Sql => Prisma.sql`
  WITH RECURSIVE keys AS (
      SELECT min(key) AS key
      FROM metric
      WHERE run_id = ${runId}::uuid AND key > ${after}
      UNION ALL
      SELECT (SELECT min(metric.key) FROM metric WHERE run_id = ${runId}::uuid AND metric.key > keys.key)
      FROM keys
      WHERE keys.key IS NOT NULL),
    page AS (
      SELECT key
      FROM keys
      WHERE key IS NOT NULL AND ${key ? Prisma.sql`key = ANY(${key}::text[])` : Prisma.sql`true`}
      LIMIT ${limit})
  SELECT page.key, (
    SELECT json_agg(json_build_object(
      'step', step,
      'value', value,
      'at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) ORDER BY step)::text
    FROM (
      SELECT max(step) AS step, avg(value) AS value, max(at) AS at
      FROM (
        SELECT step, value, at, ntile(${points}::int) OVER (ORDER BY step) AS bucket
        FROM metric
        WHERE run_id = ${runId}::uuid AND metric.key = page.key AND step >= ${since ?? 0}) AS bucketed
      GROUP BY bucket) AS thinned) AS points
  FROM page
  ORDER BY page.key`;
