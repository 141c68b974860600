/** Early stopping of a sweep's pretrainings: the rules of `libs/search` are asked, and what they say is done. */
import { isTerminal, judgeOf, metricOf, Sweep, type StatusReason, type SweepRungs } from '#libs/contracts';
import { belowMedian, champion, halvingOf, promotable } from '#libs/search';
import { checkedRow } from '../checked-row.js';
import type { Database, Transaction } from '../machine/database.js';
import type { Runs } from '../runs/runs.js';
import { goalOf, type Pretraining, type Pretrainings } from './pretrainings.js';
import { noSuchSweep, type SweepRow } from './sweep-row.js';

const StoredSpec = Sweep.pick({ spec: true });

export class EarlyStopping {
  constructor(
    private readonly runs: Runs,
    private readonly pretrainings: Pretrainings,
  ) {}

  /** Lets those on that have earned it, or stops those below the median. Returns how many places promotions took. */
  async judge(tx: Transaction, sweep: SweepRow, pretrainings: readonly Pretraining[], free: number): Promise<number> {
    const { spec } = sweep;
    const halving = halvingOf(spec.early_terminate!);
    if (!halving) {
      await this.stopBelowMedian(tx, sweep, pretrainings);
      return 0;
    }
    let taken = 0;
    for (const { id, rung } of promotable(pretrainings, halving.factor, goalOf(spec))) {
      const run = pretrainings.find((each) => each.id === id)!;
      if (run.waits && taken >= free) continue;
      await this.runs.rungs.letOn(tx, id, run.rungs[rung + 1] ?? null);
      if (run.waits) taken++;
    }
    return taken;
  }

  private async stopBelowMedian(tx: Transaction, sweep: SweepRow, pretrainings: readonly Pretraining[]): Promise<void> {
    const policy = sweep.spec.early_terminate!;
    if (policy.type !== 'median') return;
    const judged = pretrainings.filter(({ status, stopAtStep }) => status === 'running' && stopAtStep !== null);
    const limits = { gracePeriod: policy.grace_period, minTrials: policy.min_trials };
    const judge = judgeOf(policy, metricOf(sweep.spec).name);
    for (const id of belowMedian(pretrainings, new Set(judged.map((run) => run.id)), limits, goalOf(sweep.spec))) {
      const detail = `its best ${judge} so far is worse than the median of the others at its time`;
      await this.stop(tx, sweep.id, id, 'below_median', detail);
    }
  }

  /**
   * When nothing can be promoted and nothing starts any more: one at least is trained in full, and whoever waits has
   * been stopped. True while there is something left to wait for.
   */
  async finish(
    tx: Transaction,
    { id, spec }: SweepRow,
    pretrainings: readonly Pretraining[],
    starting: boolean,
  ): Promise<boolean> {
    const waiting = pretrainings.filter(({ waits }) => waits);
    if (waiting.length === 0 || pretrainings.some(({ status, waits }) => !waits && !isTerminal(status))) return false;
    const policy = spec.early_terminate!;
    if (starting) {
      // A promotable run may be waiting only because all parallel trials are taken.
      const factor = halvingOf(policy)?.factor ?? Number.POSITIVE_INFINITY;
      const earned = new Set(promotable(pretrainings, factor, goalOf(spec)).map((each) => each.id));
      if (waiting.some((run) => earned.has(run.id))) return true;
      const best = pretrainings.some(({ status }) => status === 'succeeded')
        ? undefined
        : champion(waiting, goalOf(spec));
      if (best !== undefined) {
        await this.runs.rungs.letOn(tx, best, null);
        return true;
      }
    }
    for (const run of waiting) {
      const detail = `it was not among the best at step ${run.stopAtStep} by ${judgeOf(policy, metricOf(spec).name)}`;
      await this.stop(tx, id, run.id, 'not_promoted', detail);
    }
    // Trials that are held for a pretraining stopped here are settled at the next look at the sweep.
    return true;
  }

  /**
   * This sweep has seen enough of a run. It ends when every sweep has that it belongs to; whoever needs it in full has
   * said so in the run itself.
   */
  private async stop(
    tx: Transaction,
    sweepId: string,
    runId: string,
    reason: StatusReason,
    detail: string,
  ): Promise<void> {
    await tx.$executeRaw`
      UPDATE trial
      SET outcome = 'early_stopped'
      FROM trial_run p
      WHERE trial.sweep_id = ${sweepId}::uuid AND p.sweep_id = trial.sweep_id AND p.index = trial.index
        AND p.run_id = ${runId}::uuid AND trial.draft IS NULL`;
    const needed = await tx.$queryRaw<unknown[]>`
      SELECT 1 AS one
      FROM run
      WHERE id = ${runId}::uuid AND (
        stop_at_step IS NULL OR EXISTS (
          SELECT 1
          FROM trial_run p
          JOIN trial t ON t.sweep_id = p.sweep_id AND t.index = p.index
          JOIN sweep s ON s.id = t.sweep_id
          WHERE p.run_id = run.id AND t.outcome IS NULL AND s.steered AND s.cancelled_at IS NULL))`;
    if (needed.length === 0) await this.runs.rungs.stopEarly(tx, runId, reason, detail);
  }

  /**
   * Who has come to which rung, with what, and what was made of it; null where nothing is stopped early.
   * @throws RequestError `not_found`, `damaged`
   */
  async rungs(database: Database, sweepId: string): Promise<SweepRungs | null> {
    const sweep = await database.prisma.sweep.findUnique({ where: { id: sweepId }, select: { spec: true } });
    if (!sweep) throw noSuchSweep(sweepId);
    const { spec } = checkedRow(StoredSpec, { resource: 'sweep', id: sweepId }, sweep);
    const { early_terminate: policy } = spec;
    if (!policy) return null;
    const [pretrainings, places] = await database.transaction(
      async (tx) =>
        [
          await this.pretrainings.of(tx, { id: sweepId, spec }),
          await tx.trial.findMany({
            where: { sweepId },
            select: { index: true, root: true },
            orderBy: { index: 'asc' },
          }),
        ] as const,
    );
    // Trials that are not started yet are listed too.
    const trials = Map.groupBy(places, ({ root }) => root);
    return {
      sweepId,
      policy: policy.type,
      metric: judgeOf(policy, metricOf(spec).name),
      goal: goalOf(spec),
      runs: pretrainings.map((run) => ({
        runId: run.id,
        trials: (trials.get(run.digest) ?? []).map(({ index }) => index),
        status: run.status,
        bracket: run.bracket,
        rungs: run.rungs,
        reached: reachedBy(run, policy.type),
      })),
    };
  }
}

/** The rungs that a run has reached, of the median rule its last point, and what was made of it there. */
function reachedBy(
  { status, step, stopAtStep, values, rungs, last }: Pretraining,
  policy: SweepRungs['policy'],
): SweepRungs['runs'][number]['reached'] {
  const atRungs = values.map((value, rung) => ({ step: rungs[rung]!, value }));
  const points = policy === 'median' ? [last].filter((point) => point !== undefined) : atRungs;
  const decision = (at: number, newest: boolean): 'promoted' | 'waiting' | 'stopped' => {
    if (!newest || step > at || status === 'succeeded') return 'promoted';
    if (status === 'early_stopped') return 'stopped';
    return policy !== 'median' && (stopAtStep === null || stopAtStep > at) ? 'promoted' : 'waiting';
  };
  return points.map((point, i) => ({ ...point, decision: decision(point.step, i === points.length - 1) }));
}
