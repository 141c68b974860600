/** Sweeps as people and programs read them. Nothing here changes anything. */
import {
  CONTROLS,
  stageOrder,
  Sweep,
  TrialView,
  type DamagedRow,
  type ListedTrial,
  type RunRecord,
  type RunStatus,
  type SweepDetail,
} from '#libs/contracts';
import { checkedRow, damageOf, type RecordOf } from '../checked-row.js';
import type { Database, Prisma } from '../machine/database.js';
import { cursorAfter } from '../runs/filter.js';
import { pageOf, type Page } from '../runs/page.js';
import { runsById } from '../runs/records.js';
import {
  cursorAfterTrial,
  sweepsInOrder,
  trialsInOrder,
  type SortedTrial,
  type SweepsQuery,
  type TrialsQuery,
} from './listing.js';
import { SWEEP_STATUS } from './status.js';
import { secondsOfWorkers } from './steering.js';

export type SweepRecord = RecordOf<typeof Sweep>;
export type SweepDetailRecord = RecordOf<typeof SweepDetail>;
export type ListedTrialRecord = RecordOf<typeof ListedTrial>;

/** The runs of a sweep by id, and those that can't be told because they are damaged. */
export interface RunsOfSweep {
  runs: ReadonlyMap<string, RunRecord>;
  damaged: ReadonlyMap<string, DamagedRow>;
}

/** Trials, or runs, that are read at once. */
const BATCH = 250;

export class SweepQueries {
  constructor(private readonly database: Database) {}

  private get prisma() {
    return this.database.prisma;
  }

  /**
   * Those that a query names, by what it sorts them by and the id.
   * @throws RequestError for a cursor that is none, or of another order.
   */
  async sweeps(query: SweepsQuery): Promise<Page<SweepRecord>> {
    const { sort = '-createdAt', limit } = query;
    const found = await sweepsInOrder(this.prisma, { ...query, limit: limit + 1 });
    const ids = found.map(({ id }) => id);
    const rows = new Map(
      (await this.prisma.sweep.findMany({ where: { id: { in: ids } } })).map((row) => [row.id, row]),
    );
    const counts = await this.sweepRunCounts(ids);
    // One that was deleted meanwhile is left out.
    const there = found.flatMap((each) => (rows.has(each.id) ? [{ ...each, row: rows.get(each.id)! }] : []));
    return pageOf(
      there,
      limit,
      (last) => cursorAfter(sort, last),
      ({ row, status }) => sweepRecord(row, status, counts.get(row.id) ?? {}),
    );
  }

  /** A sweep without its trials. @throws DamagedRowError */
  async record(id: string): Promise<SweepRecord | undefined> {
    const [found] = await this.prisma.$queryRaw<{ status: string }[]>`
      SELECT ${SWEEP_STATUS} AS status
      FROM sweep
      WHERE id = ${id}::uuid`;
    const row = found && (await this.prisma.sweep.findUnique({ where: { id } }));
    return row ? sweepRecord(row, found.status, (await this.sweepRunCounts([id])).get(id) ?? {}) : undefined;
  }

  /** @throws DamagedRowError */
  async sweep(id: string): Promise<SweepDetailRecord | undefined> {
    const sweep = await this.record(id);
    if (!sweep) return undefined;
    const trials = await this.trials(id, stageOrder(sweep.spec.stages));
    return {
      ...sweep,
      gpuSeconds: await secondsOfWorkers(this.prisma, id),
      trialCounts: Object.fromEntries(
        [...Map.groupBy(trials, ({ status }) => status)].map(([status, { length }]) => [status, length]),
      ),
      trials,
    };
  }

  /**
   * Trials of a sweep that a query names; undefined where there is no such sweep.
   * @throws RequestError for a cursor that is none, or of another order; DamagedRowError
   */
  async trialsOf(id: string, query: TrialsQuery): Promise<Page<ListedTrialRecord> | undefined> {
    const sweep = await this.record(id);
    if (!sweep) return undefined;
    const { sort = 'index', limit } = query;
    const found = await trialsInOrder(this.prisma, id, { ...query, limit: limit + 1 });
    const page = await pageOf(
      found,
      limit,
      (last) => cursorAfterTrial(sort, last),
      (each) => each,
    );
    const values = new Map(page.items.map(({ index, value }) => [index, value]));
    const views = await this.views(id, stageOrder(sweep.spec.stages), page.items);
    return { ...page, items: views.map((view) => ({ ...view, value: values.get(view.index) ?? null })) };
  }

  /** All trials in order of their indices. */
  private async trials(sweepId: string, stages: readonly string[]): Promise<SweepDetailRecord['trials']> {
    const trials: SweepDetailRecord['trials'] = [];
    for (let cursor: string | undefined; ;) {
      const batch = await trialsInOrder(this.prisma, sweepId, { limit: BATCH, cursor });
      trials.push(...(await this.views(sweepId, stages, batch)));
      if (batch.length < BATCH) return trials;
      cursor = cursorAfterTrial('index', batch.at(-1)!);
    }
  }

  /** These trials, each with its runs as they are trained: rows come in any order. */
  private async views(
    sweepId: string,
    stages: readonly string[],
    found: readonly SortedTrial[],
  ): Promise<SweepDetailRecord['trials']> {
    const rows = await this.prisma.trial.findMany({
      where: { sweepId, index: { in: found.map(({ index }) => index) } },
      select: {
        index: true,
        parameters: true,
        fault: true,
        runs: { include: { run: { select: { status: true } } } },
      },
    });
    const byIndex = new Map(rows.map((row) => [row.index, row]));
    return found.flatMap(({ index, status }) => {
      const row = byIndex.get(index);
      if (!row) return [];
      return [
        {
          index,
          ...parametersOf(row.parameters, row.fault),
          status,
          runs: row.runs
            .toSorted((a, b) => stages.indexOf(a.stage) - stages.indexOf(b.stage) || (a.control < b.control ? -1 : 1))
            .map(({ stage, control, runId, reused, run }) => ({
              stage,
              control: CONTROLS.find((each) => each === control) ?? null,
              runId,
              reused,
              status: run.status,
            })),
        },
      ];
    });
  }

  private async sweepRunCounts(ids: readonly string[]): Promise<Map<string, Record<string, number>>> {
    const rows = await this.prisma.$queryRaw<{ sweepId: string; status: RunStatus; count: number }[]>`
      SELECT t.sweep_id AS "sweepId", r.status::text AS status, count(DISTINCT r.id)::int AS count
      FROM trial_run t
      JOIN run r ON r.id = t.run_id
      WHERE t.sweep_id = ANY(${[...ids]}::uuid[])
      GROUP BY t.sweep_id, r.status`;
    return new Map(
      [...Map.groupBy(rows, (row) => row.sweepId)].map(([id, counts]) => [
        id,
        Object.fromEntries(counts.map(({ status, count }) => [status, count])),
      ]),
    );
  }

  /** Every run of a sweep once, by id. */
  async runsOfSweep({ trials }: SweepDetailRecord): Promise<RunsOfSweep> {
    const ids = [...new Set(trials.flatMap((trial) => trial.runs.map(({ runId }) => runId)))];
    const runs = new Map<string, RunRecord>();
    const damaged = new Map<string, DamagedRow>();
    for (let from = 0; from < ids.length; from += BATCH) {
      const batch = await runsById(this.prisma, ids.slice(from, from + BATCH));
      for (const run of batch.items) runs.set(run.id, run);
      for (const row of batch.damaged ?? []) damaged.set(row.id, row);
    }
    return { runs, damaged };
  }
}

const sweepRecord = (
  row: Prisma.SweepGetPayload<object>,
  status: string,
  runCounts: Record<string, number>,
): SweepRecord => checkedRow(Sweep, { resource: 'sweep', id: row.id }, { ...row, runCounts, status });

/** A trial's parameters; of damaged ones none, and its fault is that they are. */
function parametersOf(
  stored: unknown,
  fault: string | null,
): Pick<SweepDetailRecord['trials'][number], 'parameters' | 'fault'> {
  const damage = damageOf(StoredParameters, { parameters: stored });
  return damage
    ? { parameters: {}, fault: fault ?? `${damage.field}: ${damage.message}` }
    : { parameters: stored as Record<string, unknown>, fault };
}
const StoredParameters = TrialView.pick({ parameters: true });
