/** A sweep as MLflow's file store keeps it. */
import { isTerminal, type RunRecord, type RunStatus, type TrialStatus } from '#libs/contracts';
import { damageText } from '../checked-row.js';
import { inTurns } from '../machine/turns.js';
import type { RunsOfSweep, SweepDetailRecord } from './queries.js';

/** Points of one metric, oldest first. */
interface Curve {
  key: string;
  points: readonly { step: number; value: number; at: Date }[];
}
/** A file, or a folder where the path ends with a slash. */
interface Entry {
  path: string;
  text: string;
}

type Trial = SweepDetailRecord['trials'][number];
/** Where a run stands in a sweep. */
type Place = { trial: Trial } & Trial['runs'][number];

/** Numbers of `mlflow.entities.RunStatus`. */
const MLFLOW = { running: 1, scheduled: 2, finished: 3, failed: 4, killed: 5 } as const;
const ofRun = (status: RunStatus): number => {
  if (status === 'running') return MLFLOW.running;
  if (!isTerminal(status)) return MLFLOW.scheduled;
  if (status === 'succeeded') return MLFLOW.finished;
  return status === 'cancelled' || status === 'early_stopped' ? MLFLOW.killed : MLFLOW.failed;
};
const OF_TRIAL: Record<TrialStatus, number> = {
  held: MLFLOW.scheduled,
  waiting: MLFLOW.scheduled,
  paused: MLFLOW.scheduled,
  running: MLFLOW.running,
  succeeded: MLFLOW.finished,
  failed: MLFLOW.failed,
  cancelled: MLFLOW.killed,
  early_stopped: MLFLOW.killed,
};
/** MLflow cuts what is longer. */
const LONGEST_PARAM = 6000;
const mlflowId = (id: string): string => id.replaceAll('-', '');
/** Id of the experiment, which MLflow wants to be a number: made from the sweep's. */
const experimentId = (sweepId: string): string => String((BigInt(`0x${mlflowId(sweepId)}`) % 10n ** 17n) + 10n ** 17n);
/** YAML is a superset of JSON. */
const yaml = (fields: Record<string, unknown>): string =>
  Object.entries(fields)
    .map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`)
    .join('');
const escaped = (text: string): string =>
  Array.from(text, (character) => `_-${character.codePointAt(0)!.toString(16)}-`).join('');
/**
 * A name as a path that stays in its folder, and that no other name has. MLflow takes letters, digits, `_`, `-`, `.`,
 * spaces and `/`: another character is its code point as `_-3a-`, and so is a `_` that would begin such an escape. An
 * empty step of the path is `_--`.
 */
export const safe = (name: string): string =>
  name
    .split('/')
    .map((step) => {
      if (step === '') return '_--';
      return /^\.{1,2}$/.test(step) ? escaped(step) : step.replaceAll(/[^\w\-. ]|_(?=-)/gu, escaped);
    })
    .join('/');
/** The same for all names of one folder: a name that is also the beginning of another's path gets an ending. */
export function safeNames(names: readonly string[]): Map<string, string> {
  const folders = new Set(
    names.flatMap((name) => [...name.matchAll(/\//g)].map(({ index }) => safe(name.slice(0, index)))),
  );
  return new Map(names.map((name) => [name, folders.has(safe(name)) ? `${safe(name)}_--` : safe(name)]));
}
const flat = (value: unknown, path = ''): [string, unknown][] => {
  if (typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length)
    return Object.entries(value).flatMap(([key, inner]) => flat(inner, path ? `${path}.${key}` : key));
  return value === undefined ? [] : [[path, value]];
};

/**
 * An id for a trial as a run of MLflow's: its index, then the end of the sweep's id. None is the id of a run of ours,
 * which as a UUID of version 7 begins with a time.
 */
const trialId = (sweep: SweepDetailRecord, { index }: Trial): string =>
  index.toString(16).padStart(8, '0') + mlflowId(sweep.id).slice(-24);
const rootOf = (sweep: SweepDetailRecord): string => `mlruns/${experimentId(sweep.id)}`;

/**
 * A sweep in the layout of MLflow's file store (`mlruns/`): an experiment with a run for each trial (its parameters,
 * the last metrics of its stages) and below it a run for each of ours (its whole spec, its curves), each once, under
 * the first trial that needs it. One that is damaged has no files: its trials have a tag that says so.
 */
export async function* mlruns(
  sweep: SweepDetailRecord,
  { runs, damaged }: RunsOfSweep,
  curvesOf: (runId: string) => Promise<readonly Curve[]>,
): AsyncGenerator<Entry> {
  const root = rootOf(sweep);
  const created = sweep.createdAt.getTime();
  yield {
    path: `${root}/meta.yaml`,
    text: yaml({
      artifact_location: `./${root}`,
      creation_time: created,
      experiment_id: experimentId(sweep.id),
      last_update_time: created,
      lifecycle_stage: 'active',
      name: `${sweep.name} ${sweep.id.slice(-12)}`,
    }),
  };
  yield { path: `${root}/tags/loom.sweep`, text: sweep.id };
  for (const trial of sweep.trials) yield* trialFiles(sweep, trial, { runs, damaged });
  const placesOf = new Map<string, Place[]>();
  await inTurns(sweep.trials, (trial) => {
    for (const run of trial.runs) {
      const place = { trial, ...run };
      const others = placesOf.get(run.runId);
      if (others) others.push(place);
      else placesOf.set(run.runId, [place]);
    }
  });
  for (const [runId, places] of placesOf) {
    const run = runs.get(runId);
    if (!run) continue;
    yield* runFiles(sweep, run, places);
    const curves = await curvesOf(runId);
    const nameOf = safeNames(curves.map(({ key }) => key));
    for (const { key, points } of curves)
      yield {
        path: `${root}/${mlflowId(runId)}/metrics/${nameOf.get(key)}`,
        text: points.map(({ step, value, at }) => `${at.getTime()} ${value} ${step}\n`).join(''),
      };
  }
}

/** A trial as a run of MLflow's, with the last metrics of its stages. */
function* trialFiles(sweep: SweepDetailRecord, trial: Trial, { runs, damaged }: RunsOfSweep): Generator<Entry> {
  const own = trial.runs.flatMap(({ runId }) => runs.get(runId) ?? []);
  const damage = trial.runs.flatMap(({ runId }) => damaged.get(runId) ?? []);
  const times = (some: (Date | null)[]) => some.flatMap((date) => (date ? [date.getTime()] : []));
  const [starts, ends] = [times(own.map(({ startedAt }) => startedAt)), times(own.map(({ finishedAt }) => finishedAt))];
  const id = trialId(sweep, trial);
  yield* files(sweep, id, {
    name: `trial-${trial.index}`,
    status: OF_TRIAL[trial.status],
    start: starts.length ? new Date(Math.min(...starts)) : null,
    end: ends.length === trial.runs.length && ends.length ? new Date(Math.max(...ends)) : null,
    params: Object.entries(trial.parameters),
    tags: {
      'loom.trial': String(trial.index),
      'loom.status': trial.status,
      ...(damage.length > 0 && { 'loom.damaged': damage.map(damageText).join('; ') }),
    },
  });
  for (const { stage, control, runId } of trial.runs) {
    const run = runs.get(runId);
    if (!run) continue;
    const metrics = Object.entries(run.result?.metrics ?? {});
    const nameOf = safeNames(metrics.map(([key]) => key));
    for (const [key, value] of metrics)
      yield {
        path: `${rootOf(sweep)}/${id}/metrics/${safe(`${stage}${control ? `.${control}` : ''}`)}/${nameOf.get(key)}`,
        text: `${(run.finishedAt ?? sweep.createdAt).getTime()} ${value} ${run.step}\n`,
      };
  }
}

/** One of our runs, without its curves, below the first trial that needs it. */
function* runFiles(sweep: SweepDetailRecord, run: RunRecord, places: readonly Place[]): Generator<Entry> {
  const { trial, stage, control } = places[0]!;
  yield* files(sweep, mlflowId(run.id), {
    name: run.name ?? run.kind,
    status: ofRun(run.status),
    start: run.startedAt,
    end: run.finishedAt,
    params: flat(run.spec),
    tags: {
      'mlflow.parentRunId': trialId(sweep, trial),
      'loom.run': run.id,
      'loom.stage': stage,
      'loom.control': control ?? '',
      'loom.kind': run.kind,
      'loom.status': run.status,
      'loom.digest': run.digest,
      'loom.trials': places.map((place) => place.trial.index).join(','),
      ...Object.fromEntries(run.tags.map((tag) => [`loom.tag.${safe(tag)}`, tag])),
    },
  });
}

/** The files of one run of MLflow's, but for its metrics. */
function* files(
  sweep: SweepDetailRecord,
  id: string,
  {
    name,
    status,
    start,
    end,
    params,
    tags,
  }: {
    name: string;
    status: number;
    start: Date | null;
    end: Date | null;
    params: [string, unknown][];
    tags: Record<string, string>;
  },
): Generator<Entry> {
  const at = `${rootOf(sweep)}/${id}`;
  // Without all four it is no run to MLflow.
  for (const folder of ['artifacts', 'metrics', 'params', 'tags']) yield { path: `${at}/${folder}/`, text: '' };
  yield {
    path: `${at}/meta.yaml`,
    text: yaml({
      artifact_uri: `./${at}/artifacts`,
      end_time: end?.getTime() ?? null,
      entry_point_name: '',
      experiment_id: experimentId(sweep.id),
      lifecycle_stage: 'active',
      run_id: id,
      run_name: name,
      run_uuid: id,
      source_name: '',
      source_type: 4,
      source_version: '',
      start_time: (start ?? sweep.createdAt).getTime(),
      status,
      tags: [],
      user_id: 'latent-loom',
    }),
  };
  for (const [key, value] of params)
    yield {
      path: `${at}/params/${safe(key)}`,
      text: (typeof value === 'string' ? value : JSON.stringify(value)).slice(0, LONGEST_PARAM),
    };
  for (const [key, value] of Object.entries({
    'mlflow.runName': name,
    'mlflow.user': 'latent-loom',
    'mlflow.source.name': 'latent-loom',
    'loom.sweep': sweep.id,
    ...tags,
  }))
    yield { path: `${at}/tags/${key}`, text: value };
}
