/** Search by a model: which trials a sweep draws next, from what its draws so far came to. */
import {
  goalOfMetric,
  metricOf,
  canonicalJson,
  expandDraw,
  InvalidSweepError,
  parallelTrialsOf,
  stageOrder,
  takesOf,
  trialsPerDraw,
  UNDER_WAY_STATUSES,
} from '#libs/contracts';
import { nextDraw, type Observation } from '#libs/search';
import type { Prisma, Transaction } from '../machine/database.js';
import { inTurns, doneInTurns } from '../machine/turns.js';
import { RequestError } from '../request-error.js';
import { hasStatus } from '../runs/sql.js';
import { goalOf, type Pretrainings } from './pretrainings.js';
import type { SweepRow } from './sweep-row.js';
import { draftsOf, type Trials } from './trials.js';

interface DrawResult extends Observation {
  settled: boolean;
  /** How far the draw came (infinitely far where it has a result), and how it stood there: the higher the better. */
  value: { complete: number; score: number } | null;
}
/** Result of one trial of a draw. */
interface TrialResult {
  index: number;
  parameters: Record<string, unknown>;
  settled: boolean;
  /** Value of the sweep's metric of each of `stages`; null where the stage has none. */
  values: (number | null)[];
  stages: string[];
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

export class Search {
  constructor(
    private readonly trials: Trials,
    private readonly pretrainings: Pretrainings,
  ) {}

  /**
   * Adds the draws that the searcher can make now: draw g goes by the results of the draws up to g − P, P of them at
   * once, and waits for those. So the same seed gives the same trials, however long each takes and whoever leads. True
   * while there is more to come.
   */
  async propose(tx: Transaction, sweep: SweepRow): Promise<boolean> {
    const { spec } = sweep;
    const perDraw = trialsPerDraw(spec);
    const atOnce = Math.max(1, Math.floor(parallelTrialsOf(spec) / perDraw));
    const draws = await this.results(tx, sweep, perDraw);
    const takes = takesOf(spec);
    const tried = new Set(await inTurns(draws, ({ parameters }) => canonicalJson(parameters)));
    for (;;) {
      const place = draws.length;
      if ((place + 1) * perDraw > spec.run_cap!) return false;
      const before = draws.slice(0, Math.max(0, place - atOnce + 1));
      if (before.some(({ settled }) => !settled)) return true;
      const ranked: Observation[] = before
        .filter(({ value }) => value !== null)
        .sort((a, b) => b.value!.complete - a.value!.complete || b.value!.score - a.value!.score || a.order - b.order);
      const draw = await doneInTurns(nextDraw(spec.parameters, { seed: spec.seed, place, ranked, tried, takes }));
      if (!draw) return false;
      tried.add(canonicalJson(draw));
      const admitted = await this.add(tx, sweep, draw, place * perDraw, perDraw);
      draws.push({ parameters: draw, order: place, settled: !admitted, value: null });
    }
  }

  /** Writes the trials of a draw. False where they can't be admitted: they are written with the reason. */
  private async add(
    tx: Transaction,
    { id, spec }: SweepRow,
    draw: Record<string, unknown>,
    firstIndex: number,
    count: number,
  ): Promise<boolean> {
    try {
      const places = await draftsOf(spec, expandDraw(spec, draw, firstIndex));
      const placements = await this.trials.admit(tx, spec, places.drafts);
      await this.trials.write(tx, id, spec, places, placements, { firstPosition: firstIndex });
      return true;
    } catch (error) {
      if (!(error instanceof RequestError || error instanceof InvalidSweepError)) throw error;
      await tx.trial.createMany({
        data: Array.from({ length: count }, (_, i) => ({
          sweepId: id,
          index: firstIndex + i,
          position: firstIndex + i,
          parameters: draw as Prisma.InputJsonObject,
          outcome: 'refused',
          fault: error.message,
        })),
      });
      return false;
    }
  }

  /**
   * What each draw came to: the mean of its trials' metric; of one that was stopped early, how far it came and how it
   * stood there.
   */
  private async results(tx: Transaction, sweep: SweepRow, perDraw: number): Promise<DrawResult[]> {
    const { spec } = sweep;
    const results = await resultsOfTrials(tx, sweep);
    const stoppedAt = spec.early_terminate ? await this.lastPoints(tx, sweep) : undefined;
    const sign = goalOfMetric(metricOf(spec)) === 'maximize' ? 1 : -1;
    // Stages in the order of their dependencies: jsonb keeps no order of keys.
    const order = stageOrder(spec.stages);
    return inTurns(
      Map.groupBy(results, ({ index }) => Math.floor(index / perDraw)),
      ([draw, trials]) => {
        const values = trials.flatMap((trial) => lastStageValue(trial, order) ?? []).map((value) => sign * value);
        const stopped = trials.flatMap(({ index }) => stoppedAt?.get(index) ?? []);
        return {
          parameters: Object.fromEntries(
            Object.entries(trials[0]!.parameters).filter(([path]) => Object.hasOwn(spec.parameters, path)),
          ),
          order: draw,
          settled: trials.every(({ settled }) => settled),
          value: valueOfDraw(values, stopped),
        };
      },
    );
  }

  /** The last point of each trial's pretraining, by the trial's index; scores are the higher the better. */
  private async lastPoints(tx: Transaction, sweep: SweepRow): Promise<Map<number, { time: number; score: number }>> {
    const sign = goalOf(sweep.spec) === 'maximize' ? 1 : -1;
    const last = new Map((await this.pretrainings.of(tx, sweep)).map(({ id, points }) => [id, points.at(-1)]));
    const places = await tx.trialRun.findMany({
      where: { sweepId: sweep.id, runId: { in: [...last.keys()] } },
      select: { index: true, runId: true },
    });
    return new Map(
      places.flatMap(({ index, runId }) => {
        const point = last.get(runId);
        return point ? [[index, { time: point.time, score: sign * point.value }] as const] : [];
      }),
    );
  }
}

/** Value of the metric in the last of the stages that report it. */
const lastStageValue = ({ stages, values }: TrialResult, order: readonly string[]): number | undefined =>
  stages
    .map((stage, i) => ({ stage, value: values[i] }))
    .filter(({ value }) => value !== null && value !== undefined)
    .sort((a, b) => order.indexOf(b.stage) - order.indexOf(a.stage))[0]?.value ?? undefined;

function valueOfDraw(
  values: readonly number[],
  stopped: readonly { time: number; score: number }[],
): DrawResult['value'] {
  if (values.length) return { complete: Number.POSITIVE_INFINITY, score: mean(values) };
  if (stopped.length === 0) return null;
  return { complete: Math.max(...stopped.map(({ time }) => time)), score: mean(stopped.map(({ score }) => score)) };
}

/**
 * What each trial came to, and whether that is settled: its outcome is known, or nothing of it is under way or can be
 * without anybody's doing, or it is held and its root is paused. In one statement, so that it is all of one moment.
 */
const resultsOfTrials = (tx: Transaction, { id, spec }: SweepRow): Promise<TrialResult[]> => tx.$queryRaw`
  SELECT t.index, t.parameters,
    t.outcome IS NOT NULL
      OR (t.draft IS NULL
        AND NOT (bool_or(${hasStatus(UNDER_WAY_STATUSES, 'r')})
          OR (bool_or(r.status = 'pending') AND NOT bool_or(r.status = 'paused'))))
      OR (t.draft IS NOT NULL
        AND EXISTS (
          SELECT 1
          FROM trial_run p
          JOIN run root ON root.id = p.run_id
          WHERE p.sweep_id = t.sweep_id AND root.digest = t.root AND root.status = 'paused')) AS settled,
    coalesce(array_agg(p.stage) FILTER (WHERE p.control = ''), '{}') AS stages,
    coalesce(
      array_agg((r.result->'metrics'->>${metricOf(spec).name})::float8) FILTER (WHERE p.control = ''),
      '{}') AS values
  FROM trial t
  LEFT JOIN trial_run p ON p.sweep_id = t.sweep_id AND p.index = t.index
  LEFT JOIN run r ON r.id = p.run_id
  WHERE t.sweep_id = ${id}::uuid
  GROUP BY t.sweep_id, t.index
  ORDER BY t.index`;
