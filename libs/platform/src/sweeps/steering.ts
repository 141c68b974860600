/**
 * What sweeps need while they run: the next trials, limits, early stopping. The leader does it for all; every look at a
 * sweep is one transaction that holds its row and goes by what is in Postgres alone, so that a leader that dies, or two
 * that overlap, change nothing in the outcome.
 */
import { FAILED_STATUSES, isModelled, parallelTrialsOf, UNDER_WAY_STATUSES } from '#libs/contracts';
import type { Database, Transaction } from '../machine/database.js';
import type { Runs } from '../runs/runs.js';
import { attemptSeconds, hasStatus } from '../runs/sql.js';
import { OwnRuns } from './own-runs.js';
import { Pretrainings } from './pretrainings.js';
import { Search } from './search.js';
import { EarlyStopping } from './stopping.js';
import { lockSweep, type SweepRow } from './sweep-row.js';
import { Trials } from './trials.js';

export class SweepController {
  readonly ownRuns: OwnRuns;
  readonly stopping: EarlyStopping;
  readonly trials: Trials;
  private readonly pretrainings = new Pretrainings();
  private readonly search: Search;

  constructor(
    private readonly database: Database,
    runs: Runs,
  ) {
    this.ownRuns = new OwnRuns(runs);
    this.stopping = new EarlyStopping(runs, this.pretrainings);
    this.trials = new Trials(runs, this.pretrainings);
    this.search = new Search(this.trials, this.pretrainings);
  }

  /**
   * Looks at every sweep that has something left to do. Returns how many there are. A sweep that can't be looked at
   * does not keep the others waiting.
   */
  async tick(): Promise<number> {
    const open = await this.database.prisma.sweep.findMany({
      where: { steered: true, cancelledAt: null, pausedAt: null },
      select: { id: true },
      orderBy: [{ priority: 'desc' }, { createdAt: 'asc' }],
    });
    const faults: unknown[] = [];
    for (const { id } of open) {
      try {
        await this.database.transaction((tx) => this.steer(tx, id));
      } catch (error) {
        faults.push(error);
      }
    }
    if (faults.length)
      throw new AggregateError(faults, `${faults.length} of ${open.length} sweeps could not be looked at`);
    return open.length;
  }

  /** One look at a sweep: limits, then rungs, then trials that can start. May be repeated at any time. */
  async steer(tx: Transaction, id: string): Promise<void> {
    const sweep = await lockSweep(tx, id);
    if (!sweep.steered || sweep.cancelledAt || sweep.pausedAt) return;
    const { spec } = sweep;
    if (await this.overBudget(tx, sweep)) return;
    await this.trials.settleHeld(tx, id);
    let counts = await countTrials(tx, sweep);
    const starting = !(await halted(tx, sweep, counts.failed));
    const pretrainings = spec.early_terminate ? await this.pretrainings.of(tx, sweep) : undefined;
    const free = Math.max(0, parallelTrialsOf(spec) - counts.underWay);
    const promoted = pretrainings ? await this.stopping.judge(tx, sweep, pretrainings, starting ? free : 0) : 0;
    const started = starting ? await this.fill(tx, sweep, free - promoted) : { trials: 0, more: false };
    if (started.trials) counts = await countTrials(tx, sweep);
    if (promoted + started.trials > 0 || started.more) return;
    if (pretrainings && (await this.stopping.finish(tx, sweep, pretrainings, starting))) return;
    if (counts.unfinished === 0) await endSweep(tx, id);
  }

  /** Starts what may start; `more` while the searcher has not said its last word. */
  private async fill(tx: Transaction, sweep: SweepRow, free: number): Promise<{ trials: number; more: boolean }> {
    let started = 0;
    let more = false;
    for (let left = free; ;) {
      if (isModelled(sweep.spec)) more = await this.search.propose(tx, sweep);
      const ready = await this.trials.ready(tx, sweep, left);
      if (ready.length === 0)
        return { trials: started, more: more || (left <= 0 && (await this.trials.ready(tx, sweep, 1)).length > 0) };
      started += ready.length;
      left -= await this.trials.start(tx, sweep, ready);
    }
  }

  /** A sweep that has spent its budget pauses: its runs keep their checkpoints, and go on when the budget is raised. */
  private async overBudget(tx: Transaction, sweep: SweepRow): Promise<boolean> {
    const reason = await spentBudget(tx, sweep);
    if (!reason) return false;
    await tx.$executeRaw`UPDATE sweep SET paused_at = now(), halt_reason = ${reason} WHERE id = ${sweep.id}::uuid`;
    await this.ownRuns.pause(tx, sweep.id);
    return true;
  }
}

/** Which part of its budget a sweep has spent, as its `haltReason`; null while it has some left, or no budget. */
async function spentBudget(tx: Transaction, { id, spec, createdAt }: SweepRow): Promise<string | null> {
  if (!spec.budget) return null;
  const { gpu_seconds: gpuSeconds, wall_seconds: wallSeconds = Number.POSITIVE_INFINITY } = spec.budget;
  const [{ now } = { now: new Date() }] = await tx.$queryRaw<{ now: Date }[]>`SELECT now()`;
  if ((now.getTime() - createdAt.getTime()) / 1000 >= wallSeconds) return 'budget_wall_seconds';
  return gpuSeconds !== undefined && (await secondsOfWorkers(tx, id)) >= gpuSeconds ? 'budget_gpu_seconds' : null;
}

/** How long workers have worked on the runs that a sweep started. */
export async function secondsOfWorkers(tx: Pick<Transaction, '$queryRaw'>, sweepId: string): Promise<number> {
  const [sum] = await tx.$queryRaw<{ seconds: number }[]>`
    SELECT coalesce(sum(${attemptSeconds('a')}), 0)::float8 AS seconds
    FROM attempt a
    WHERE a.run_id IN (SELECT run_id FROM trial_run WHERE sweep_id = ${sweepId}::uuid AND NOT reused)`;
  return sum!.seconds;
}

/**
 * How many trials are under way, have failed, and have something left to run. A trial is under way while one of its
 * runs is, or can be without anybody's doing. In one statement, so that all three are of the same moment.
 */
async function countTrials(
  tx: Transaction,
  { id }: SweepRow,
): Promise<{ underWay: number; failed: number; unfinished: number }> {
  const [counts] = await tx.$queryRaw<{ underWay: number; failed: number; unfinished: number }[]>`
    SELECT count(*) FILTER (WHERE working > 0 OR (pending > 0 AND paused = 0))::int AS "underWay",
      count(*) FILTER (WHERE failed)::int AS failed,
      count(*) FILTER (WHERE working + pending + paused > 0)::int AS unfinished
    FROM (
      SELECT t.index,
        coalesce(bool_or(${hasStatus(FAILED_STATUSES, 'r')}), false)
          OR coalesce(bool_or(t.outcome IN ('failed', 'refused')), false) AS failed,
        count(*) FILTER (WHERE ${hasStatus(UNDER_WAY_STATUSES, 'r')}) AS working,
        count(*) FILTER (WHERE r.status = 'pending') AS pending,
        count(*) FILTER (WHERE r.status = 'paused') AS paused
      FROM trial t
      LEFT JOIN trial_run p ON p.sweep_id = t.sweep_id AND p.index = t.index
      LEFT JOIN run r ON r.id = p.run_id
      WHERE t.sweep_id = ${id}::uuid
      GROUP BY t.index) AS each`;
  return counts!;
}

/** Whether nothing more is started: too many trials have failed, now or at an earlier look. */
async function halted(tx: Transaction, { id, spec, haltReason }: SweepRow, failed: number): Promise<boolean> {
  if (haltReason !== null) return true;
  if (spec.max_failed_trials === undefined || failed <= spec.max_failed_trials) return false;
  await tx.$executeRaw`UPDATE sweep SET halt_reason = 'max_failed_trials' WHERE id = ${id}::uuid`;
  return true;
}

/** Nothing is left to do for a sweep. */
async function endSweep(tx: Transaction, id: string): Promise<void> {
  await tx.$executeRaw`
    UPDATE sweep
    SET steered = false,
      halt_reason = CASE
        WHEN EXISTS (SELECT 1 FROM trial WHERE sweep_id = ${id}::uuid AND outcome = 'refused')
        THEN coalesce(halt_reason, 'trials_refused')
        ELSE halt_reason
      END
    WHERE id = ${id}::uuid`;
}
