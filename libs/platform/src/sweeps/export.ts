/** A sweep's trials and runs as other programs read them: tables, and the folder that MLflow keeps its runs in. */
import { isTerminal, type RunRecord, type RunStatus } from '#libs/contracts';
import { parquetWriteBuffer } from 'hyparquet-writer';
import type { Readable } from 'node:stream';
import { pack } from 'tar-stream';
import type { RunQueries } from '../runs/queries.js';
import type { SweepDetailRecord, SweepQueries } from './queries.js';

/**
 * A line for each trial: its parameters, and for each stage and control the run, its status and its last metrics.
 * Absent cells are absent.
 */
interface TrialTable {
  columns: string[];
  lines: Map<string, unknown>[];
}

export function trialTable(sweep: SweepDetailRecord, metricsOf: (runId: string) => Record<string, number>): TrialTable {
  const lines = sweep.trials.map(
    ({ index, status, parameters, runs }) =>
      new Map<string, unknown>([
        ['trial', index],
        ['status', status],
        ...Object.entries(parameters).sort(([a], [b]) => (a < b ? -1 : 1)),
        ...runs.flatMap(({ stage, control, runId, reused, status: runStatus }) => {
          const name = control ? `${stage}/${control}` : stage;
          return [
            [`${name}:run`, runId],
            [`${name}:reused`, reused],
            [`${name}:status`, runStatus],
            ...Object.entries(metricsOf(runId)).map(([key, value]) => [`${name}:${key}`, value] as const),
          ] as [string, unknown][];
        }),
      ]),
  );
  return { columns: [...new Set(lines.flatMap((line) => [...line.keys()]))], lines };
}

/** RFC 4180. */
export const csvOf = ({ columns, lines }: TrialTable): string =>
  [columns.map(csvCell), ...lines.map((line) => columns.map((column) => csvCell(line.get(column))))]
    .map((cells) => `${cells.join(',')}\r\n`)
    .join('');

const csvCell = (value: unknown): string => {
  const text = value === null || value === undefined ? '' : typeof value === 'string' ? value : JSON.stringify(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

/** An array of objects; values keep their type. */
export const jsonOf = ({ lines }: TrialTable): string =>
  `[${lines.map((line) => JSON.stringify(Object.fromEntries(line))).join(',\n')}]\n`;

/** Columns of numbers, of truth values, else of text; what is neither is JSON text. Cells that are absent are null. */
export function parquetOf({ columns, lines }: TrialTable): Uint8Array {
  return new Uint8Array(
    parquetWriteBuffer({
      columnData: columns.map((name) => {
        const given = lines.map((line) => line.get(name) ?? null);
        const all = (type: string) => given.every((value) => value === null || typeof value === type);
        if (all('number')) return { name, type: 'DOUBLE' as const, nullable: true, data: given };
        if (all('boolean')) return { name, type: 'BOOLEAN' as const, nullable: true, data: given };
        return {
          name,
          type: 'STRING' as const,
          nullable: true,
          data: given.map((value) => (value === null || typeof value === 'string' ? value : JSON.stringify(value))),
        };
      }),
    }),
  );
}

// MLflow

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

/** Of `mlflow.entities.RunStatus`. */
const MLFLOW_STATUS = (status: RunStatus): number =>
  status === 'running'
    ? 1
    : !isTerminal(status)
      ? 2
      : status === 'succeeded'
        ? 3
        : status === 'failed' || status === 'timed_out' || status === 'upstream_failed'
          ? 4
          : 5;
/** MLflow cuts what is longer. */
const LONGEST_PARAM = 6000;
const mlflowId = (id: string): string => id.replaceAll('-', '');
/** Experiments have a number for a name. */
const experimentId = (sweepId: string): string => String((BigInt(`0x${mlflowId(sweepId)}`) % 10n ** 17n) + 10n ** 17n);
/** YAML is a superset of JSON. */
const yaml = (fields: Record<string, unknown>): string =>
  Object.entries(fields)
    .map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`)
    .join('');
/** MLflow takes letters, digits, `_`, `-`, `.`, spaces and `/` in names. */
const safe = (name: string): string => name.replaceAll(/[^\w\-. /]/g, '_');
const flat = (value: unknown, path = ''): [string, unknown][] =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length
    ? Object.entries(value).flatMap(([key, inner]) => flat(inner, path ? `${path}.${key}` : key))
    : value === undefined
      ? []
      : [[path, value]];

/**
 * A sweep in the layout of MLflow's file store (`mlruns/`): an experiment with a run for each trial (its parameters,
 * the last metrics of its stages) and below it a run for each of ours (its whole spec, its curves), each once, under
 * the first trial that needs it.
 */
export async function* mlruns(
  sweep: SweepDetailRecord,
  runs: ReadonlyMap<string, RunRecord>,
  curvesOf: (runId: string) => Promise<readonly Curve[]>,
): AsyncGenerator<Entry> {
  const experiment = experimentId(sweep.id);
  const root = `mlruns/${experiment}`;
  const location = `./${root}`;
  const created = sweep.createdAt.getTime();
  yield {
    path: `${root}/meta.yaml`,
    text: yaml({
      artifact_location: location,
      creation_time: created,
      experiment_id: experiment,
      last_update_time: created,
      lifecycle_stage: 'active',
      name: `${sweep.name} ${sweep.id.slice(-12)}`,
    }),
  };
  yield { path: `${root}/tags/loom.sweep`, text: sweep.id };
  const files = function* (
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
    const at = `${root}/${id}`;
    // Without all four it is no run to MLflow.
    for (const folder of ['artifacts', 'metrics', 'params', 'tags']) yield { path: `${at}/${folder}/`, text: '' };
    yield {
      path: `${at}/meta.yaml`,
      text: yaml({
        artifact_uri: `${location}/${id}/artifacts`,
        end_time: end?.getTime() ?? null,
        entry_point_name: '',
        experiment_id: experiment,
        lifecycle_stage: 'active',
        run_id: id,
        run_name: name,
        run_uuid: id,
        source_name: '',
        source_type: 4,
        source_version: '',
        start_time: start?.getTime() ?? created,
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
  };
  const trialsOf = Map.groupBy(
    sweep.trials.flatMap((trial) => trial.runs.map((place) => ({ trial, ...place }))),
    ({ runId }) => runId,
  );
  // No run's id begins with so many zeros: there its time is.
  const trialId = (index: number) => index.toString(16).padStart(8, '0') + mlflowId(sweep.id).slice(-24);
  for (const trial of sweep.trials) {
    const own = trial.runs.map(({ runId }) => runs.get(runId)!);
    const times = (some: (Date | null)[]) => some.flatMap((date) => (date ? [date.getTime()] : []));
    const [starts, ends] = [
      times(own.map(({ startedAt }) => startedAt)),
      times(own.map(({ finishedAt }) => finishedAt)),
    ];
    const id = trialId(trial.index);
    const end = ends.length === own.length && ends.length ? new Date(Math.max(...ends)) : null;
    yield* files(id, {
      name: `trial-${trial.index}`,
      status:
        trial.status === 'succeeded'
          ? 3
          : trial.status === 'failed'
            ? 4
            : trial.status === 'cancelled' || trial.status === 'early_stopped'
              ? 5
              : trial.status === 'running'
                ? 1
                : 2,
      start: starts.length ? new Date(Math.min(...starts)) : null,
      end,
      params: Object.entries(trial.parameters),
      tags: { 'loom.trial': String(trial.index), 'loom.status': trial.status },
    });
    for (const { stage, control, runId } of trial.runs) {
      const run = runs.get(runId)!;
      for (const [key, value] of Object.entries(run.result?.metrics ?? {})) {
        yield {
          path: `${root}/${id}/metrics/${safe(`${stage}${control ? `.${control}` : ''}/${key}`)}`,
          text: `${(run.finishedAt ?? sweep.createdAt).getTime()} ${value} ${run.step}\n`,
        };
      }
    }
  }
  for (const [runId, places] of trialsOf) {
    const run = runs.get(runId)!;
    const { trial, stage, control } = places[0]!;
    const id = mlflowId(runId);
    yield* files(id, {
      name: run.name ?? run.kind,
      status: MLFLOW_STATUS(run.status),
      start: run.startedAt,
      end: run.finishedAt,
      params: flat(run.spec),
      tags: {
        'mlflow.parentRunId': trialId(trial.index),
        'loom.run': run.id,
        'loom.stage': stage,
        'loom.control': control ?? '',
        'loom.kind': run.kind,
        'loom.status': run.status,
        'loom.digest': run.digest,
        'loom.trials': places.map(({ trial: { index } }) => index).join(','),
        ...Object.fromEntries(run.tags.map((tag) => [`loom.tag.${safe(tag)}`, tag])),
      },
    });
    for (const { key, points } of await curvesOf(runId))
      yield {
        path: `${root}/${id}/metrics/${safe(key)}`,
        text: points.map(({ step, value, at }) => `${at.getTime()} ${value} ${step}\n`).join(''),
      };
  }
}

/** What people take away of a sweep. */
export class SweepExports {
  constructor(
    private readonly sweeps: SweepQueries,
    private readonly runs: RunQueries,
  ) {}

  /** Undefined for a sweep that is not there. */
  async trials(id: string, format: 'csv' | 'json' | 'parquet'): Promise<string | Uint8Array | undefined> {
    const sweep = await this.sweeps.sweep(id);
    if (!sweep) return undefined;
    const runs = await this.sweeps.runsOfSweep(sweep);
    const table = trialTable(sweep, (runId) => runs.get(runId)?.result?.metrics ?? {});
    return format === 'csv' ? csvOf(table) : format === 'json' ? jsonOf(table) : parquetOf(table);
  }

  /**
   * A tar of `mlruns/`, made while it is read: one run's curves are in memory at a time. Up to 10,000 points of each
   * metric.
   */
  async mlflow(id: string): Promise<Readable | undefined> {
    const sweep = await this.sweeps.sweep(id);
    if (!sweep) return undefined;
    const runs = await this.sweeps.runsOfSweep(sweep);
    const tar = pack();
    const write = async () => {
      for await (const { path, text } of mlruns(sweep, runs, (runId) =>
        this.runs.metrics(runId, { key: undefined, since: undefined, points: 10_000 }),
      )) {
        if (tar.destroyed) return;
        await new Promise<void>((resolve, reject) => {
          tar.entry(
            { name: path, mtime: sweep.createdAt, type: path.endsWith('/') ? 'directory' : 'file' },
            text,
            (error) => (error ? reject(error) : resolve()),
          );
        });
      }
      tar.finalize();
    };
    write().catch((error: unknown) => {
      tar.destroy(error instanceof Error ? error : new Error(String(error)));
    });
    return tar as unknown as Readable;
  }
}
