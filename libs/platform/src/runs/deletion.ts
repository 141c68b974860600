/**
 * What people delete: runs, sweeps, and versions of datasets and models, where nothing else needs them. Rows go in one
 * transaction with the check that they may; the points of a run's metrics follow in batches (`dispatch/retention.ts`),
 * and files when artifacts are collected.
 *
 * Whoever comes to need a run or a version holds its row while saying so (`admission.ts`): it is seen here, or
 * finds that the row is gone.
 */
import { isTerminal, TERMINAL_STATUSES, type DeletedSweep, type RunStatus } from '#libs/contracts';
import { Prisma, type Database, type Transaction } from '../machine/database.js';
import { RequestError } from '../request-error.js';
import { attemptSeconds, hasStatus } from './sql.js';

/** Trials whose runs go in one transaction. */
const TRIALS_AT_ONCE = 100;

/** What keeps a run from being deleted: in the word that bulk actions count it by, and who it is. */
interface Need {
  id: string;
  status: RunStatus;
  outcome: string;
  child: string | null;
  sweep: string | null;
  dataset: string | null;
  model: string | null;
}

/**
 * `done` for a run that may be deleted, else its status where it has not ended, or what needs it. `child`: a condition
 * on dependencies that count.
 */
export const needOf = (child: Prisma.Sql): Prisma.Sql => Prisma.sql`
  CASE
    WHEN NOT ${hasStatus(TERMINAL_STATUSES)} THEN status::text
    WHEN EXISTS (SELECT 1 FROM trial_run WHERE trial_run.run_id = run.id) THEN 'in_sweep'
    WHEN EXISTS (SELECT 1 FROM run_dependency WHERE parent_id = run.id AND ${child}) THEN 'has_children'
    WHEN EXISTS (SELECT 1 FROM dataset WHERE dataset.run_id = run.id) THEN 'has_dataset'
    WHEN EXISTS (SELECT 1 FROM model WHERE model.run_id = run.id) THEN 'has_model'
    ELSE 'done'
  END`;

/** A sweep with trials that are yet to start and name this; NULL where there is none. */
const waitingSweep = (named: string): Prisma.Sql => Prisma.sql`(
  SELECT sweep.id::text
  FROM sweep
  JOIN trial ON trial.sweep_id = sweep.id
  WHERE sweep.steered AND sweep.cancelled_at IS NULL
    AND trial.draft IS NOT NULL AND position(${named} IN trial.draft::text) > 0
  LIMIT 1)`;

export class Deletion {
  constructor(private readonly database: Database) {}

  /**
   * Deletes a run that has ended, with its attempts, events, log lines, metrics and artifacts. Equal submits are
   * trained anew from then on.
   * @throws RequestError `not_found`; `invalid_state` for a run that has not ended, or that another run, a sweep, a
   *   dataset or a model needs, naming it.
   */
  async run(runId: string): Promise<void> {
    await this.database.transaction(async (tx) => {
      const [need] = await this.needs(tx, [runId]);
      if (!need) throw new RequestError('not_found', `expected the id of a run, got ${runId}: there is no such run`);
      const why = reasonAgainst(need);
      if (why) throw new RequestError('invalid_state', why);
      await this.removeRuns(tx, [runId]);
    });
  }

  /**
   * `run` for many, as a part of something larger: children before their parents. For each `done`, or why it stays; one
   * that no longer has a status that was asked for stays too.
   */
  async runsWithin(
    tx: Transaction,
    runIds: readonly string[],
    wanted: readonly RunStatus[] = TERMINAL_STATUSES,
  ): Promise<string[]> {
    const outcomes: string[] = [];
    for (let rest = runIds; rest.length > 0;) {
      const needs = await this.needs(tx, rest);
      const free = needs.filter(({ outcome, status }) => outcome === 'done' && wanted.includes(status));
      const stay = needs.filter((need) => !free.includes(need));
      if (free.length === 0)
        return [...outcomes, ...stay.map(({ outcome, status }) => (outcome === 'done' ? status : outcome))];
      await this.removeRuns(
        tx,
        free.map(({ id }) => id),
      );
      outcomes.push(...free.map(() => 'done'));
      rest = stay.map(({ id }) => id);
    }
    return outcomes;
  }

  /**
   * Deletes a sweep that has come to its end, and with `runs` those of its runs that it started and nothing else needs.
   * Trials go in batches, so that a repeat goes on where an interrupted one ended.
   * @throws RequestError `not_found`; `invalid_state` for a sweep that is under way or paused.
   */
  async sweep(sweepId: string, { runs }: { runs: boolean }): Promise<DeletedSweep> {
    // A run that several trials share goes with the last of them.
    const own = new Set<string>();
    let deleted = 0;
    for (let left = true; left;) {
      const batch = await this.database.transaction(async (tx) => {
        await this.lockEndedSweep(tx, sweepId);
        const trials = await tx.trial.findMany({
          where: { sweepId },
          select: { index: true },
          orderBy: { index: 'asc' },
          take: TRIALS_AT_ONCE,
        });
        if (trials.length === 0) {
          await this.removeSweep(tx, sweepId);
          return undefined;
        }
        const indexes = trials.map(({ index }) => index);
        const ids = await this.removeTrials(tx, sweepId, indexes);
        return runs ? { ids, outcomes: await this.runsWithin(tx, ids) } : { ids: [], outcomes: [] };
      });
      for (const id of batch?.ids ?? []) own.add(id);
      deleted += batch?.outcomes.filter((outcome) => outcome === 'done').length ?? 0;
      left = batch !== undefined;
    }
    return { deleted, kept: own.size - deleted };
  }

  /**
   * Deletes a version of a dataset. The run that prepared it stays, and can be deleted then.
   * @throws RequestError `not_found`; `invalid_state` where runs, or trials that are yet to start, are of this version.
   */
  async dataset(name: string, digest: string): Promise<void> {
    await this.database.transaction(async (tx) => {
      const [row] = await tx.$queryRaw<{ copies: number }[]>`
        SELECT (SELECT count(*)::int FROM dataset AS copy WHERE copy.digest = ${digest}) AS copies
        FROM dataset
        WHERE name = ${name} AND digest = ${digest}
        FOR UPDATE`;
      const reference = `${name}@${digest.slice(0, 12)}`;
      if (!row) throw new RequestError('not_found', `expected a prepared dataset, got ${reference}: there is none`);
      const [needs] = await tx.$queryRaw<{ runs: number; run: string | null; sweep: string | null }[]>`
        SELECT
          (SELECT count(*)::int FROM run WHERE dataset_digest = ${digest}) AS runs,
          (SELECT id::text FROM run WHERE dataset_digest = ${digest} LIMIT 1) AS run,
          ${waitingSweep(reference)} AS sweep`;
      if (needs!.runs > 0 && row.copies === 1)
        throw new RequestError(
          'invalid_state',
          `expected a dataset version that no run is of, but ${needs!.runs} are (such as ${needs!.run}): delete ` +
            'them first',
        );
      if (needs!.sweep !== null)
        throw new RequestError(
          'invalid_state',
          `expected a dataset version that nothing waits for, but sweep ${needs!.sweep} has trials of it yet to ` +
            'start: ' +
            'cancel that one first',
        );
      await tx.$executeRaw`DELETE FROM dataset WHERE name = ${name} AND digest = ${digest}`;
    });
  }

  /**
   * Deletes a version of a model. The run that took it in stays, and can be deleted then.
   * @throws RequestError `not_found`; `invalid_state` where runs, or trials that are yet to start, begin with it.
   */
  async model(name: string, digest: string): Promise<void> {
    await this.database.transaction(async (tx) => {
      const [row] = await tx.$queryRaw<{ runId: string }[]>`
        SELECT run_id AS "runId"
        FROM model
        WHERE name = ${name} AND digest = ${digest}
        FOR UPDATE`;
      const reference = `${name}@${digest.slice(0, 12)}`;
      if (!row) throw new RequestError('not_found', `expected a model, got ${reference}: there is none`);
      const [needs] = await tx.$queryRaw<{ runs: number; run: string | null; sweep: string | null }[]>`
        SELECT
          (SELECT count(*)::int FROM run_dependency WHERE parent_id = ${row.runId}::uuid) AS runs,
          (SELECT run_id::text FROM run_dependency WHERE parent_id = ${row.runId}::uuid LIMIT 1) AS run,
          ${waitingSweep(row.runId)} AS sweep`;
      if (needs!.runs > 0)
        throw new RequestError(
          'invalid_state',
          `expected a model that no run began with, but ${needs!.runs} did (such as ${needs!.run}): delete them first`,
        );
      if (needs!.sweep !== null)
        throw new RequestError(
          'invalid_state',
          `expected a model that nothing waits for, but sweep ${needs!.sweep} has trials yet to start that begin ` +
            'with it: cancel that one first',
        );
      await tx.$executeRaw`DELETE FROM model WHERE name = ${name} AND digest = ${digest}`;
    });
  }

  /** Locks runs in one order, and then asks who needs each: what was said before the lock is seen by the second. */
  private async needs(tx: Transaction, runIds: readonly string[]): Promise<Need[]> {
    const ids = Prisma.sql`${[...runIds]}::uuid[]`;
    await tx.$queryRaw`
      SELECT id
      FROM run
      WHERE id = ANY(${ids})
      ORDER BY id
      FOR UPDATE`;
    return tx.$queryRaw<Need[]>`
      SELECT
        id,
        status::text AS status,
        ${needOf(Prisma.sql`true`)} AS outcome,
        (SELECT run_id::text FROM run_dependency WHERE parent_id = run.id LIMIT 1) AS child,
        (SELECT sweep_id::text FROM trial_run WHERE run_id = run.id LIMIT 1) AS sweep,
        (SELECT name || '@' || left(digest, 12) FROM dataset WHERE run_id = run.id LIMIT 1) AS dataset,
        (SELECT name || '@' || left(digest, 12) FROM model WHERE run_id = run.id LIMIT 1) AS model
      FROM run
      WHERE id = ANY(${ids})
      ORDER BY id`;
  }

  /**
   * Removes runs with all that hangs on them, and what their keys promised. Seconds that no project has been charged
   * for are charged now; points are left to `Retention`. One statement, so that none of it is there without the rest.
   */
  private async removeRuns(tx: Transaction, runIds: readonly string[]): Promise<void> {
    const ids = Prisma.sql`${[...runIds]}::uuid[]`;
    await tx.$queryRaw`
      WITH owed AS (
          SELECT run_id, ${attemptSeconds()} AS seconds
          FROM attempt
          WHERE run_id = ANY(${ids}) AND NOT charged
          FOR UPDATE),
        sums AS (
          SELECT run.project, sum(owed.seconds)::float8 AS seconds
          FROM owed
          JOIN run ON run.id = owed.run_id
          GROUP BY run.project),
        spent AS (
          UPDATE project
          SET spent = spent + sums.seconds
          FROM sums
          WHERE project.name = sums.project),
        gone AS (
          DELETE FROM run
          WHERE id = ANY(${ids})
          RETURNING id),
        forgotten AS (
          DELETE FROM idempotency_key
          USING gone
          WHERE resource_id = gone.id),
        left_behind AS (
          INSERT INTO deleted_run (id)
          SELECT id FROM gone)
      SELECT pg_notify('run_changed', id::text)::text
      FROM gone`;
  }

  private async lockEndedSweep(tx: Transaction, sweepId: string): Promise<void> {
    const [sweep] = await tx.$queryRaw<{ cancelled: boolean; steered: boolean; paused: boolean }[]>`
      SELECT cancelled_at IS NOT NULL AS cancelled, steered, paused_at IS NOT NULL AS paused
      FROM sweep
      WHERE id = ${sweepId}::uuid
      FOR UPDATE`;
    if (!sweep)
      throw new RequestError('not_found', `expected the id of a sweep, got ${sweepId}: there is no such sweep`);
    const runs = await tx.$queryRaw<{ status: RunStatus }[]>`
      SELECT DISTINCT run.status::text AS status
      FROM trial_run
      JOIN run ON run.id = trial_run.run_id
      WHERE trial_run.sweep_id = ${sweepId}::uuid AND NOT trial_run.reused`;
    const open = runs.find(({ status }) => !isTerminal(status));
    if (open || (!sweep.cancelled && (sweep.steered || sweep.paused)))
      throw new RequestError(
        'invalid_state',
        'expected a sweep that has come to its end, got one ' +
          `${open ? `with a run that is ${open.status}` : 'with trials left to start'}: cancel it first`,
      );
  }

  /** Removes trials, and says which runs they started. */
  private async removeTrials(tx: Transaction, sweepId: string, indexes: readonly number[]): Promise<string[]> {
    if (indexes.length === 0) return [];
    const own = await tx.$queryRaw<{ id: string }[]>`
      SELECT DISTINCT run_id AS id
      FROM trial_run
      WHERE sweep_id = ${sweepId}::uuid AND index = ANY(${[...indexes]}::int[]) AND (NOT reused OR run_id IN (
        SELECT other.run_id
        FROM trial_run AS other
        WHERE other.sweep_id = ${sweepId}::uuid AND NOT other.reused))`;
    await tx.$executeRaw`
      DELETE FROM trial
      WHERE sweep_id = ${sweepId}::uuid AND index = ANY(${[...indexes]}::int[])`;
    return own.map(({ id }) => id);
  }

  private async removeSweep(tx: Transaction, sweepId: string): Promise<void> {
    await tx.$executeRaw`DELETE FROM sweep WHERE id = ${sweepId}::uuid`;
    await tx.$executeRaw`DELETE FROM idempotency_key WHERE resource_id = ${sweepId}::uuid`;
  }
}

/** In a sentence; undefined where nothing is against it. */
function reasonAgainst({ status, outcome, child, sweep, dataset, model }: Need): string | undefined {
  if (outcome === 'done') return undefined;
  if (!isTerminal(status)) return `expected a run that has ended, got one that is ${status}: cancel it first`;
  if (sweep !== null)
    return `expected a run that nothing needs, but it is part of sweep ${sweep}: delete that one first`;
  if (child !== null) return `expected a run that nothing needs, but run ${child} hangs on it: delete that one first`;
  if (model !== null)
    return `expected a run that nothing needs, but model ${model} was taken in by it: delete that one first`;
  return `expected a run that nothing needs, but dataset ${dataset} was prepared by it: delete that one first`;
}
