import {
  MOST_TAGS,
  RUN_ACTIONS,
  type BulkResult,
  type BulkRuns,
  type RunAction,
  type RunFilter,
  type RunStatus,
} from '#libs/contracts';
import { Prisma, type Database, type Transaction } from '../machine/database.js';
import { RequestError } from '../request-error.js';
import { type Deletion, needOf } from './deletion.js';
import { runsLike } from './filter.js';
import { decodeCursor, encodeCursor } from './page.js';
import type { Requests } from './requests.js';
import { hasStatus } from './sql.js';
import type { Transitions } from './transitions.js';

/**
 * Runs that one transaction of a bulk action changes, and how long one request goes on before it says where it stands.
 */
const BULK_BATCH = 100;
const BULK_MS = 8000;

type TagChange = NonNullable<BulkRuns['tags']>;

/** The tags of a run after a change, in the order in which they came. */
const tagged = ({ add, remove }: TagChange) => Prisma.sql`
  ARRAY(
    SELECT t
    FROM unnest(tags || ${add}::text[]) WITH ORDINALITY AS u(t, place)
    WHERE t <> ALL(${remove}::text[])
    GROUP BY t
    ORDER BY min(place))`;
const tagOutcome = (change: TagChange) => Prisma.sql`
  CASE
    WHEN ${tagged(change)} = tags THEN 'unchanged'
    WHEN cardinality(${tagged(change)}) > ${MOST_TAGS} THEN 'too_many_tags'
    ELSE 'done'
  END`;

const plannedOutcome = ({ action, filter, tags }: BulkRuns): Prisma.Sql => {
  if (action === 'tag') return tagOutcome(tags!);
  if (action === 'delete') return needOf(Prisma.sql`run_id NOT IN (SELECT id FROM run WHERE ${runsLike(filter)})`);
  return Prisma.sql`CASE WHEN ${hasStatus(RUN_ACTIONS[action])} THEN 'done' ELSE status::text END`;
};

/** What a filter that says nothing of the archive means by itself: what is brought back is in it. */
const meantBy = (action: BulkRuns['action'], filter: RunFilter): RunFilter =>
  action === 'unarchive' ? { archived: 'yes', ...filter } : filter;

/** Actions on all runs that a filter names. */
export class BulkRequests {
  constructor(
    private readonly database: Database,
    private readonly transitions: Transitions,
    private readonly requests: Requests,
    private readonly deletion: Deletion,
  ) {}

  /**
   * Does the same to all runs that a filter names and that were there when it began, in batches, each a transaction of
   * its own. Children are cancelled, and deleted, before their parents; all else begins with the parents.
   * After some seconds it returns with a cursor to go on from. A repeat does no harm.
   * @throws RequestError `invalid_request` for a cursor that is none.
   */
  async bulk({ action, filter: given, tags, cursor: from }: BulkRuns): Promise<BulkResult> {
    const until = performance.now() + BULK_MS;
    const filter = meantBy(action, given);
    const place = decodeCursor(from, 'date', 'date', 'id') as [string, string, string] | undefined;
    const begun = place ? new Date(place[0]) : await this.now();
    let after = place && { createdAt: new Date(place[1]), id: place[2] };
    const result: BulkResult = { done: 0, skipped: {}, nextCursor: null };
    for (;;) {
      const batch = await this.nextBatch(filter, {
        begun,
        after,
        backwards: action === 'cancel' || action === 'delete',
      });
      const ids = batch.map(({ id }) => id);
      const outcomes = ids.length
        ? await this.database.transaction((tx) => {
            if (action === 'tag') return this.tagWithin(tx, tags!, ids);
            if (action === 'delete') return this.deletion.runsWithin(tx, ids, filter.status);
            return this.actWithin(tx, action, filter.status, ids);
          })
        : [];
      for (const outcome of outcomes) {
        if (outcome === 'done') result.done++;
        else result.skipped[outcome] = (result.skipped[outcome] ?? 0) + 1;
      }
      after = batch.at(-1);
      if (!after || batch.length < BULK_BATCH) return result;
      if (performance.now() > until)
        return { ...result, nextCursor: encodeCursor(begun.toISOString(), after.createdAt.toISOString(), after.id) };
    }
  }

  /**
   * What `bulk` would do as things stand; of runs to be retried, those count whose parent has to be retried with them,
   * and of runs to be deleted those whose children are to be deleted with them.
   */
  async planBulk(request: BulkRuns): Promise<BulkResult> {
    const filter = meantBy(request.action, request.filter);
    const outcome = plannedOutcome({ ...request, filter });
    const groups = await this.database.prisma.$queryRaw<{ outcome: string; count: number }[]>`
      SELECT ${outcome} AS outcome, count(*)::int AS count
      FROM run
      WHERE ${runsLike(filter)}
      GROUP BY 1`;
    return {
      done: groups.find((group) => group.outcome === 'done')?.count ?? 0,
      skipped: Object.fromEntries(
        groups.flatMap((group) => (group.outcome === 'done' ? [] : [[group.outcome, group.count]])),
      ),
      nextCursor: null,
    };
  }

  private async now(): Promise<Date> {
    return (await this.database.prisma.$queryRaw<{ now: Date }[]>`SELECT now()`)[0]!.now;
  }

  /** The runs that a filter names and that were there at `begun`, after one of them, the oldest first or last. */
  private nextBatch(
    filter: RunFilter,
    {
      begun,
      after,
      backwards,
    }: { begun: Date; after: { createdAt: Date; id: string } | undefined; backwards: boolean },
  ): Promise<{ id: string; createdAt: Date }[]> {
    const [order, beyond] = backwards ? [Prisma.raw('DESC'), Prisma.raw('<')] : [Prisma.raw('ASC'), Prisma.raw('>')];
    const rest = after
      ? Prisma.sql`(created_at, id) ${beyond} (${after.createdAt}, ${after.id}::uuid)`
      : Prisma.sql`true`;
    return this.database.prisma.$queryRaw`
      SELECT id, created_at AS "createdAt"
      FROM run
      WHERE ${runsLike(filter)} AND created_at <= ${begun} AND ${rest}
      ORDER BY created_at ${order}, id ${order}
      LIMIT ${BULK_BATCH}`;
  }

  /** For each run `done`, or why its tags stay as they are. */
  private async tagWithin(tx: Transaction, tags: TagChange, ids: readonly string[]): Promise<string[]> {
    // In one order, so that two such changes wait for each other instead of in a circle.
    const rows = await tx.$queryRaw<{ id: string; outcome: string }[]>`
      WITH locked AS (
        SELECT id, tags
        FROM run
        WHERE id = ANY(${[...ids]}::uuid[])
        ORDER BY id
        FOR UPDATE)
      SELECT id, ${tagOutcome(tags)} AS outcome
      FROM locked`;
    const changed = rows.filter(({ outcome }) => outcome === 'done').map(({ id }) => id);
    await tx.$executeRaw`UPDATE run SET tags = ${tagged(tags)} WHERE id = ANY(${changed}::uuid[])`;
    await tx.$executeRaw`SELECT pg_notify('run_changed', id::text) FROM unnest(${changed}::uuid[]) AS id`;
    return rows.map(({ outcome }) => outcome);
  }

  /**
   * For each run `done`, or why it was left as it is. One that no longer has a status that was asked for is left too.
   */
  private async actWithin(
    tx: Transaction,
    action: RunAction,
    wanted: readonly RunStatus[] | undefined,
    ids: readonly string[],
  ): Promise<string[]> {
    const outcomes: string[] = [];
    for (let rest = ids; rest.length > 0;) {
      const refused: string[] = [];
      for (const id of rest) {
        const status = await this.transitions.lockIfThere(tx, id);
        // Deleted since the batch was read.
        if (status === undefined) continue;
        if (!(RUN_ACTIONS[action] as readonly RunStatus[]).includes(status) || (wanted && !wanted.includes(status))) {
          outcomes.push(status);
          continue;
        }
        try {
          await this.requests[`${action}Within`](tx, id);
          outcomes.push('done');
        } catch (error) {
          if (!(error instanceof RequestError && error.code === 'invalid_state')) throw error;
          refused.push(id);
        }
      }
      // A run whose parent came after it in the list can be retried now.
      if (refused.length === rest.length) return [...outcomes, ...refused.map(() => 'parent_failed')];
      rest = refused;
    }
    return outcomes;
  }
}
