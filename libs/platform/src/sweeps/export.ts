/** A sweep's trials as other programs read them: tables, and what MLflow keeps. Made in turns, and sent as made. */
import type { DamagedRow } from '#libs/contracts';
import { ByteWriter, parquetWrite } from 'hyparquet-writer';
import { PassThrough, Readable } from 'node:stream';
import { pack } from 'tar-stream';
import { damageText } from '../checked-row.js';
import { inTurns, piecesInTurns, Turns } from '../machine/turns.js';
import type { RunQueries } from '../runs/queries.js';
import { mlruns } from './mlflow.js';
import type { SweepDetailRecord, SweepQueries } from './queries.js';

/**
 * A line for each trial: its parameters, and for each stage and control the run, its status and its last metrics.
 * Absent cells are absent; of a damaged run it is said instead what is wrong with it.
 */
interface TrialTable {
  columns: string[];
  lines: Map<string, unknown>[];
}

export async function trialTable(
  sweep: SweepDetailRecord,
  metricsOf: (runId: string) => Record<string, number>,
  damaged: ReadonlyMap<string, DamagedRow> = new Map(),
): Promise<TrialTable> {
  const columns = new Set<string>();
  const lines = await inTurns(sweep.trials, ({ index, status, parameters, runs }) => {
    const line = new Map<string, unknown>([
      ['trial', index],
      ['status', status],
      ...Object.entries(parameters).sort(([a], [b]) => (a < b ? -1 : 1)),
      ...runs.flatMap(({ stage, control, runId, reused, status: runStatus }) => {
        const name = control ? `${stage}/${control}` : stage;
        const damage = damaged.get(runId);
        return [
          [`${name}:run`, runId],
          [`${name}:reused`, reused],
          [`${name}:status`, runStatus],
          ...(damage ? [[`${name}:damaged`, damageText(damage)]] : []),
          ...Object.entries(metricsOf(runId)).map(([key, value]) => [`${name}:${key}`, value] as const),
        ] as [string, unknown][];
      }),
    ]);
    for (const column of line.keys()) columns.add(column);
    return line;
  });
  return { columns: [...columns], lines };
}

/** RFC 4180. */
export function* csvOf({ columns, lines }: TrialTable): Generator<string> {
  yield `${columns.map(csvCell).join(',')}\r\n`;
  for (const line of lines) yield `${columns.map((column) => csvCell(line.get(column))).join(',')}\r\n`;
}

const csvCell = (value: unknown): string => {
  if (value === null || value === undefined) return '';
  // Text that a spreadsheet would take for a formula is marked as text, by OWASP's list (CSV injection).
  const text = typeof value === 'string' ? value.replace(/^(?=[=+\-@\t\r\n＝＋－＠])/, "'") : JSON.stringify(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

/** An array of objects; values keep their type. */
export function* jsonOf({ lines }: TrialTable): Generator<string> {
  yield '[';
  for (const [i, line] of lines.entries()) yield (i ? ',\n' : '') + JSON.stringify(Object.fromEntries(line));
  yield ']\n';
}

/** Lines that are written to a Parquet file in one turn. */
const GROUP = 500;

/** Columns of numbers, of truth values, else of text; what is neither is JSON text. Cells that are absent are null. */
export async function parquetOf({ columns, lines }: TrialTable): Promise<Uint8Array> {
  const columnData = await inTurns(columns, (name) => {
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
  });
  const turns = new Turns();
  // It is flushed after each group of rows.
  const writer = Object.assign(new ByteWriter(), { flush: () => turns.next() });
  await parquetWrite({ writer, columnData, rowGroupSize: GROUP });
  return writer.getBytes();
}

/**
 * A tar of these entries, made while it is read. What goes wrong, in the entries or in the tar, ends the stream that is
 * read, and reaches nobody else.
 */
export function archive(entries: AsyncIterable<{ path: string; text: string }>, mtime: Date): Readable {
  const tar = pack();
  const out = new PassThrough();
  const write = async () => {
    const turns = new Turns();
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
      if (turns.over) await turns.next();
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
  async trials(id: string, format: 'csv' | 'json' | 'parquet'): Promise<Readable | undefined> {
    const sweep = await this.sweeps.sweep(id);
    if (!sweep) return undefined;
    const { runs, damaged } = await this.sweeps.runsOfSweep(sweep);
    const table = await trialTable(sweep, (runId) => runs.get(runId)?.result?.metrics ?? {}, damaged);
    if (format === 'parquet') return Readable.from([await parquetOf(table)], { objectMode: false });
    return Readable.from(piecesInTurns(format === 'csv' ? csvOf(table) : jsonOf(table)), { objectMode: false });
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
