/** Sweeps as people and programs read them. Nothing here changes anything. */
import {
  CONTROLS,
  FAILED_STATUSES,
  isTerminal,
  stageOrder,
  Sweep,
  TrialView,
  UNDER_WAY_STATUSES,
  type ListPage,
  type RunRecord,
  type RunStatus,
  type DamagedRow,
  type SweepDetail,
  type TrialStatus,
} from '#libs/contracts';
import { checkedRow, damageOf, type RecordOf } from '../checked-row.js';
import type { Database, Prisma } from '../machine/database.js';
import { decodeCursor, encodeCursor, pageOf, type Page } from '../runs/page.js';
import { runsById } from '../runs/records.js';
import { secondsOfWorkers } from './steering.js';
import type { SweepRow } from './sweep-row.js';

export type SweepRecord = RecordOf<typeof Sweep>;
export type SweepDetailRecord = RecordOf<typeof SweepDetail>;

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
      (row) => sweepRecord(row, counts.get(row.id) ?? {}),
    );
  }

  /** A sweep without its trials. @throws DamagedRowError */
  async record(id: string): Promise<SweepRecord | undefined> {
    const row = await this.prisma.sweep.findUnique({ where: { id } });
    return row ? sweepRecord(row, (await this.sweepRunCounts([id])).get(id) ?? {}) : undefined;
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

  /** In order of their indices, each with its runs as they are trained: rows come in any order. */
  private async trials(sweepId: string, stages: readonly string[]): Promise<SweepDetailRecord['trials']> {
    const trials: SweepDetailRecord['trials'] = [];
    for (let after = -1; ;) {
      const rows = await this.prisma.trial.findMany({
        where: { sweepId, index: { gt: after } },
        orderBy: { index: 'asc' },
        take: BATCH,
        omit: { root: true },
        include: { runs: { include: { run: { select: { status: true, statusReason: true } } } } },
      });
      for (const { index, parameters, fault, draft, outcome, runs } of rows)
        trials.push({
          index,
          ...parametersOf(parameters, fault),
          status: trialStatus({ held: draft !== null, outcome, runs: runs.map(({ run }) => run) }),
          runs: runs
            .toSorted((a, b) => stages.indexOf(a.stage) - stages.indexOf(b.stage) || (a.control < b.control ? -1 : 1))
            .map(({ stage, control, runId, reused, run }) => ({
              stage,
              control: CONTROLS.find((each) => each === control) ?? null,
              runId,
              reused,
              status: run.status,
            })),
        });
      if (rows.length < BATCH) return trials;
      after = rows.at(-1)!.index;
    }
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

const sweepRecord = (row: Prisma.SweepGetPayload<object>, runCounts: Record<string, number>): SweepRecord =>
  checkedRow(
    Sweep,
    { resource: 'sweep', id: row.id },
    { ...row, runCounts, status: sweepStatus(row, Object.keys(runCounts) as RunStatus[]) },
  );

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

/** @param statuses All that its runs have. */
export function sweepStatus(
  { steered, pausedAt, cancelledAt, haltReason }: Pick<SweepRow, 'steered' | 'pausedAt' | 'cancelledAt' | 'haltReason'>,
  statuses: readonly RunStatus[],
): SweepRecord['status'] {
  if (statuses.some((each) => !isTerminal(each)) || steered) return pausedAt && !cancelledAt ? 'paused' : 'running';
  if (cancelledAt) return 'cancelled';
  const allWell = statuses.every((each) => each === 'succeeded' || each === 'early_stopped');
  return haltReason === null && allWell ? 'succeeded' : 'failed';
}

/** What its runs, or that it has none yet, make of a trial. `held`: it has not been started. */
export function trialStatus({
  held,
  outcome,
  runs,
}: {
  held: boolean;
  outcome: string | null;
  runs: readonly { status: RunStatus; statusReason: string | null }[];
}): TrialStatus {
  if (runs.length === 0) {
    if (outcome === 'early_stopped') return 'early_stopped';
    return outcome || !held ? 'failed' : 'held';
  }
  const some = (statuses: readonly RunStatus[]) => runs.some(({ status }) => statuses.includes(status));
  if (some(FAILED_STATUSES)) return 'failed';
  if (some(UNDER_WAY_STATUSES)) return 'running';
  if (some(['paused']))
    return runs.some(({ status, statusReason }) => status === 'paused' && statusReason !== 'rung')
      ? 'paused'
      : 'waiting';
  if (some(['pending'])) return 'running';
  if (some(['cancelled'])) return 'cancelled';
  return some(['early_stopped']) ? 'early_stopped' : 'succeeded';
}
