/** What a sweep found, read once for each state that it is in and kept until the next. */
import { metricOf, stageOrder, type DamagedRow, type SweepTable } from '#libs/contracts';
import { parameterImportance, type Outcome } from '#libs/search';
import { createHash } from 'node:crypto';
import { damageOf } from '../checked-row.js';
import type { Database } from '../machine/database.js';
import { batchesOf, inTurns } from '../machine/turns.js';
import type { SweepQueries } from './queries.js';
import { TRIAL_STATUS } from './status.js';
import { NO_VALUES, tableOf, TrialRow, TrialRun } from './table.js';

/** Trials that one statement reads: so many are taken apart in a few milliseconds. */
const BATCH = 250;
/** Sweeps whose tables are kept. */
const MOST_KEPT = 16;

export class SweepResults {
  private readonly tables = new Newest<SweepTable | undefined>(MOST_KEPT);
  private readonly importances = new Newest<SweepTable['importance']>(MOST_KEPT);

  constructor(
    private readonly database: Database,
    private readonly sweeps: SweepQueries,
  ) {}

  /**
   * One row for each combination of parameters other than seeds and label fractions, and what all trials say together.
   * Who asks while the sweep is in the same state gets the same table. Undefined for a sweep that is not there.
   */
  async table(id: string): Promise<SweepTable | undefined> {
    const state = await this.stateOf(id);
    const table = state === undefined ? undefined : await this.tables.of(id, state, () => this.read(id));
    // What is put right by hand does not change the state.
    if (table?.damaged) this.tables.forget(id);
    return table;
  }

  private async read(id: string): Promise<SweepTable | undefined> {
    const sweep = await this.sweeps.record(id);
    if (!sweep) return undefined;
    const damaged: DamagedRow[] = [];
    const trials = await this.trials(id, metricOf(sweep.spec).name, stageOrder(sweep.spec.stages), damaged);
    // A run that was stopped early has no result, but a last value.
    const stopped = new Set(
      trials.flatMap(({ runs }) => runs.filter(({ status }) => status === 'early_stopped').map(({ runId }) => runId)),
    );
    const last = await this.lastValues([...stopped], metricOf(sweep.spec).name);
    const table = await tableOf(sweep, trials, last, (judged) => this.importance(id, judged));
    return { ...table, ...(damaged.length > 0 && { damaged }) };
  }

  /** Runs that start or wait change a table, but not what matters in it: only new values do. */
  private async importance(id: string, judged: readonly Outcome[]): Promise<SweepTable['importance']> {
    const values = createHash('sha256');
    await inTurns(judged, ({ combo, pair, value }) => values.update(`${combo} ${pair} ${value}\n`));
    return this.importances.of(id, values.digest('hex'), async () =>
      parameterImportance(await inTurns(judged, ({ parameters, value }) => ({ parameters: apart(parameters), value }))),
    );
  }

  /**
   * Another text as soon as anything has changed that a table is made of. In one statement, which reads no spec and no
   * result: it is asked for at every request.
   */
  private async stateOf(id: string): Promise<string | undefined> {
    const [found] = await this.database.prisma.$queryRaw<{ state: string }[]>`
      SELECT concat_ws(' ', sweep.steered, sweep.paused_at, sweep.cancelled_at, sweep.halt_reason, (
          SELECT concat_ws(' ', count(*), sum(hashtextextended(concat_ws(' ', index, outcome, draft IS NULL), 0)))
          FROM trial
          WHERE sweep_id = sweep.id), (
          SELECT concat_ws(' ', count(*), sum(hashtextextended(
            concat_ws(' ', p.index, p.stage, p.control, r.id, r.status, r.status_reason, r.attempt, r.finished_at), 0)))
          FROM trial_run p
          JOIN run r ON r.id = p.run_id
          WHERE p.sweep_id = sweep.id)) AS state
      FROM sweep
      WHERE id = ${id}::uuid`;
    return found?.state;
  }

  /**
   * In order of their indices, each with its runs as they are trained. What is damaged is added to `damaged`, and has
   * no values.
   */
  private async trials(
    id: string,
    metric: string,
    stages: readonly string[],
    damaged: DamagedRow[],
  ): Promise<TrialRow[]> {
    const trials: TrialRow[] = [];
    for (let after = -1; ;) {
      const batch = (await this.batch(id, metric, after)).map((trial) => whole(trial, damaged));
      for (const { runs } of batch)
        runs.sort(
          (a, b) =>
            stages.indexOf(a.stage) - stages.indexOf(b.stage) || ((a.control ?? '') < (b.control ?? '') ? -1 : 1),
        );
      trials.push(...batch);
      if (batch.length < BATCH) return trials;
      after = batch.at(-1)!.index;
    }
  }

  /** The next trials, with what the table needs of their runs and no more: a spec is a hundred times as much. */
  private batch(id: string, metric: string, after: number): Promise<TrialRow[]> {
    return this.database.prisma.$queryRaw`
      SELECT trial.index, trial.parameters, ${TRIAL_STATUS} AS status, coalesce(placed.runs, '[]') AS runs
      FROM trial
      CROSS JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_object(
          'stage', p.stage,
          'control', nullif(p.control, ''),
          'runId', r.id,
          'kind', r.kind,
          'status', r.status,
          'statusReason', r.status_reason,
          'augmentation', r.spec->'augmentation',
          'dataset', r.spec->'dataset',
          'labelFraction', r.spec->'labelFraction',
          'labelSeed', r.spec->'labelSeed',
          'seed', r.spec->'seed',
          'value', r.result->'metrics'->${metric}::text,
          'knn', r.result->'metrics'->'eval/knn',
          'probe', r.result->'metrics'->'eval/probe_accuracy',
          'labels', r.result->'labels')) AS runs
        FROM trial_run p
        JOIN run r ON r.id = p.run_id
        WHERE p.sweep_id = trial.sweep_id AND p.index = trial.index) AS placed
      WHERE trial.sweep_id = ${id}::uuid AND trial.index > ${after}
      ORDER BY trial.index
      LIMIT ${BATCH}`;
  }

  private async lastValues(runIds: readonly string[], metric: string): Promise<Map<string, number>> {
    const last = new Map<string, number>();
    for (const batch of batchesOf(runIds, BATCH)) {
      const values = await this.database.prisma.$queryRaw<{ runId: string; value: number }[]>`
        SELECT DISTINCT ON (run_id) run_id AS "runId", value
        FROM metric
        WHERE run_id = ANY(${batch}::uuid[]) AND key = ${metric}
        ORDER BY run_id, step DESC`;
      for (const { runId, value } of values) last.set(runId, value);
    }
    return last;
  }
}

/** For each key the value of its newest state: made once, and shared by those who ask while it is being made. */
class Newest<Value> {
  private readonly kept = new Map<string, { state: string; value: Promise<Value> }>();

  constructor(private readonly most: number) {}

  of(key: string, state: string, make: () => Promise<Value>): Promise<Value> {
    let found = this.kept.get(key);
    if (found?.state !== state) {
      const made = { state, value: make() };
      // A failure is not kept: who asks next tries again.
      made.value.catch(() => {
        if (this.kept.get(key) === made) this.kept.delete(key);
      });
      found = made;
    }
    // Kept in order of use: the least recently asked for is dropped first.
    this.kept.delete(key);
    this.kept.set(key, found);
    if (this.kept.size > this.most) this.kept.delete(this.kept.keys().next().value!);
    return found.value;
  }

  forget(key: string): void {
    this.kept.delete(key);
  }
}

/** A trial as it is stored, without the values of what is damaged, which is added to `damaged`. */
function whole({ runs, ...trial }: TrialRow, damaged: DamagedRow[]): TrialRow {
  const torn = damageOf(TrialRow, { ...trial, runs: [] });
  if (torn) damaged.push({ resource: 'trial', id: String(trial.index), ...torn });
  return {
    ...trial,
    ...(torn && { parameters: {} }),
    runs: runs.map((run) => {
      const damage = damageOf(TrialRun, run);
      if (!damage) return run;
      if (!damaged.some(({ id }) => id === run.runId)) damaged.push({ resource: 'run', id: run.runId, ...damage });
      return { ...run, ...NO_VALUES };
    }),
  };
}

/** With each augmentation (of each view) as a parameter of its own: its settings, or null where it is off. */
const apart = (parameters: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(parameters).flatMap(([path, value]) => partsOf(path, value)));

function partsOf(path: string, value: unknown): [string, unknown][] {
  if (typeof value !== 'object' || value === null) return [[path, value]];
  if (path.endsWith('.augmentation'))
    return Object.entries(value).map(([name, settings]) => [`${path}.${name}`, settings]);
  if (!path.endsWith('.views') || !Array.isArray(value)) return [[path, value]];
  return value.flatMap((view: { augmentation?: unknown }, i) =>
    partsOf(`${path}.${i}.augmentation`, view.augmentation),
  );
}
