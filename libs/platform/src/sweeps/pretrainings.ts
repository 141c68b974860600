import { isTerminal, JUDGES, judgeOf, metricOf, type Pretrain, type RunStatus, type SweepSpec } from '#libs/contracts';
import { halvingOf, rungsOf, stepsPerEpoch, type Goal, type Halving, type Standing } from '#libs/search';
import type { Transaction } from '../machine/database.js';
import type { Placement } from '../runs/admission.js';
import { trainCount } from '../runs/estimate.js';
import type { SweepRow } from './sweep-row.js';

/** A pretraining that a sweep may stop early, with what it is worth so far. */
export interface Pretraining extends Standing {
  digest: string;
  status: RunStatus;
  step: number;
  stopAtStep: number | null;
  last: { step: number; value: number } | undefined;
  /** It has reached its rung and handed its place back. */
  waits: boolean;
  /** Steps. */
  rungs: number[];
  /** Times are in what the policy counts in: epochs or steps. */
  points: { time: number; value: number }[];
}

interface PretrainingRow {
  id: string;
  status: RunStatus;
  reason: string | null;
  step: number;
  stopAtStep: number | null;
  spec: Pretrain;
  digest: string;
  datasetDigest: string;
}

/** `stop_at_step` of a run that may be stopped wherever it is: no run has so many steps. */
export const ANYWHERE = 2 ** 31 - 1;

/** Which way the metric that pretrainings are judged by is better. */
export const goalOf = (spec: SweepSpec): Goal => JUDGES[judgeOf(spec.early_terminate!, metricOf(spec).name)];
/** By digest, so that it stays the same whoever asks. */
const bracketOf = ({ brackets }: Halving, digest: string): number => Number.parseInt(digest.slice(0, 8), 16) % brackets;

/** The pretrainings of sweeps that stop some early. */
export class Pretrainings {
  private readonly trainCounts = new Map<string, number>();

  /** Step at which a pretraining is looked at first; null where it runs to its end before. */
  async firstLook(
    tx: Transaction,
    { early_terminate: policy }: SweepSpec,
    { spec, digest, datasetDigest }: Placement,
  ): Promise<number | null> {
    const halving = halvingOf(policy!);
    if (!halving) return ANYWHERE;
    const count = await this.trainCount(tx, datasetDigest!);
    return rungsOf(halving, spec as Pretrain, count, bracketOf(halving, digest))[0] ?? null;
  }

  async of(tx: Transaction, { id, spec }: Pick<SweepRow, 'id' | 'spec'>): Promise<Pretraining[]> {
    const policy = spec.early_terminate!;
    const stage = Object.keys(spec.stages).find((name) => spec.stages[name]!['kind'] === 'pretrain')!;
    const runs = await tx.$queryRaw<PretrainingRow[]>`
      SELECT id, status::text AS status, status_reason AS reason, step, stop_at_step AS "stopAtStep", spec, digest,
        dataset_digest AS "datasetDigest"
      FROM run
      WHERE id IN (
        SELECT run_id FROM trial_run WHERE sweep_id = ${id}::uuid AND stage = ${stage} AND control = '')
      ORDER BY id`;
    const points = await tx.$queryRaw<{ runId: string; step: number; value: number }[]>`
      SELECT run_id AS "runId", step, value
      FROM metric
      WHERE run_id = ANY(${runs.map((run) => run.id)}::uuid[]) AND key = ${judgeOf(policy, metricOf(spec).name)}
        AND step > 0
      ORDER BY run_id, step`;
    const ofRun = Map.groupBy(points, ({ runId }) => runId);
    return Promise.all(
      runs.map(async (run) =>
        pretrainingOf(run, ofRun.get(run.id) ?? [], policy, await this.trainCount(tx, run.datasetDigest), goalOf(spec)),
      ),
    );
  }

  private async trainCount(tx: Transaction, datasetDigest: string): Promise<number> {
    const known = this.trainCounts.get(datasetDigest);
    if (known !== undefined) return known;
    const count = await trainCount(tx, datasetDigest);
    this.trainCounts.set(datasetDigest, count);
    return count;
  }
}

/** The best value of a curve up to a step that it has reached. */
const bestUntil = (until: number, curve: readonly { step: number; value: number }[], goal: Goal): number =>
  (goal === 'maximize' ? Math.max : Math.min)(...curve.flatMap(({ step, value }) => (step <= until ? [value] : [])));

function pretrainingOf(
  run: PretrainingRow,
  curve: readonly { step: number; value: number }[],
  policy: NonNullable<SweepSpec['early_terminate']>,
  trainCount: number,
  goal: Goal,
): Pretraining {
  const halving = halvingOf(policy);
  const bracket = halving ? bracketOf(halving, run.digest) : 0;
  const rungs = halving ? rungsOf(halving, run.spec, trainCount, bracket) : [];
  const at = new Map(curve.map(({ step, value }) => [step, value]));
  const missing = rungs.findIndex((step) => !at.has(step));
  const letOn = isTerminal(run.status) || run.stopAtStep === null;
  return {
    id: run.id,
    digest: run.digest,
    status: run.status,
    step: run.step,
    stopAtStep: run.stopAtStep,
    last: curve.at(-1),
    waits: run.status === 'paused' && run.reason === 'rung',
    rungs,
    bracket,
    values: rungs
      .slice(0, missing < 0 ? rungs.length : missing)
      .map((step) => (halving?.byBest ? bestUntil(step, curve, goal) : at.get(step)!)),
    promoted: letOn ? Number.POSITIVE_INFINITY : rungs.filter((step) => step < run.stopAtStep!).length,
    points: curve.map(({ step, value }) => ({
      time: policy.time_attr === 'epochs' ? step / stepsPerEpoch(run.spec, trainCount) : step,
      value,
    })),
  };
}
