/** Sweeps as people and programs read them. Nothing here changes anything. */
import {
  Augmentation,
  augmentationName,
  CONTROLS,
  isTerminal,
  stageOrder,
  type Estimate,
  type ListPage,
  type Plan,
  type RunRecord,
  type RunSpec,
  type RunStatus,
  type Sweep,
  type SweepDetail,
  type SweepSpec,
  type SweepTable,
  type TrialStatus,
} from '#libs/contracts';
import {
  compositionOf,
  estimateMean,
  leaveOneOutEffects,
  pairedDifference,
  parameterImportance,
  type Outcome,
} from '#libs/search';
import type { z } from 'zod';
import type { Database, Prisma } from '../machine/database.js';
import {
  decodeCursor,
  encodeCursor,
  pageOf,
  runRecord,
  withParents,
  type Complete,
  type Page,
} from '../runs/queries.js';

export type SweepRecord = Complete<z.input<typeof Sweep>, SweepSpec>;
export type SweepDetailRecord = Complete<z.input<typeof SweepDetail>, SweepSpec>;

/**
 * The last part of a parameter's path that tells seeds and label fractions apart from what a combination is made of.
 */
const isSeed = (parameter: string) => /\.(seed|labelSeed)$/.test(parameter);
const isLabelFraction = (parameter: string) => parameter.endsWith('.labelFraction');

export class SweepQueries {
  constructor(private readonly database: Database) {}

  private get prisma() {
    return this.database.prisma;
  }

  async sweeps({ limit, cursor }: ListPage): Promise<Page<SweepRecord>> {
    const after = decodeCursor(cursor, 'date', 'id') as [string, string] | undefined;
    const rows = await this.prisma.sweep.findMany({
      where: after
        ? { OR: [{ createdAt: { lt: new Date(after[0]) } }, { createdAt: new Date(after[0]), id: { lt: after[1] } }] }
        : {},
      orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
      take: limit + 1,
    });
    const counts = await this.sweepRunCounts(rows.map(({ id }) => id));
    return pageOf(
      rows,
      limit,
      (row) => encodeCursor(row.createdAt.toISOString(), row.id),
      (row) => this.sweepRecord(row, counts.get(row.id) ?? {}),
    );
  }

  async sweep(id: string): Promise<SweepDetailRecord | undefined> {
    const row = await this.prisma.sweep.findUnique({
      where: { id },
      include: {
        trials: {
          orderBy: { index: 'asc' },
          omit: { root: true },
          include: { runs: { include: { run: { select: { status: true, statusReason: true } } } } },
        },
      },
    });
    if (!row) return undefined;
    const counts = (await this.sweepRunCounts([id])).get(id) ?? {};
    const statuses = row.trials.map(trialStatus);
    const [spent] = await this.prisma.$queryRaw<{ seconds: number }[]>`
      SELECT coalesce(sum(extract(epoch FROM coalesce(ended_at, now()) - started_at)), 0)::float8 AS seconds FROM attempt WHERE run_id IN (SELECT run_id FROM trial_run WHERE sweep_id = ${id}::uuid AND NOT reused)`;
    // As they are trained: rows come in any order.
    const order = stageOrder((row.spec as unknown as SweepSpec).stages);
    return {
      ...this.sweepRecord(row, counts),
      gpuSeconds: spent!.seconds,
      trialCounts: Object.fromEntries(
        [...Map.groupBy(statuses, (status) => status)].map(([status, { length }]) => [status, length]),
      ),
      trials: row.trials.map(({ index, parameters, fault, runs }, i) => ({
        index,
        parameters: parameters as Record<string, unknown>,
        status: statuses[i]!,
        fault,
        runs: runs
          .toSorted((a, b) => order.indexOf(a.stage) - order.indexOf(b.stage) || (a.control < b.control ? -1 : 1))
          .map(({ stage, control, runId, reused, run }) => ({
            stage,
            control: CONTROLS.find((each) => each === control) ?? null,
            runId,
            reused,
            status: run.status,
          })),
      })),
    };
  }

  private sweepRecord(row: Prisma.SweepGetPayload<object>, runCounts: Record<string, number>): SweepRecord {
    const statuses = Object.keys(runCounts) as RunStatus[];
    const open = statuses.some((each) => !isTerminal(each)) || row.steered;
    const status =
      open && row.pausedAt && !row.cancelledAt
        ? 'paused'
        : open
          ? 'running'
          : row.cancelledAt
            ? 'cancelled'
            : row.haltReason === null && statuses.every((each) => each === 'succeeded' || each === 'early_stopped')
              ? 'succeeded'
              : 'failed';
    return {
      id: row.id,
      name: row.name,
      project: row.project,
      status,
      haltReason: row.haltReason,
      spec: row.spec as unknown as SweepSpec,
      tags: row.tags,
      createdAt: row.createdAt,
      runCounts,
      plan: row.plan as unknown as Plan,
    };
  }

  private async sweepRunCounts(ids: readonly string[]): Promise<Map<string, Record<string, number>>> {
    const rows = await this.prisma.$queryRaw<{ sweepId: string; status: RunStatus; count: number }[]>`
      SELECT t.sweep_id AS "sweepId", r.status::text AS status, count(DISTINCT r.id)::int AS count
      FROM trial_run t JOIN run r ON r.id = t.run_id WHERE t.sweep_id = ANY(${[...ids]}::uuid[]) GROUP BY t.sweep_id, r.status`;
    return new Map(
      [...Map.groupBy(rows, (row) => row.sweepId)].map(([id, counts]) => [
        id,
        Object.fromEntries(counts.map(({ status, count }) => [status, count])),
      ]),
    );
  }

  /**
   * What a sweep found: one row for each combination of parameters other than seeds and label fractions. Accuracies are
   * means over the trials of a combination; a gain is the mean of the differences between a trial and the control on
   * the same labels.
   */
  async sweepTable(id: string): Promise<SweepTable | undefined> {
    const sweep = await this.sweep(id);
    if (!sweep) return undefined;
    const runs = await this.runsOfSweep(sweep);
    const metric = (runId: string | undefined, key: string) =>
      runId === undefined ? undefined : runs.get(runId)?.result?.metrics[key];

    const combos = Map.groupBy(sweep.trials, (trial) =>
      JSON.stringify(
        Object.entries(trial.parameters).filter(([parameter]) => !isSeed(parameter) && !isLabelFraction(parameter)),
      ),
    );
    const outcomes = new Map<string, Outcome[]>();
    const outcome = (fraction: string, found: Outcome) => {
      (outcomes.get(fraction) ?? outcomes.set(fraction, []).get(fraction)!).push(found);
    };
    const rows = [...combos].map(([key, trials]) => {
      const parameters = Object.fromEntries(JSON.parse(key) as [string, unknown][]);
      const knn = new Map<string, number>();
      const probes = { trained: new Map<string, number>(), random: new Map<string, number>() };
      const accuracy: Record<string, number[]> = {};
      const scratch: Record<string, Map<string, number>> = {};
      const gain: Record<string, number[]> = {};
      for (const trial of trials) {
        for (const { runId, control } of trial.runs) {
          const run = runs.get(runId);
          const neighbours = run?.kind === 'pretrain' && !control ? metric(runId, 'eval/knn') : undefined;
          if (neighbours !== undefined) knn.set(runId, neighbours);
          const probe = run?.kind === 'evaluate' ? metric(runId, 'eval/probe_accuracy') : undefined;
          if (probe !== undefined) probes[control === 'random_init_probe' ? 'random' : 'trained'].set(runId, probe);
        }
        for (const { runId, stage, control } of trial.runs) {
          const spec = runs.get(runId)?.spec;
          const value = metric(runId, sweep.spec.metric.name);
          if (control || spec?.kind !== 'finetune' || value === undefined) continue;
          const fraction = String(spec.labelFraction);
          (accuracy[fraction] ??= []).push(value);
          outcome(fraction, { combo: key, parameters, pair: `${spec.labelSeed} ${spec.seed}`, value });
          const controlId = trial.runs.find((other) => other.stage === stage && other.control === 'scratch')?.runId;
          const baseline = metric(controlId, sweep.spec.metric.name);
          if (controlId === undefined || baseline === undefined) continue;
          (scratch[fraction] ??= new Map()).set(controlId, baseline);
          (gain[fraction] ??= []).push(value - baseline);
        }
      }
      const specs = trials[0]!.runs.flatMap(({ runId, stage, control }) =>
        control ? [] : [[stage, runs.get(runId)?.spec] as const],
      );
      return {
        key,
        combo: comboName(parameters, new Map(specs)),
        parameters,
        knn: meanOf(knn),
        probe: meanOf(probes.trained),
        randomProbe: meanOf(probes.random),
        accuracy: mapValues(accuracy, estimateMean),
        scratch: mapValues(scratch, (values) => estimateMean([...values.values()])),
        gain: mapValues(gain, estimateMean),
      };
    });
    // Where nothing was finetuned, runs of the metric themselves are compared.
    for (const row of outcomes.size ? [] : rows) {
      for (const trial of combos.get(row.key)!) {
        const run = trial.runs.find(
          ({ runId, control }) => !control && metric(runId, sweep.spec.metric.name) !== undefined,
        );
        if (run)
          outcome('', {
            combo: row.key,
            parameters: row.parameters,
            pair: JSON.stringify(Object.entries(trial.parameters).filter(([parameter]) => isSeed(parameter))),
            value: metric(run.runId, sweep.spec.metric.name)!,
          });
      }
    }
    const fewest = [...outcomes.keys()].sort((a, b) => Number(a) - Number(b))[0];
    const judged = outcomes.get(fewest ?? '') ?? [];
    const sign = sweep.spec.metric.goal === 'maximize' ? 1 : -1;
    const behind = (row: (typeof rows)[number]) =>
      Object.fromEntries(
        Object.keys(row.accuracy).flatMap((fraction) => {
          const best = rows
            .filter(({ accuracy }) => accuracy[fraction])
            .reduce((a, b) => (sign * b.accuracy[fraction]!.mean > sign * a.accuracy[fraction]!.mean ? b : a));
          const difference = best === row ? null : pairedDifference(outcomes.get(fraction)!, row.key, best.key);
          return difference ? [[fraction, difference]] : [];
        }),
      );
    // The run that a trial is judged by: of the stages that have the metric, the last.
    const lines = sweep.trials.map((trial) => {
      const judgedBy = trial.runs
        .filter(({ runId, control }) => !control && metric(runId, sweep.spec.metric.name) !== undefined)
        .at(-1)?.runId;
      const spec = judgedBy === undefined ? undefined : runs.get(judgedBy)?.spec;
      return {
        trial,
        judgedBy,
        value: metric(judgedBy, sweep.spec.metric.name) ?? null,
        fraction: spec?.kind === 'finetune' ? String(spec.labelFraction) : '',
      };
    });
    const best = lines
      .filter(({ value, fraction }) => value !== null && fraction === (fewest ?? ''))
      .sort((a, b) => sign * (b.value! - a.value!) || a.trial.index - b.trial.index)[0];
    // One that was stopped early has no result, but a last value.
    const stopped = [...runs.values()].filter(({ status }) => status === 'early_stopped').map((run) => run.id);
    const last = new Map(
      (stopped.length
        ? await this.prisma.$queryRaw<{ runId: string; value: number }[]>`
      SELECT DISTINCT ON (run_id) run_id AS "runId", value FROM metric WHERE run_id = ANY(${stopped}::uuid[]) AND key = ${sweep.spec.metric.name} ORDER BY run_id, step DESC`
        : []
      ).map(({ runId, value }) => [runId, value]),
    );
    const cameTo = ({ trial, value }: (typeof lines)[number]) =>
      value ?? trial.runs.flatMap(({ runId, control }) => (control ? [] : (last.get(runId) ?? []))).at(-1) ?? null;
    const axes = [...new Set(sweep.trials.flatMap(({ parameters }) => Object.keys(parameters)))].sort();
    const subsets = new Map<string, SweepTable['labels'][number]>();
    for (const { spec, result } of runs.values()) {
      if ('labelFraction' in spec && result?.labels)
        subsets.set(`${spec.dataset} ${spec.labelFraction} ${spec.labelSeed}`, {
          dataset: spec.dataset,
          fraction: spec.labelFraction,
          seed: spec.labelSeed,
          count: result.labels.count,
          sha256: result.labels.sha256,
        });
    }
    return {
      best: best
        ? {
            trial: best.trial.index,
            runId: best.judgedBy!,
            value: best.value!,
            parameters: best.trial.parameters,
            reproduce: `loom reproduce ${best.judgedBy!}`,
          }
        : null,
      coordinates: {
        axes,
        lines: lines.map((line) => ({
          trial: line.trial.index,
          status: line.trial.status,
          value: cameTo(line),
          values: axes.map((path) => coordinate(path, line.trial.parameters[path])),
        })),
      },
      labels: [...subsets.values()].sort((a, b) => a.fraction - b.fraction || a.seed - b.seed),
      sweepId: id,
      complete: sweep.status === 'succeeded',
      composition: compositionOf(rows),
      rows: rows.map(({ key: _, ...row }, i) => ({ ...row, behind: behind(rows[i]!) })),
      measure: fewest ? `${sweep.spec.metric.name} at label fraction ${fewest}` : sweep.spec.metric.name,
      effects: leaveOneOutEffects(judged),
      importance: await parameterImportance(
        judged.map(({ parameters, value }) => ({ parameters: apart(parameters), value })),
      ),
    };
  }

  /** Every run of a sweep once, by id. */
  async runsOfSweep({ trials }: SweepDetailRecord): Promise<Map<string, RunRecord>> {
    const runIds = [...new Set(trials.flatMap((trial) => trial.runs.map(({ runId }) => runId)))];
    return new Map(
      (await this.prisma.run.findMany({ where: { id: { in: runIds } }, include: withParents })).map((row) => [
        row.id,
        runRecord(row),
      ]),
    );
  }
}

/** With each augmentation as a parameter of its own: its settings, or null where it is off. */
function apart(parameters: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(parameters).flatMap(([path, value]) =>
      path.endsWith('.augmentation') && typeof value === 'object' && value !== null
        ? Object.entries(value).map(([name, settings]) => [`${path}.${name}`, settings])
        : [[path, value]],
    ),
  );
}

/** A parameter's value on an axis: a combination of augmentations by its name, null where it does not apply. */
const coordinate = (path: string, value: unknown): unknown => {
  const combination = path.endsWith('.augmentation') ? Augmentation.safeParse(value) : undefined;
  return combination?.success ? augmentationName(combination.data) : (value ?? null);
};

/** What its runs, or that it has none yet, make of a trial. */
function trialStatus({
  draft,
  outcome,
  runs,
}: {
  draft: unknown;
  outcome: string | null;
  runs: readonly { run: { status: RunStatus; statusReason: string | null } }[];
}): TrialStatus {
  if (runs.length === 0)
    return outcome === 'early_stopped' ? 'early_stopped' : outcome || draft === null ? 'failed' : 'held';
  const some = (...statuses: RunStatus[]) => runs.some(({ run }) => statuses.includes(run.status));
  if (some('failed', 'timed_out', 'upstream_failed')) return 'failed';
  if (some('queued', 'running', 'retrying', 'pausing', 'cancelling')) return 'running';
  if (some('paused'))
    return runs.some(({ run }) => run.status === 'paused' && run.statusReason !== 'rung') ? 'paused' : 'waiting';
  return some('pending')
    ? 'running'
    : some('cancelled')
      ? 'cancelled'
      : some('early_stopped')
        ? 'early_stopped'
        : 'succeeded';
}

/** Over distinct runs; null without any. */
const meanOf = (values: ReadonlyMap<string, number>): Estimate | null =>
  values.size ? estimateMean([...values.values()]) : null;

const mapValues = <From, To>(record: Record<string, From>, to: (value: From) => To): Record<string, To> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, to(value)]));

/** How people call a combination: `crop+flip`, `crop+flip temperature=0.2`. */
function comboName(parameters: Record<string, unknown>, specs: ReadonlyMap<string, RunSpec | undefined>): string {
  const names = Object.entries(parameters).map(([path, value]) => {
    const [stage = '', ...field] = path.split('.');
    const spec = specs.get(stage);
    if (field.length === 1 && field[0] === 'augmentation' && spec && 'augmentation' in spec && spec.augmentation)
      return augmentationName(spec.augmentation);
    return `${field.join('.')}=${JSON.stringify(value)?.replaceAll('"', '')}`;
  });
  if (names.length) return names.join(' ');
  const pretrain = [...specs.values()].find((spec) => spec?.kind === 'pretrain');
  return pretrain?.augmentation ? augmentationName(pretrain.augmentation) : 'all';
}
