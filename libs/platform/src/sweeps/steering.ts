/**
 * What sweeps need while they run: the next trials, limits, early stopping. The leader does it for all; every look at a
 * sweep is one transaction that holds its row and goes by what is in Postgres alone, so that a leader that dies, or two
 * that overlap, change nothing in the outcome.
 */
import {
  canonicalJson,
  expandDraw,
  InvalidSweepError,
  isModelled,
  isTerminal,
  JUDGES,
  judgeOf,
  parallelTrialsOf,
  stageOrder,
  trialsPerDraw,
  type Control,
  type Pretrain,
  type Requires,
  type RunStatus,
  type StatusReason,
  type SweepRungs,
  type SweepSpec,
  type Trial,
} from '#libs/contracts';
import {
  belowMedian,
  champion,
  halvingOf,
  nextDraw,
  promotable,
  rungsOf,
  stepsPerEpoch,
  type Goal,
  type Halving,
  type Observation,
  type Standing,
} from '#libs/search';
import type { Draft, Placement } from '../runs/admission.js';
import { Prisma, type Database, type Transaction } from '../machine/database.js';
import { trainCount } from '../runs/estimate.js';
import { RequestError } from '../request-error.js';
import type { RunStore } from '../runs/run-store.js';

/** A sweep as the controller and those who change it see it. The row is locked until the transaction ends. */
export interface SweepRow {
  id: string;
  spec: SweepSpec;
  tags: string[];
  project: string;
  priority: number;
  requires: Requires;
  createdAt: Date;
  steered: boolean;
  pausedAt: Date | null;
  cancelledAt: Date | null;
  haltReason: string | null;
}

/** Trials and the placements of their runs, one after the other. */
interface Places {
  drafts: Draft[];
  places: { trial: Trial; stage: string; control: Control | null; parentStage: string | null }[];
}

/** `stop_at_step` of a run that may be stopped wherever it is: no run has so many steps. */
const ANYWHERE = 2 ** 31 - 1;
/** Trials that are admitted together. */
const BATCH = 500;

const ENDED_BADLY = Prisma.sql`('failed', 'timed_out', 'cancelled', 'upstream_failed')`;
const NOT_ENDED = Prisma.sql`('pending', 'queued', 'running', 'retrying', 'pausing', 'paused', 'cancelling')`;
const WORKING = Prisma.sql`('queued', 'running', 'retrying', 'pausing', 'cancelling')`;

/** The drafts of all trials in one list; faults point at the stage, whatever parameter set the value. */
export function draftsOf(spec: SweepSpec, trials: readonly Trial[]): Places {
  const drafts: Draft[] = [];
  const places: Places['places'] = [];
  for (const trial of trials) {
    const ofStage = new Map<string, number>();
    for (const { stage, control, spec: runSpec, parentStage } of trial.runs) {
      const name = `${spec.name}-${stage}-${trial.index}${control ? `-${control}` : ''}`.slice(0, 128);
      if (!control) ofStage.set(stage, drafts.length);
      drafts.push({
        spec: runSpec,
        name,
        path: ['spec', 'stages', stage],
        parent: parentStage ? ofStage.get(parentStage) : undefined,
      });
      places.push({ trial, stage, control, parentStage });
    }
  }
  return { drafts, places };
}

export class SweepController {
  private readonly trainCounts = new Map<string, number>();

  constructor(
    private readonly database: Database,
    private readonly runs: RunStore,
  ) {}

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

  async lock(tx: Transaction, id: string): Promise<SweepRow> {
    const [sweep] = await tx.$queryRaw<SweepRow[]>`
      SELECT id, spec, tags, project, priority, requires, created_at AS "createdAt", steered, paused_at AS "pausedAt", cancelled_at AS "cancelledAt", halt_reason AS "haltReason"
      FROM sweep WHERE id = ${id}::uuid FOR UPDATE`;
    if (!sweep) throw new RequestError('not_found', `expected the id of a sweep, got ${id}: there is no such sweep`);
    return sweep;
  }

  /** One look at a sweep: limits, then rungs, then trials that can start. May be repeated at any time. */
  async steer(tx: Transaction, id: string): Promise<void> {
    const sweep = await this.lock(tx, id);
    if (!sweep.steered || sweep.cancelledAt || sweep.pausedAt) return;
    const { spec } = sweep;
    if (await this.overBudget(tx, sweep)) return;
    await this.settleHeld(tx, id);
    let counts = await this.counts(tx, sweep);
    if (sweep.haltReason === null && spec.max_failed_trials !== undefined && counts.failed > spec.max_failed_trials) {
      sweep.haltReason = 'max_failed_trials';
      await tx.$executeRaw`UPDATE sweep SET halt_reason = ${sweep.haltReason} WHERE id = ${id}::uuid`;
    }
    const parallel = parallelTrialsOf(spec);
    const starting = sweep.haltReason === null;
    const pretrainings = spec.early_terminate ? await this.pretrainings(tx, sweep) : undefined;
    let free = Math.max(0, parallel - counts.underWay);
    const promoted = pretrainings ? await this.judge(tx, sweep, pretrainings, starting ? free : 0) : 0;
    free -= promoted;
    const started = starting ? await this.fill(tx, sweep, free) : { trials: 0, more: false };
    if (started.trials) counts = await this.counts(tx, sweep);
    if (promoted + started.trials > 0 || started.more) return;
    if (pretrainings && (await this.finish(tx, sweep, pretrainings, starting))) return;
    if (counts.unfinished > 0) return;
    await tx.$executeRaw`
      UPDATE sweep SET steered = false, halt_reason = CASE WHEN EXISTS (SELECT 1 FROM trial WHERE sweep_id = ${id}::uuid AND outcome = 'refused') THEN coalesce(halt_reason, 'trials_refused') ELSE halt_reason END
      WHERE id = ${id}::uuid`;
  }

  // Trials

  /**
   * Writes trials, and of those that are not started yet (`held`) the specs as they were admitted: a dataset stays the
   * version that it was. Of trials that share a root the first come before the second of any other.
   */
  async write(
    tx: Transaction,
    sweepId: string,
    spec: SweepSpec,
    trials: readonly Trial[],
    placements: readonly Placement[],
    { firstPosition = 0, held = true } = {},
  ): Promise<void> {
    const { places } = draftsOf(spec, trials);
    const ofTrial = Map.groupBy(
      places.map((place, i) => ({ ...place, placement: placements[i]! })),
      ({ trial }) => trial.index,
    );
    const seen = new Map<string, number>();
    const rows = trials.map(({ index, parameters }) => {
      const runs = ofTrial.get(index)!;
      const root = (runs.find(({ placement, control }) => placement.spec.kind === 'pretrain' && !control) ?? runs[0]!)
        .placement.digest;
      const nth = seen.get(root) ?? 0;
      seen.set(root, nth + 1);
      return {
        index,
        parameters,
        root,
        nth,
        ...(held && {
          draft: runs.map(({ stage, control, parentStage, placement }) => ({
            stage,
            control,
            parentStage,
            spec: placement.spec,
          })),
        }),
      };
    });
    const ordered = spec.order_by ? rows : rows.toSorted((a, b) => a.nth - b.nth);
    const json = JSON.stringify(
      ordered.map(({ nth: _, ...row }, place) => ({ ...row, position: firstPosition + place })),
    );
    await tx.$executeRaw`
      INSERT INTO trial (sweep_id, index, parameters, position, root, draft)
      SELECT ${sweepId}::uuid, index, parameters, position, root, draft FROM jsonb_to_recordset(${json}::jsonb) AS t(index int, parameters jsonb, position int, root text, draft jsonb)`;
  }

  /** Writes the runs of trials, and which run fills which place. Returns how many trials have something left to run. */
  async place(
    tx: Transaction,
    sweep: Pick<SweepRow, 'id' | 'spec' | 'tags' | 'project' | 'priority' | 'requires'>,
    { places }: Places,
    placements: readonly Placement[],
  ): Promise<number> {
    const { id, spec } = sweep;
    await this.runs.insert(tx, placements, sweep);
    const json = JSON.stringify(
      places.map(({ trial, stage, control }, i) => ({
        index: trial.index,
        stage,
        control: control ?? '',
        run_id: placements[i]!.runId,
        reused: placements[i]!.outcome !== 'new',
      })),
    );
    await tx.$executeRaw`
      INSERT INTO trial_run (sweep_id, index, stage, control, run_id, reused)
      SELECT ${id}::uuid, index, stage, control, run_id, reused FROM jsonb_to_recordset(${json}::jsonb) AS t(index int, stage text, control text, run_id uuid, reused boolean)`;
    const inFull = new Set<string>();
    const judged = new Map<string, Placement>();
    for (const [i, placement] of placements.entries()) {
      if (spec.early_terminate && placement.spec.kind === 'pretrain' && !places[i]!.control)
        judged.set(placement.runId, judged.get(placement.runId) ?? placement);
      else for (const runId of [placement.runId, ...placement.parentIds]) inFull.add(runId);
    }
    // A finetuning needs its parent as far as the sweep lets it come.
    for (const runId of judged.keys()) inFull.delete(runId);
    await this.runs.needInFull(tx, [...inFull]);
    for (const [runId, placement] of judged) {
      const first = await this.firstLook(tx, spec, placement);
      if (placement.outcome === 'new' && first !== null) await this.runs.stopAt(tx, runId, first);
      else await this.runs.letOn(tx, runId, first);
    }
    return new Set(places.flatMap(({ trial }, i) => (isTerminal(placements[i]!.status) ? [] : [trial.index]))).size;
  }

  /** Starts what may start; `more` while the searcher has not said its last word. */
  private async fill(tx: Transaction, sweep: SweepRow, free: number): Promise<{ trials: number; more: boolean }> {
    let started = 0;
    let more = false;
    for (let left = free; ;) {
      if (isModelled(sweep.spec)) more = await this.propose(tx, sweep);
      const ready = await this.ready(tx, sweep, Math.min(BATCH, left));
      if (ready.length === 0)
        return { trials: started, more: more || (left <= 0 && (await this.ready(tx, sweep, 1)).length > 0) };
      started += ready.length;
      left -= await this.start(tx, sweep, ready);
    }
  }

  /** Held trials in their order; of those that share a root which is yet to be run, the first. */
  private async ready(
    tx: Transaction,
    { id, spec }: SweepRow,
    limit: number,
  ): Promise<{ index: number; parameters: Record<string, unknown>; draft: Trial['runs'] }[]> {
    if (limit <= 0) return [];
    return tx.$queryRaw`
      WITH root AS (
        SELECT r.digest, bool_or(r.status IN ${NOT_ENDED}) AS busy FROM trial_run p JOIN run r ON r.id = p.run_id WHERE p.sweep_id = ${id}::uuid GROUP BY r.digest)
      SELECT index, parameters, draft FROM (
        SELECT t.*, root.digest IS NOT NULL AS known, coalesce(root.busy, false) AS busy, row_number() OVER (PARTITION BY t.root ORDER BY t.position) AS nth
        FROM trial t LEFT JOIN root ON root.digest = t.root
        WHERE t.sweep_id = ${id}::uuid AND t.draft IS NOT NULL AND t.outcome IS NULL AND t.index < ${spec.run_cap ?? ANYWHERE}) AS held
      WHERE NOT busy AND (known OR nth = 1) ORDER BY position LIMIT ${limit}`;
  }

  /**
   * Returns how many of the trials are under way now. One that can't be admitted any more is set aside with the reason.
   */
  private async start(
    tx: Transaction,
    sweep: SweepRow,
    ready: readonly { index: number; parameters: Record<string, unknown>; draft: Trial['runs'] }[],
  ): Promise<number> {
    const places = draftsOf(
      sweep.spec,
      ready.map(({ index, parameters, draft }) => ({ index, parameters, runs: draft })),
    );
    let placements: Placement[];
    try {
      placements = await this.runs.admit(tx, places.drafts, sweep.spec.on_duplicate === 'replicate' ? sweep.id : true);
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      if (ready.length > 1) {
        let underWay = 0;
        for (const one of ready) underWay += await this.start(tx, sweep, [one]);
        return underWay;
      }
      await tx.$executeRaw`UPDATE trial SET outcome = 'refused', fault = ${error.message} WHERE sweep_id = ${sweep.id}::uuid AND index = ${ready[0]!.index}`;
      return 0;
    }
    await tx.$executeRaw`UPDATE trial SET draft = NULL WHERE sweep_id = ${sweep.id}::uuid AND index = ANY(${ready.map(({ index }) => index)}::int[])`;
    return this.place(tx, sweep, places, placements);
  }

  /** A held trial follows its root: it fails with it, is stopped with it, and waits again when that one is retried. */
  private async settleHeld(tx: Transaction, id: string): Promise<void> {
    await tx.$executeRaw`
      UPDATE trial SET outcome = root.outcome, fault = CASE WHEN root.outcome IS NULL THEN NULL ELSE 'its run ' || root.run_id || ' is ' || root.outcome END
      FROM (
        SELECT t.index, min(r.id::text) AS run_id,
          CASE WHEN bool_or(r.status = 'succeeded' OR r.status IN ${NOT_ENDED}) THEN NULL WHEN bool_or(r.status IN ${ENDED_BADLY}) THEN 'failed' ELSE 'early_stopped' END AS outcome
        FROM trial t JOIN trial_run p ON p.sweep_id = t.sweep_id JOIN run r ON r.id = p.run_id AND r.digest = t.root
        WHERE t.sweep_id = ${id}::uuid AND t.draft IS NOT NULL AND t.outcome IS DISTINCT FROM 'refused' GROUP BY t.index) AS root
      WHERE trial.sweep_id = ${id}::uuid AND trial.index = root.index AND trial.outcome IS DISTINCT FROM root.outcome`;
  }

  /** A trial is under way while one of its runs is, or can be without anybody's doing. */
  private async counts(
    tx: Transaction,
    { id }: SweepRow,
  ): Promise<{ underWay: number; failed: number; unfinished: number }> {
    const [counts] = await tx.$queryRaw<{ underWay: number; failed: number; unfinished: number }[]>`
      SELECT count(*) FILTER (WHERE working > 0 OR (pending > 0 AND paused = 0))::int AS "underWay", count(*) FILTER (WHERE failed)::int AS failed,
        count(*) FILTER (WHERE working + pending + paused > 0)::int AS unfinished
      FROM (
        SELECT t.index, coalesce(bool_or(r.status IN ('failed', 'timed_out', 'upstream_failed')), false) OR coalesce(bool_or(t.outcome IN ('failed', 'refused')), false) AS failed,
          count(*) FILTER (WHERE r.status IN ${WORKING}) AS working, count(*) FILTER (WHERE r.status = 'pending') AS pending, count(*) FILTER (WHERE r.status = 'paused') AS paused
        FROM trial t LEFT JOIN trial_run p ON p.sweep_id = t.sweep_id AND p.index = t.index LEFT JOIN run r ON r.id = p.run_id
        WHERE t.sweep_id = ${id}::uuid GROUP BY t.index) AS each`;
    return counts!;
  }

  // Limits

  /** A sweep that has spent its budget pauses: its runs keep their checkpoints, and go on when the budget is raised. */
  private async overBudget(tx: Transaction, { id, spec, createdAt }: SweepRow): Promise<boolean> {
    if (!spec.budget) return false;
    const { gpu_seconds: gpuSeconds = Number.POSITIVE_INFINITY, wall_seconds: wallSeconds = Number.POSITIVE_INFINITY } =
      spec.budget;
    const [{ now } = { now: new Date() }] = await tx.$queryRaw<{ now: Date }[]>`SELECT now()`;
    const reason =
      (now.getTime() - createdAt.getTime()) / 1000 >= wallSeconds
        ? 'budget_wall_seconds'
        : gpuSeconds < Number.POSITIVE_INFINITY && (await this.gpuSeconds(tx, id)) >= gpuSeconds
          ? 'budget_gpu_seconds'
          : null;
    if (!reason) return false;
    await tx.$executeRaw`UPDATE sweep SET paused_at = now(), halt_reason = ${reason} WHERE id = ${id}::uuid`;
    await this.pauseRuns(tx, id);
    return true;
  }

  /** How long workers have worked on the runs that a sweep started. */
  async gpuSeconds(tx: Transaction, sweepId: string): Promise<number> {
    const [sum] = await tx.$queryRaw<{ seconds: number }[]>`
      SELECT coalesce(sum(extract(epoch FROM coalesce(a.ended_at, now()) - a.started_at)), 0)::float8 AS seconds
      FROM attempt a WHERE a.run_id IN (SELECT run_id FROM trial_run WHERE sweep_id = ${sweepId}::uuid AND NOT reused)`;
    return sum!.seconds;
  }

  /** Runs of these statuses that sweeps started, and that no other sweep needs and nobody has asked for by name. */
  async ownRuns(tx: Transaction, sweepId: string, statuses: readonly RunStatus[]): Promise<string[]> {
    const own = await tx.$queryRaw<{ id: string }[]>`
      SELECT DISTINCT r.id FROM trial_run t JOIN run r ON r.id = t.run_id
      WHERE t.sweep_id = ${sweepId}::uuid AND r.status::text = ANY(${[...statuses]}::text[])
        AND EXISTS (SELECT 1 FROM trial_run origin WHERE origin.run_id = r.id AND NOT origin.reused)
        AND NOT EXISTS (SELECT 1 FROM run_event asked WHERE asked.run_id = r.id AND asked.type = 'asked')
        AND NOT EXISTS (SELECT 1 FROM trial_run other JOIN sweep s ON s.id = other.sweep_id WHERE other.run_id = r.id AND other.sweep_id <> t.sweep_id AND s.cancelled_at IS NULL AND s.paused_at IS NULL)
      ORDER BY r.id`;
    return own.map(({ id }) => id);
  }

  async pauseRuns(tx: Transaction, sweepId: string): Promise<void> {
    for (const id of await this.ownRuns(tx, sweepId, ['queued', 'running', 'retrying']))
      await this.runs.pauseWithin(tx, id);
  }

  // Early stopping

  /** Where a pretraining is looked at first; null where it runs to its end before. */
  private async firstLook(
    tx: Transaction,
    { early_terminate: policy }: SweepSpec,
    { spec, digest, datasetDigest }: Placement,
  ): Promise<number | null> {
    const halving = halvingOf(policy!);
    return halving
      ? (rungsOf(halving, spec as Pretrain, await this.trainCount(tx, datasetDigest), bracketOf(halving, digest))[0] ??
          null)
      : ANYWHERE;
  }

  private async trainCount(tx: Transaction, datasetDigest: string | null): Promise<number> {
    const known = this.trainCounts.get(datasetDigest!);
    if (known !== undefined) return known;
    const count = await trainCount(tx, datasetDigest!);
    this.trainCounts.set(datasetDigest!, count);
    return count;
  }

  /** The pretrainings of a sweep with what they are worth so far. */
  private async pretrainings(tx: Transaction, { id, spec }: Pick<SweepRow, 'id' | 'spec'>): Promise<Pretraining[]> {
    const policy = spec.early_terminate!;
    const stage = Object.keys(spec.stages).find((name) => spec.stages[name]!['kind'] === 'pretrain')!;
    const runs = await tx.$queryRaw<
      {
        id: string;
        status: RunStatus;
        reason: string | null;
        step: number;
        stopAtStep: number | null;
        spec: Pretrain;
        digest: string;
        datasetDigest: string;
      }[]
    >`
      SELECT id, status::text AS status, status_reason AS reason, step, stop_at_step AS "stopAtStep", spec, digest, dataset_digest AS "datasetDigest"
      FROM run WHERE id IN (SELECT run_id FROM trial_run WHERE sweep_id = ${id}::uuid AND stage = ${stage} AND control = '') ORDER BY id`;
    const points = await tx.$queryRaw<{ runId: string; step: number; value: number }[]>`
      SELECT run_id AS "runId", step, value FROM metric WHERE run_id = ANY(${runs.map((run) => run.id)}::uuid[]) AND key = ${judgeOf(policy, spec.metric.name)} AND step > 0 ORDER BY run_id, step`;
    const ofRun = Map.groupBy(points, ({ runId }) => runId);
    const halving = halvingOf(policy);
    return Promise.all(
      runs.map(async (run) => {
        const trainCount = await this.trainCount(tx, run.datasetDigest);
        const curve = ofRun.get(run.id) ?? [];
        const rungs = halving ? rungsOf(halving, run.spec, trainCount, bracketOf(halving, run.digest)) : [];
        const at = new Map(curve.map(({ step, value }) => [step, value]));
        const missing = rungs.findIndex((step) => !at.has(step));
        return {
          id: run.id,
          digest: run.digest,
          status: run.status,
          step: run.step,
          stopAtStep: run.stopAtStep,
          last: curve.at(-1),
          waits: run.status === 'paused' && run.reason === 'rung',
          rungs,
          bracket: halving ? bracketOf(halving, run.digest) : 0,
          values: rungs.slice(0, missing < 0 ? rungs.length : missing).map((step) => at.get(step)!),
          promoted:
            isTerminal(run.status) || run.stopAtStep === null
              ? Number.POSITIVE_INFINITY
              : rungs.filter((step) => step < run.stopAtStep!).length,
          points: curve.map(({ step, value }) => ({
            time: policy.time_attr === 'epochs' ? step / stepsPerEpoch(run.spec, trainCount) : step,
            value,
          })),
        };
      }),
    );
  }

  /** Who has come to which rung, with what, and what was made of it; null where nothing is stopped early. */
  async rungs(sweep: Pick<SweepRow, 'id' | 'spec'>): Promise<SweepRungs | null> {
    const { early_terminate: policy, metric } = sweep.spec;
    if (!policy) return null;
    const [pretrainings, places] = await this.database.transaction(
      async (tx) =>
        [
          await this.pretrainings(tx, sweep),
          await tx.trial.findMany({
            where: { sweepId: sweep.id },
            select: { index: true, root: true },
            orderBy: { index: 'asc' },
          }),
        ] as const,
    );
    // Those that are not started yet too.
    const trials = Map.groupBy(places, ({ root }) => root);
    return {
      sweepId: sweep.id,
      policy: policy.type,
      metric: judgeOf(policy, metric.name),
      goal: goalOf(sweep.spec),
      runs: pretrainings.map(({ id, digest, status, step, stopAtStep, bracket, rungs, values, last }) => {
        const points =
          policy.type === 'median'
            ? last
              ? [last]
              : []
            : values.map((value, rung) => ({ step: rungs[rung]!, value }));
        const decision = (at: number, newest: boolean): 'promoted' | 'waiting' | 'stopped' =>
          !newest || step > at || status === 'succeeded'
            ? 'promoted'
            : status === 'early_stopped'
              ? 'stopped'
              : policy.type !== 'median' && (stopAtStep === null || stopAtStep > at)
                ? 'promoted'
                : 'waiting';
        return {
          runId: id,
          trials: (trials.get(digest) ?? []).map(({ index }) => index),
          status,
          bracket,
          rungs,
          reached: points.map((point, i) => ({ ...point, decision: decision(point.step, i === points.length - 1) })),
        };
      }),
    };
  }

  /** Lets those on that have earned it, or stops those below the median. Returns how many places promotions took. */
  private async judge(
    tx: Transaction,
    { id: sweepId, spec }: SweepRow,
    pretrainings: readonly Pretraining[],
    free: number,
  ): Promise<number> {
    const policy = spec.early_terminate!;
    const goal = goalOf(spec);
    if (policy.type === 'median') {
      const judged = new Set(
        pretrainings
          .filter(({ status, stopAtStep }) => status === 'running' && stopAtStep !== null)
          .map(({ id }) => id),
      );
      for (const id of belowMedian(
        pretrainings,
        judged,
        { gracePeriod: policy.grace_period, minTrials: policy.min_trials },
        goal,
      )) {
        await this.stopEarly(
          tx,
          sweepId,
          id,
          'below_median',
          `its best ${judgeOf(policy, spec.metric.name)} so far is worse than the median of the others at its time`,
        );
      }
      return 0;
    }
    let taken = 0;
    for (const { id, rung } of promotable(pretrainings, halvingOf(policy)!.factor, goal)) {
      const run = pretrainings.find((each) => each.id === id)!;
      if (run.waits && taken >= free) continue;
      await this.runs.letOn(tx, id, run.rungs[rung + 1] ?? null);
      if (run.waits) taken++;
    }
    return taken;
  }

  /**
   * When nothing can be promoted and nothing starts any more: one at least is trained in full, and whoever waits has
   * been stopped.
   * True while there is something left to wait for.
   */
  private async finish(
    tx: Transaction,
    { id, spec }: SweepRow,
    pretrainings: readonly Pretraining[],
    starting: boolean,
  ): Promise<boolean> {
    const waiting = pretrainings.filter(({ waits }) => waits);
    if (waiting.length === 0 || pretrainings.some(({ status, waits }) => !waits && !isTerminal(status))) return false;
    const policy = spec.early_terminate!;
    // More may be promotable than there are places.
    if (
      starting &&
      promotable(pretrainings, halvingOf(policy)?.factor ?? Number.POSITIVE_INFINITY, goalOf(spec)).some(
        ({ id: each }) => waiting.some((run) => run.id === each),
      )
    )
      return true;
    if (starting && !pretrainings.some(({ status }) => status === 'succeeded')) {
      const best = champion(waiting, goalOf(spec));
      if (best !== undefined) {
        await this.runs.letOn(tx, best, null);
        return true;
      }
    }
    for (const run of waiting)
      await this.stopEarly(
        tx,
        id,
        run.id,
        'not_promoted',
        `it was not among the best at step ${run.stopAtStep} by ${judgeOf(policy, spec.metric.name)}`,
      );
    // Held trials follow their roots at the next look.
    return true;
  }

  /**
   * This sweep has seen enough of a run. It ends when every sweep has that it belongs to; whoever needs it in full has
   * said so in the run itself.
   */
  private async stopEarly(
    tx: Transaction,
    sweepId: string,
    runId: string,
    reason: StatusReason,
    detail: string,
  ): Promise<void> {
    await tx.$executeRaw`
      UPDATE trial SET outcome = 'early_stopped' FROM trial_run p
      WHERE trial.sweep_id = ${sweepId}::uuid AND p.sweep_id = trial.sweep_id AND p.index = trial.index AND p.run_id = ${runId}::uuid AND trial.draft IS NULL`;
    const needed = await tx.$queryRaw<unknown[]>`
      SELECT 1 AS one FROM run WHERE id = ${runId}::uuid AND (stop_at_step IS NULL OR EXISTS (
        SELECT 1 FROM trial_run p JOIN trial t ON t.sweep_id = p.sweep_id AND t.index = p.index JOIN sweep s ON s.id = t.sweep_id
        WHERE p.run_id = run.id AND t.outcome IS NULL AND s.steered AND s.cancelled_at IS NULL))`;
    if (needed.length === 0) await this.runs.stopEarly(tx, runId, reason, detail);
  }

  // Search by a model

  /**
   * Adds the draws that the searcher can make now: draw g goes by the results of the draws up to g − P, P of them at
   * once, and waits for those. So the same seed gives the same trials, however long each takes and whoever leads. True
   * while there is more to come.
   */
  private async propose(tx: Transaction, sweep: SweepRow): Promise<boolean> {
    const { id, spec } = sweep;
    const perDraw = trialsPerDraw(spec);
    const atOnce = Math.max(1, Math.floor(parallelTrialsOf(spec) / perDraw));
    const draws = await this.results(tx, sweep, perDraw);
    const tried = new Set(draws.map(({ parameters }) => canonicalJson(parameters)));
    for (;;) {
      const place = draws.length;
      if ((place + 1) * perDraw > spec.run_cap!) return false;
      const before = draws.slice(0, Math.max(0, place - atOnce + 1));
      if (before.some(({ settled }) => !settled)) return true;
      const ranked: Observation[] = before
        .filter(({ value }) => value !== null)
        .sort((a, b) => b.value!.complete - a.value!.complete || b.value!.score - a.value!.score || a.order - b.order);
      const draw = nextDraw(spec.parameters, { seed: spec.seed, place, ranked, tried });
      if (!draw) return false;
      tried.add(canonicalJson(draw));
      draws.push({ parameters: draw, order: place, settled: false, value: null });
      try {
        const trials = expandDraw(spec, draw, place * perDraw);
        const placements = await this.runs.admit(tx, draftsOf(spec, trials).drafts, spec.on_duplicate !== 'replicate');
        await this.write(tx, id, spec, trials, placements, { firstPosition: place * perDraw });
      } catch (error) {
        if (!(error instanceof RequestError || error instanceof InvalidSweepError)) throw error;
        await tx.trial.createMany({
          data: Array.from({ length: perDraw }, (_, i) => ({
            sweepId: id,
            index: place * perDraw + i,
            position: place * perDraw + i,
            parameters: draw as Prisma.InputJsonObject,
            outcome: 'refused',
            fault: error.message,
          })),
        });
        draws.at(-1)!.settled = true;
      }
    }
  }

  /**
   * What each draw came to: the mean of its trials' metric; of one that was stopped early, how far it came and how it
   * stood there.
   */
  private async results(tx: Transaction, sweep: SweepRow, perDraw: number): Promise<DrawResult[]> {
    const { id, spec } = sweep;
    const rows = await tx.$queryRaw<
      {
        index: number;
        parameters: Record<string, unknown>;
        settled: boolean;
        values: (number | null)[];
        stages: string[];
      }[]
    >`
      SELECT t.index, t.parameters, t.outcome IS NOT NULL OR (t.draft IS NULL AND NOT (bool_or(r.status IN ${WORKING}) OR (bool_or(r.status = 'pending') AND NOT bool_or(r.status = 'paused'))))
          OR (t.draft IS NOT NULL AND EXISTS (SELECT 1 FROM trial_run p JOIN run root ON root.id = p.run_id WHERE p.sweep_id = t.sweep_id AND root.digest = t.root AND root.status = 'paused')) AS settled,
        coalesce(array_agg(p.stage) FILTER (WHERE p.control = ''), '{}') AS stages, coalesce(array_agg((r.result->'metrics'->>${spec.metric.name})::float8) FILTER (WHERE p.control = ''), '{}') AS values
      FROM trial t LEFT JOIN trial_run p ON p.sweep_id = t.sweep_id AND p.index = t.index LEFT JOIN run r ON r.id = p.run_id
      WHERE t.sweep_id = ${id}::uuid GROUP BY t.sweep_id, t.index ORDER BY t.index`;
    const pretrainings = spec.early_terminate
      ? new Map((await this.pretrainings(tx, sweep)).map((each) => [each.id, each]))
      : undefined;
    const runOf =
      pretrainings &&
      new Map(
        (
          await tx.trialRun.findMany({
            where: { sweepId: id, runId: { in: [...pretrainings.keys()] } },
            select: { index: true, runId: true },
          })
        ).map(({ index, runId }) => [index, runId]),
      );
    const sign = spec.metric.goal === 'maximize' ? 1 : -1;
    // By what takes whose result: Postgres keeps no order of keys.
    const order = stageOrder(spec.stages);
    const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    return [...Map.groupBy(rows, ({ index }) => Math.floor(index / perDraw)).entries()].map(([draw, trials]) => {
      const values = trials.flatMap(({ stages, values: some }) =>
        stages
          .map((stage, i) => ({ stage, value: some[i] }))
          .filter(({ value }) => value !== null && value !== undefined)
          .sort((a, b) => order.indexOf(b.stage) - order.indexOf(a.stage))
          .slice(0, 1)
          .map(({ value }) => sign * value!),
      );
      const stopped = trials
        .flatMap(({ index }) => pretrainings?.get(runOf?.get(index) ?? '') ?? [])
        .map(({ points }) => points.at(-1))
        .filter((point) => point !== undefined);
      return {
        parameters: Object.fromEntries(
          Object.entries(trials[0]!.parameters).filter(([path]) => Object.hasOwn(spec.parameters, path)),
        ),
        order: draw,
        settled: trials.every(({ settled }) => settled),
        value: values.length
          ? { complete: Number.POSITIVE_INFINITY, score: mean(values) }
          : stopped.length
            ? {
                complete: Math.max(...stopped.map(({ time }) => time)),
                score: mean(stopped.map(({ value }) => (goalOf(spec) === 'maximize' ? value : -value))),
              }
            : null,
      };
    });
  }
}

interface Pretraining extends Standing {
  digest: string;
  status: RunStatus;
  step: number;
  stopAtStep: number | null;
  last: { step: number; value: number } | undefined;
  /** It has reached its rung and handed its place back. */
  waits: boolean;
  /** Steps. */
  rungs: number[];
  points: { time: number; value: number }[];
}

interface DrawResult extends Observation {
  settled: boolean;
  value: { complete: number; score: number } | null;
}

/** By digest, so that it stays the same whoever asks. */
const bracketOf = ({ brackets }: Halving, digest: string): number => Number.parseInt(digest.slice(0, 8), 16) % brackets;
const goalOf = (spec: SweepSpec): Goal => JUDGES[judgeOf(spec.early_terminate!, spec.metric.name)];
