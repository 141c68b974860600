/** A sweep's trials as other programs read them: tables, and what MLflow keeps. */
import { parquetWriteBuffer } from 'hyparquet-writer';
import { PassThrough, type Readable } from 'node:stream';
import { pack } from 'tar-stream';
import type { RunQueries } from '../runs/queries.js';
import { mlruns } from './mlflow.js';
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
  if (value === null || value === undefined) return '';
  // Text that a spreadsheet would take for a formula is marked as text.
  const text = typeof value === 'string' ? value.replace(/^(?=[=+\-@\t\r])/, "'") : JSON.stringify(value);
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

/**
 * A tar of these entries, made while it is read. What goes wrong, in the entries or in the tar, ends the stream that is
 * read, and reaches nobody else.
 */
export function archive(entries: AsyncIterable<{ path: string; text: string }>, mtime: Date): Readable {
  const tar = pack();
  const out = new PassThrough();
  const write = async () => {
    for await (const { path, text } of entries) {
      if (out.destroyed) return;
      await new Promise<void>((resolve, reject) => {
        out.once('close', resolve);
        const header = { name: path, mtime, type: path.endsWith('/') ? ('directory' as const) : ('file' as const) };
        const entry = tar.entry(header, text, (error) => {
          out.off('close', resolve);
          if (error) reject(error);
          else resolve();
        });
        // What a tar refuses of an entry it says to the entry.
        entry.on('error', reject);
      });
    }
    tar.finalize();
  };
  // Whoever reads it has listeners of their own; without any, an error would end the process.
  out.on('error', () => undefined);
  out.on('close', () => tar.destroy());
  tar.on('error', (error) => out.destroy(error));
  tar.pipe(out as never);
  write().catch((error: unknown) => out.destroy(error instanceof Error ? error : new Error(String(error))));
  return out;
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
    return { csv: csvOf, json: jsonOf, parquet: parquetOf }[format](table);
  }

  /**
   * A tar of `mlruns/`, made while it is read: one run's curves are in memory at a time. Up to 10,000 points of each
   * metric.
   */
  async mlflow(id: string): Promise<Readable | undefined> {
    const sweep = await this.sweeps.sweep(id);
    if (!sweep) return undefined;
    const runs = await this.sweeps.runsOfSweep(sweep);
    const points = { key: undefined, since: undefined, points: 10_000 };
    return archive(
      mlruns(sweep, runs, (runId) => this.runs.metrics(runId, points)),
      sweep.createdAt,
    );
  }
}
