/** The table of a sweep's results, made of its trials: in turns, for there may be ten thousand of them. */
import {
  Augmentation,
  augmentationName,
  combinationName,
  CONTROLS,
  goalOfMetric,
  metricOf,
  RUN_KINDS,
  RunStatus,
  TrialStatus,
  type Estimate,
  type SweepTable,
} from '#libs/contracts';
import { z } from 'zod';
import { compositionOf, estimateMean, leaveOneOutEffects, pairedDifference, type Outcome } from '#libs/search';
import { inTurns } from '../machine/turns.js';
import type { SweepRecord } from './queries.js';

/** Of each run what a table is made of. Null is what it lacks. */
export const TrialRun = z.object({
  stage: z.string(),
  control: z.enum(CONTROLS).nullable(),
  runId: z.string(),
  kind: z.enum(RUN_KINDS),
  status: RunStatus,
  statusReason: z.string().nullable(),
  augmentation: Augmentation.nullable(),
  dataset: z.string().nullable(),
  labelFraction: z.number().nullable(),
  labelSeed: z.number().nullable(),
  seed: z.number().nullable(),
  value: z.number().nullable().describe("The sweep's metric."),
  knn: z.number().nullable(),
  probe: z.number().nullable(),
  labels: z.object({ count: z.number(), sha256: z.string() }).nullable(),
});
export type TrialRun = z.infer<typeof TrialRun>;
/** What a damaged run tells: nothing that a table is made of. */
export const NO_VALUES = {
  augmentation: null,
  dataset: null,
  labelFraction: null,
  labelSeed: null,
  seed: null,
  value: null,
  knn: null,
  probe: null,
  labels: null,
} satisfies Partial<TrialRun>;

/** A trial with its runs, parents before children. */
export const TrialRow = z.object({
  index: z.int(),
  parameters: z.record(z.string(), z.unknown()),
  status: TrialStatus,
  runs: z.array(TrialRun),
});
export type TrialRow = z.infer<typeof TrialRow>;

/** Trials with the same parameters other than seeds and label fractions. */
interface Combination {
  key: string;
  parameters: Record<string, unknown>;
  trials: TrialRow[];
}
type Row = Omit<SweepTable['rows'][number], 'behind'>;

const isSeed = (parameter: string): boolean => /\.(seed|labelSeed)$/.test(parameter);
const isLabelFraction = (parameter: string): boolean => parameter.endsWith('.labelFraction');

/**
 * Accuracies are means over the trials of a combination; a gain is the mean of the differences between a trial and the
 * control on the same labels.
 * @param last Of runs that were stopped early, by id: the last value of the sweep's metric.
 */
export async function tableOf(
  sweep: SweepRecord,
  trials: readonly TrialRow[],
  last: ReadonlyMap<string, number>,
  importanceOf: (outcomes: readonly Outcome[]) => Promise<SweepTable['importance']>,
): Promise<SweepTable> {
  const ranking = metricOf(sweep.spec);
  const { name: metric } = ranking;
  const goal = goalOfMetric(ranking) ?? 'maximize';
  const sign = goal === 'maximize' ? 1 : -1;
  const combinations = await combinationsOf(trials);
  const rows = await inTurns(combinations, rowOf);
  const outcomes = await outcomesOf(combinations);
  const fewest = [...outcomes.keys()].sort((a, b) => Number(a) - Number(b))[0];
  const judged = outcomes.get(fewest ?? '') ?? [];
  return {
    sweepId: sweep.id,
    complete: sweep.status === 'succeeded',
    rows: await withDifferences(combinations, rows, outcomes, sign),
    composition: compositionOf(rows),
    measure: fewest ? `${metric} at label fraction ${fewest}` : metric,
    effects: leaveOneOutEffects(judged),
    importance: await importanceOf(judged),
    best: bestTrial(trials, fewest ?? '', sign),
    coordinates: await coordinatesOf(trials, last),
    labels: labelsOf(trials),
  };
}

async function combinationsOf(trials: readonly TrialRow[]): Promise<Combination[]> {
  const found = new Map<string, Combination>();
  await inTurns(trials, (trial) => {
    const parameters = Object.entries(trial.parameters).filter(
      ([parameter]) => !isSeed(parameter) && !isLabelFraction(parameter),
    );
    const key = JSON.stringify(parameters);
    const known = found.get(key);
    if (known) known.trials.push(trial);
    else found.set(key, { key, parameters: Object.fromEntries(parameters), trials: [trial] });
  });
  return [...found.values()];
}

/** Runs that several trials share count once, but for what was finetuned: that is another one for each trial. */
function rowOf({ parameters, trials }: Combination): Row {
  const knn = new Map<string, number>();
  const probes = { trained: new Map<string, number>(), random: new Map<string, number>() };
  const accuracy: Record<string, number[]> = {};
  const scratch: Record<string, Map<string, number>> = {};
  const gain: Record<string, number[]> = {};
  for (const trial of trials) {
    for (const { runId, kind, control, knn: neighbours, probe } of trial.runs) {
      if (kind === 'pretrain' && !control && neighbours !== null) knn.set(runId, neighbours);
      if (kind === 'evaluate' && probe !== null)
        probes[control === 'random_init_probe' ? 'random' : 'trained'].set(runId, probe);
    }
    for (const { fraction, value, stage } of finetunedIn(trial)) {
      (accuracy[fraction] ??= []).push(value);
      const control = trial.runs.find((other) => other.stage === stage && other.control === 'scratch');
      if (!control || control.value === null) continue;
      (scratch[fraction] ??= new Map()).set(control.runId, control.value);
      (gain[fraction] ??= []).push(value - control.value);
    }
  }
  return {
    combo: comboName(parameters, trials[0]!.runs),
    parameters,
    knn: meanOf(knn),
    probe: meanOf(probes.trained),
    randomProbe: meanOf(probes.random),
    accuracy: mapValues(accuracy, estimateMean),
    scratch: mapValues(scratch, (values) => estimateMean([...values.values()])),
    gain: mapValues(gain, estimateMean),
  };
}

/** What a trial's finetunings came to, without controls. */
const finetunedIn = ({ runs }: TrialRow) =>
  runs.flatMap(({ kind, control, value, stage, labelFraction, labelSeed, seed }) =>
    control || kind !== 'finetune' || value === null
      ? []
      : [{ fraction: String(labelFraction), value, stage, pair: `${labelSeed} ${seed}` }],
  );

/** By label fraction; where nothing was finetuned, all under '': there runs of the metric themselves are compared. */
async function outcomesOf(combinations: readonly Combination[]): Promise<Map<string, Outcome[]>> {
  const outcomes = new Map<string, Outcome[]>();
  const add = (fraction: string, outcome: Outcome) => {
    const known = outcomes.get(fraction);
    if (known) known.push(outcome);
    else outcomes.set(fraction, [outcome]);
  };
  await inTurns(combinations, ({ key, parameters, trials }) => {
    for (const { fraction, value, pair } of trials.flatMap(finetunedIn))
      add(fraction, { combo: key, parameters, pair, value });
  });
  if (outcomes.size) return outcomes;
  await inTurns(combinations, ({ key, parameters, trials }) => {
    for (const trial of trials) {
      const value = trial.runs.find((run) => !run.control && run.value !== null)?.value ?? null;
      const pair = JSON.stringify(Object.entries(trial.parameters).filter(([parameter]) => isSeed(parameter)));
      if (value !== null) add('', { combo: key, parameters, pair, value });
    }
  });
  return outcomes;
}

/** Rows with, by label fraction, their difference to the best of that fraction on the same labels and seeds. */
async function withDifferences(
  combinations: readonly Combination[],
  rows: readonly Row[],
  outcomes: ReadonlyMap<string, readonly Outcome[]>,
  sign: number,
): Promise<SweepTable['rows']> {
  const best = new Map<string, number>();
  for (const [place, { accuracy }] of rows.entries())
    for (const [fraction, { mean }] of Object.entries(accuracy)) {
      const known = rows[best.get(fraction) ?? -1]?.accuracy[fraction];
      if (!known || sign * mean > sign * known.mean) best.set(fraction, place);
    }
  const ofCombination = new Map(
    [...outcomes].map(([fraction, some]) => [fraction, Map.groupBy(some, ({ combo }) => combo)]),
  );
  return inTurns(rows, (row, place) => {
    const behind = Object.keys(row.accuracy).flatMap((fraction) => {
      if (best.get(fraction) === place) return [];
      const [own, reference] = [combinations[place]!.key, combinations[best.get(fraction)!]!.key];
      const some = ofCombination.get(fraction)!;
      const difference = pairedDifference([...some.get(own)!, ...some.get(reference)!], own, reference);
      return difference ? [[fraction, difference] as const] : [];
    });
    return { ...row, behind: Object.fromEntries(behind) };
  });
}

/** The run that a trial is judged by: of the stages that have the metric, the last. */
const judgedBy = ({ runs }: TrialRow): TrialRun | undefined =>
  runs.findLast(({ control, value }) => !control && value !== null);

/** At one label fraction, '' where nothing is finetuned; of equal ones the first. */
function bestTrial(trials: readonly TrialRow[], fraction: string, sign: number): SweepTable['best'] {
  let best: { trial: TrialRow; run: TrialRun } | undefined;
  for (const trial of trials) {
    const run = judgedBy(trial);
    if (!run || (run.kind === 'finetune' ? String(run.labelFraction) : '') !== fraction) continue;
    if (!best || sign * run.value! > sign * best.run.value!) best = { trial, run };
  }
  return best
    ? {
        trial: best.trial.index,
        runId: best.run.runId,
        value: best.run.value!,
        parameters: best.trial.parameters,
        reproduce: `loom reproduce ${best.run.runId}`,
      }
    : null;
}

async function coordinatesOf(
  trials: readonly TrialRow[],
  last: ReadonlyMap<string, number>,
): Promise<SweepTable['coordinates']> {
  const axes = [...new Set(trials.flatMap(({ parameters }) => Object.keys(parameters)))].sort();
  const lastValue = ({ runs }: TrialRow) =>
    runs.flatMap(({ runId, control }) => (control ? [] : (last.get(runId) ?? []))).at(-1);
  return {
    axes,
    lines: await inTurns(trials, (trial) => ({
      trial: trial.index,
      status: trial.status,
      value: judgedBy(trial)?.value ?? lastValue(trial) ?? null,
      values: axes.map((path) => coordinate(path, trial.parameters[path])),
    })),
  };
}

/** The subsets of labels that runs were trained or evaluated on, by fraction and seed. */
function labelsOf(trials: readonly TrialRow[]): SweepTable['labels'] {
  const subsets = new Map<string, SweepTable['labels'][number]>();
  for (const { runs } of trials)
    for (const { dataset, labelFraction: fraction, labelSeed: seed, labels } of runs)
      if (labels && dataset !== null && fraction !== null && seed !== null)
        subsets.set(`${dataset} ${fraction} ${seed}`, {
          dataset,
          fraction,
          seed,
          count: labels.count,
          sha256: labels.sha256,
        });
  return [...subsets.values()].sort((a, b) => a.fraction - b.fraction || a.seed - b.seed);
}

/** A parameter's value on an axis: a combination of augmentations by its name, null where it does not apply. */
const coordinate = (path: string, value: unknown): unknown => combinationName(path, value) ?? value ?? null;

/** Mean and interval of one value of each run, by its id; null without any run. */
const meanOf = (values: ReadonlyMap<string, number>): Estimate | null =>
  values.size ? estimateMean([...values.values()]) : null;

const mapValues = <From, To>(record: Record<string, From>, to: (value: From) => To): Record<string, To> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, to(value)]));

/** How people call a combination: `crop+flip`, `crop+flip temperature=0.2`. */
function comboName(parameters: Record<string, unknown>, runs: readonly TrialRun[]): string {
  const stages = new Map(runs.filter(({ control }) => !control).map((run) => [run.stage, run]));
  const names = Object.entries(parameters).map(([path, value]) => {
    const [stage = '', ...field] = path.split('.');
    const augmentation = field.length === 1 && field[0] === 'augmentation' ? stages.get(stage)?.augmentation : null;
    return augmentation
      ? augmentationName(augmentation)
      : (combinationName(path, value) ?? `${field.join('.')}=${JSON.stringify(value)?.replaceAll('"', '')}`);
  });
  if (names.length) return names.join(' ');
  const pretraining = [...stages.values()].find(({ kind }) => kind === 'pretrain');
  return pretraining?.augmentation ? augmentationName(pretraining.augmentation) : 'all';
}
