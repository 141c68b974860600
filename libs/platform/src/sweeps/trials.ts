/** The trials of a sweep: how they are written, which of them may start, and how they become runs. */
import {
  isTerminal,
  type Control,
  OPEN_STATUSES,
  RETRYABLE_STATUSES,
  type SweepSpec,
  type Trial,
} from '#libs/contracts';
import type { Transaction } from '../machine/database.js';
import { inTurns } from '../machine/turns.js';
import { RequestError } from '../request-error.js';
import type { Draft, Placement } from '../runs/admission.js';
import type { Runs } from '../runs/runs.js';
import { hasStatus } from '../runs/sql.js';
import { isInserted } from '../runs/submission.js';
import { sweepsJudgedAlike } from './judged-alike.js';
import type { Pretrainings } from './pretrainings.js';
import type { SweepRow } from './sweep-row.js';

/** Trials and the placements of their runs, one after the other. */
export interface Places {
  drafts: Draft[];
  places: { trial: Trial; stage: string; control: Control | null; parentStage: string | null }[];
}
type Placed = Places['places'][number] & { placement: Placement };
/** A trial that has not been started, with the specs as they were admitted. */
interface HeldTrial {
  index: number;
  parameters: Record<string, unknown>;
  draft: Trial['runs'];
}

/** Rows that are written by one statement. */
const BATCH = 500;
/** Stands for the `run_cap` of a sweep without one. */
const NO_CAP = 2 ** 31 - 1;

/** The drafts of all trials in one list; faults point at what set the value, a parameter or the stage. */
export async function draftsOf(spec: SweepSpec, trials: readonly Trial[]): Promise<Places> {
  const drafts: Draft[] = [];
  const setBy = new Map(Object.keys(spec.stages).map((stage) => [stage, fieldsSetBy(spec, stage)]));
  const places: Places['places'] = [];
  await inTurns(trials, (trial) => {
    const ofStage = new Map<string, number>();
    for (const { stage, control, spec: runSpec, parentStage } of trial.runs) {
      const name = `${spec.name}-${stage}-${trial.index}${control ? `-${control}` : ''}`.slice(0, 128);
      if (!control) ofStage.set(stage, drafts.length);
      drafts.push({
        spec: runSpec,
        name,
        path: ['spec', 'stages', stage],
        setBy: setBy.get(stage),
        parent: parentStage ? ofStage.get(parentStage) : undefined,
      });
      places.push({ trial, stage, control, parentStage });
    }
  });
  return { drafts, places };
}

/** Where the fields of a stage stand that differ between trials. */
function fieldsSetBy(spec: SweepSpec, stage: string): Map<string, string[]> {
  const fields = new Map<string, string[]>();
  if (spec.label_fractions && spec.stages[stage]!.kind === 'finetune')
    fields.set('labelFraction', ['spec', 'label_fractions']);
  for (const name of Object.keys(spec.parameters ?? {}))
    if (name.startsWith(`${stage}.`)) fields.set(name.slice(stage.length + 1), ['spec', 'parameters', name]);
  return fields;
}

export class Trials {
  constructor(
    private readonly runs: Runs,
    private readonly pretrainings: Pretrainings,
  ) {}

  /**
   * Finds or makes a place for each draft of a sweep, `from` as in `Reuse`. What was stopped early answers a sweep that
   * would stop it again.
   */
  async admit(
    tx: Transaction,
    spec: SweepSpec,
    drafts: readonly Draft[],
    from: boolean | string = spec.on_duplicate !== 'replicate',
  ): Promise<Placement[]> {
    const stoppedIn = from === true ? await sweepsJudgedAlike(tx, spec) : [];
    return this.runs.submission.admit(tx, drafts, { from, stoppedIn });
  }

  /**
   * Writes trials, and of those that are not started yet (`held`) the specs as they were admitted: a dataset stays the
   * version that it was. Of trials that share a root the first come before the second of any other.
   */
  async write(
    tx: Transaction,
    sweepId: string,
    spec: SweepSpec,
    { places }: Pick<Places, 'places'>,
    placements: readonly Placement[],
    { firstPosition = 0, held = true } = {},
  ): Promise<void> {
    const ofTrial = new Map<Trial, Placed[]>();
    await inTurns(places, (place, i) => {
      const placed = { ...place, placement: placements[i]! };
      const others = ofTrial.get(place.trial);
      if (others) others.push(placed);
      else ofTrial.set(place.trial, [placed]);
    });
    const seen = new Map<string, number>();
    const rows = await inTurns(ofTrial, ([trial, runs]) => {
      const pretraining = runs.find(({ placement, control }) => placement.spec.kind === 'pretrain' && !control);
      const root = (pretraining ?? runs[0]!).placement.digest;
      const nth = seen.get(root) ?? 0;
      seen.set(root, nth + 1);
      return { trial, runs, root, nth };
    });
    const ordered = spec.order_by ? rows : rows.toSorted((a, b) => a.nth - b.nth);
    for (let from = 0; from < ordered.length; from += BATCH) {
      const texts = await inTurns(ordered.slice(from, from + BATCH), ({ trial, runs, root }, place) =>
        JSON.stringify({
          index: trial.index,
          parameters: trial.parameters,
          position: firstPosition + from + place,
          root,
          ...(held && {
            draft: runs.map(({ stage, control, parentStage, placement }) => ({
              stage,
              control,
              parentStage,
              spec: placement.spec,
            })),
          }),
        }),
      );
      await tx.$executeRaw`
        INSERT INTO trial (sweep_id, index, parameters, position, root, draft)
        SELECT ${sweepId}::uuid, index, parameters, position, root, draft
        FROM jsonb_to_recordset(${`[${texts.join()}]`}::jsonb)
          AS t(index int, parameters jsonb, position int, root text, draft jsonb)`;
    }
  }

  /** Writes the runs of trials, and which run fills which place. Returns how many trials have something left to run. */
  async place(
    tx: Transaction,
    sweep: Pick<SweepRow, 'id' | 'spec' | 'tags' | 'project' | 'priority' | 'requires' | 'maxSeconds'>,
    { places }: Pick<Places, 'places'>,
    placements: readonly Placement[],
  ): Promise<number> {
    await this.runs.submission.insert(tx, placements, sweep);
    const filled = await inTurns(places, ({ trial, stage, control }, i) => ({
      index: trial.index,
      stage,
      control: control ?? '',
      run_id: placements[i]!.runId,
      reused: !isInserted(placements[i]!),
    }));
    for (let from = 0; from < filled.length; from += BATCH) {
      await tx.$executeRaw`
        INSERT INTO trial_run (sweep_id, index, stage, control, run_id, reused)
        SELECT ${sweep.id}::uuid, index, stage, control, run_id, reused
        FROM jsonb_to_recordset(${JSON.stringify(filled.slice(from, from + BATCH))}::jsonb)
          AS t(index int, stage text, control text, run_id uuid, reused boolean)`;
    }
    await this.sayHowFar(tx, sweep.spec, places, placements);
    const left = new Set<number>();
    await inTurns(places, ({ trial }, i) => !isTerminal(placements[i]!.status) && left.add(trial.index));
    return left.size;
  }

  /** Pretrainings that may be stopped early are looked at first at their first rung; all else is needed in full. */
  private async sayHowFar(
    tx: Transaction,
    spec: SweepSpec,
    places: Places['places'],
    placements: readonly Placement[],
  ): Promise<void> {
    const inFull = new Set<string>();
    const judged = new Map<string, Placement>();
    await inTurns(placements, (placement, i) => {
      if (spec.early_terminate && placement.spec.kind === 'pretrain' && !places[i]!.control)
        judged.set(placement.runId, judged.get(placement.runId) ?? placement);
      else for (const runId of [placement.runId, ...placement.parentIds]) inFull.add(runId);
    });
    // A finetuning needs its parent as far as the sweep lets it come.
    for (const runId of judged.keys()) inFull.delete(runId);
    await this.runs.rungs.needInFull(tx, [...inFull]);
    for (const [runId, placement] of judged) {
      const first = await this.pretrainings.firstLook(tx, spec, placement);
      if (placement.outcome === 'new' && first !== null) await this.runs.rungs.stopAt(tx, runId, first);
      else await this.runs.rungs.letOn(tx, runId, first);
    }
  }

  /** Held trials in their order, at most so many; of those that share a root which is yet to be run, the first. */
  async ready(tx: Transaction, { id, spec }: SweepRow, limit: number): Promise<HeldTrial[]> {
    if (limit <= 0) return [];
    return tx.$queryRaw`
      WITH root AS (
        SELECT r.digest, bool_or(${hasStatus(OPEN_STATUSES, 'r')}) AS busy
        FROM trial_run p
        JOIN run r ON r.id = p.run_id
        WHERE p.sweep_id = ${id}::uuid
        GROUP BY r.digest)
      SELECT index, parameters, draft
      FROM (
        SELECT t.*, root.digest IS NOT NULL AS known, coalesce(root.busy, false) AS busy,
          row_number() OVER (PARTITION BY t.root ORDER BY t.position) AS nth
        FROM trial t
        LEFT JOIN root ON root.digest = t.root
        WHERE t.sweep_id = ${id}::uuid AND t.draft IS NOT NULL AND t.outcome IS NULL
          AND t.index < ${spec.run_cap ?? NO_CAP}) AS held
      WHERE NOT busy AND (known OR nth = 1)
      ORDER BY position
      LIMIT ${Math.min(limit, BATCH)}`;
  }

  /**
   * Returns how many of the trials are under way now. One that can't be admitted any more is set aside with the reason.
   */
  async start(tx: Transaction, sweep: SweepRow, ready: readonly HeldTrial[]): Promise<number> {
    const { id, spec } = sweep;
    const places = await draftsOf(
      spec,
      ready.map(({ index, parameters, draft }) => ({ index, parameters, runs: draft })),
    );
    let placements: Placement[];
    try {
      placements = await this.admit(tx, spec, places.drafts, spec.on_duplicate === 'replicate' ? id : true);
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      if (ready.length > 1) {
        let underWay = 0;
        for (const one of ready) underWay += await this.start(tx, sweep, [one]);
        return underWay;
      }
      await tx.$executeRaw`
        UPDATE trial
        SET outcome = 'refused', fault = ${error.message}
        WHERE sweep_id = ${id}::uuid AND index = ${ready[0]!.index}`;
      return 0;
    }
    await tx.$executeRaw`
      UPDATE trial
      SET draft = NULL
      WHERE sweep_id = ${id}::uuid AND index = ANY(${ready.map(({ index }) => index)}::int[])`;
    return this.place(tx, sweep, places, placements);
  }

  /** A held trial follows its root: it fails with it, is stopped with it, and waits again when that one is retried. */
  async settleHeld(tx: Transaction, id: string): Promise<void> {
    // One statement: what a root came to and what is made of it belong to the same moment. Roots come first and once:
    // joined trial by trial, ten thousand that Postgres has no statistics of took over 20 s.
    await tx.$executeRaw`
      WITH root AS MATERIALIZED (
        SELECT r.digest, min(r.id::text) AS run_id,
          CASE
            WHEN bool_or(${hasStatus([...OPEN_STATUSES, 'succeeded'], 'r')}) THEN NULL
            WHEN bool_or(${hasStatus(RETRYABLE_STATUSES, 'r')}) THEN 'failed'
            ELSE 'early_stopped'
          END AS outcome
        FROM trial_run p
        JOIN run r ON r.id = p.run_id
        WHERE p.sweep_id = ${id}::uuid
        GROUP BY r.digest)
      UPDATE trial
      SET outcome = root.outcome,
        fault = CASE WHEN root.outcome IS NULL THEN NULL ELSE 'its run ' || root.run_id || ' is ' || root.outcome END
      FROM root
      WHERE trial.sweep_id = ${id}::uuid AND trial.root = root.digest AND trial.draft IS NOT NULL
        AND trial.outcome IS DISTINCT FROM 'refused' AND trial.outcome IS DISTINCT FROM root.outcome`;
  }
}
