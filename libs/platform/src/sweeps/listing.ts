/** The orders in which sweeps, and the trials of a sweep, are listed, and conditions that name some of them. */
import {
  parseSort,
  type ListSweeps,
  type ListTrials,
  type Sort,
  type SWEEP_SORTS,
  type TrialStatus,
} from '#libs/contracts';
import { Prisma, type Transaction } from '../machine/database.js';
import { holdsOf, isArchived, placeIn, type Sorted, type SortedType } from '../runs/filter.js';
import { decodeCursor, encodeCursor, invalidCursor } from '../runs/page.js';
import { SWEEP_STATUS, TRIAL_STATUS } from './status.js';

type Read<Query extends { limit: number; sort: string }> = Omit<Query, 'sort'> & Partial<Pick<Query, 'sort'>>;
export type SweepsQuery = Read<ListSweeps>;
export type TrialsQuery = Read<ListTrials>;

/** A sweep in a list, and what it is sorted by. */
export type SortedSweep = Sorted<string>;
/** A trial in a list, and the metric by which it is sorted; null where it is not, or lacks it. */
export interface SortedTrial {
  index: number;
  status: TrialStatus;
  value: number | null;
}

/** Last values of metrics of the runs in some places of a sweep, without its controls. */
const metricsOf = (places: Prisma.Sql): Prisma.Sql => Prisma.sql`
  FROM trial_run place JOIN run_metric ON run_metric.run_id = place.run_id
  WHERE ${places} AND place.control = ''`;
const ofSweep = Prisma.sql`place.sweep_id = sweep.id`;
const ofTrial = Prisma.sql`place.sweep_id = trial.sweep_id AND place.index = trial.index`;

/** The largest of the last values in these places, or the smallest. */
const bestIn = (places: Prisma.Sql, { key, descending }: Sort<string>): Prisma.Sql => Prisma.sql`(
  SELECT ${descending ? Prisma.sql`max` : Prisma.sql`min`}(run_metric.value)
  ${metricsOf(places)} AND run_metric.key = ${key})`;

/** Each condition holds of a run of the row `trial`. */
const trialHolds = (where: readonly string[]): Prisma.Sql =>
  Prisma.join(
    [
      Prisma.sql`true`,
      ...where.map((text) => Prisma.sql`EXISTS (SELECT 1 ${metricsOf(ofTrial)} AND ${holdsOf(text, 'run_metric')})`),
    ],
    ' AND ',
  );

const sweepsLike = ({ tag, name, project, where, archived = 'no' }: Partial<ListSweeps>): Prisma.Sql =>
  Prisma.join(
    [
      isArchived('sweep', archived),
      ...(tag ? [Prisma.sql`sweep.tags @> ARRAY[${tag}]::text[]`] : []),
      ...(name ? [Prisma.sql`position(lower(${name}) IN lower(sweep.name)) > 0`] : []),
      ...(project ? [Prisma.sql`sweep.project = ${project}`] : []),
      ...(where
        ? [Prisma.sql`EXISTS (SELECT 1 FROM trial WHERE trial.sweep_id = sweep.id AND ${trialHolds(where)})`]
        : []),
    ],
    ' AND ',
  );

const isOneOf = (status: Prisma.Sql, wanted: readonly string[] | undefined): Prisma.Sql =>
  wanted ? Prisma.sql`${status} = ANY(${wanted}::text[])` : Prisma.sql`true`;

const directionOf = ({ descending }: Sort<string>) =>
  descending ? [Prisma.raw('DESC'), Prisma.raw('<')] : [Prisma.raw('ASC'), Prisma.raw('>')];

const sweepOrder = (sort: Sort<(typeof SWEEP_SORTS)[number] | 'metric'>): { by: Prisma.Sql } & SortedType => {
  if (sort.by === 'metric') return { by: bestIn(ofSweep, sort), type: 'float8', optional: true };
  return sort.by === 'name'
    ? { by: Prisma.sql`sweep.name`, type: 'text', optional: false }
    : { by: Prisma.sql`sweep.created_at`, type: 'timestamptz', optional: false };
};

/**
 * At most so many sweeps that a query names, with their statuses, by what it sorts them by and the id; those that lack
 * it come last. @throws RequestError for a cursor that is none, or of another order.
 */
export function sweepsInOrder(
  tx: Transaction,
  { status, sort: text = '-createdAt', cursor, limit, ...like }: SweepsQuery,
): Promise<SortedSweep[]> {
  const sort = parseSort<(typeof SWEEP_SORTS)[number] | 'metric'>(text);
  const { by, type, optional } = sweepOrder(sort);
  const [direction, beyond] = directionOf(sort);
  const place = placeIn(text, cursor, { type, optional });
  let rest = Prisma.sql`true`;
  if (place?.lacks) rest = Prisma.sql`${by} IS NULL AND sweep.id ${beyond} ${place.id}::uuid`;
  else if (place) {
    const value = Prisma.sql`${place.value}::text::${Prisma.raw(type)}`;
    const after = Prisma.sql`(${by}, sweep.id) ${beyond} (${value}, ${place.id}::uuid)`;
    rest = optional ? Prisma.sql`(${after} OR ${by} IS NULL)` : after;
  }
  return tx.$queryRaw`
    SELECT sweep.id, ${SWEEP_STATUS} AS status, ${by} AS value
    FROM sweep
    WHERE ${sweepsLike(like)} AND ${isOneOf(SWEEP_STATUS, status)} AND ${rest}
    ORDER BY ${by} ${direction} ${optional ? Prisma.sql`NULLS LAST` : Prisma.empty}, sweep.id ${direction}
    LIMIT ${limit}`;
}

/** Where a page of trials in the order `sort` ended. */
export const cursorAfterTrial = (sort: string, { index, value }: SortedTrial): string =>
  encodeCursor(sort, String(value ?? ''), index, value === null ? 0 : 1);

function trialPlace(sort: string, cursor: string | undefined) {
  const after = decodeCursor(cursor, 'text', 'text', 'number', 'number') as
    [string, string, number, number] | undefined;
  if (!after) return undefined;
  const [order, value, index, has] = after;
  if (order !== sort || (has !== 0 && (value === '' || !Number.isFinite(Number(value))))) throw invalidCursor();
  return { value, index, lacks: has === 0 };
}

/**
 * At most so many trials of a sweep that a query names, by their index or by a metric and the index; those that lack it
 * come last. @throws RequestError for a cursor that is none, or of another order.
 */
export function trialsInOrder(
  tx: Transaction,
  sweepId: string,
  { status, where = [], sort: text = 'index', cursor, limit }: TrialsQuery,
): Promise<SortedTrial[]> {
  const sort = parseSort(text);
  const by = sort.by === 'metric' ? bestIn(ofTrial, sort) : Prisma.sql`NULL::float8`;
  const [direction, beyond] = directionOf(sort);
  const place = trialPlace(text, cursor);
  let rest = Prisma.sql`true`;
  if (place?.lacks) rest = Prisma.sql`${by} IS NULL AND trial.index ${beyond} ${place.index}`;
  else if (place)
    rest = Prisma.sql`(
      (${by}, trial.index) ${beyond} (${place.value}::text::float8, ${place.index}) OR ${by} IS NULL)`;
  return tx.$queryRaw`
    SELECT trial.index, ${TRIAL_STATUS} AS status, ${by} AS value
    FROM trial
    WHERE trial.sweep_id = ${sweepId}::uuid AND ${trialHolds(where)} AND ${isOneOf(TRIAL_STATUS, status)} AND ${rest}
    ORDER BY ${by} ${direction} NULLS LAST, trial.index ${direction}
    LIMIT ${limit}`;
}
