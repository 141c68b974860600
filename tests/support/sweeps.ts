/** What the suites of sweeps share: workers are played by the test, the leader by one that lives for one look. */
import { SubmitSweep, type Pretrain, type RunSpec } from '#libs/contracts';
import { type Runs, SweepController, SweepQueries, SweepResults, SweepStore } from '#libs/platform';
import { database, platform, queries, usePlatform } from './platform.js';

export { database, platform, queries } from './platform.js';

export const LEASE_MS = 60_000;
export const PER_EPOCH = 12;
export let sweeps: SweepStore;
export let sweepQueries: SweepQueries;
export let results: SweepResults;

/** Sweeps in a database of this file's own. */
export const useSweeps = (): void =>
  usePlatform(LEASE_MS, () => {
    sweeps = new SweepStore(database, platform);
    sweepQueries = new SweepQueries(database);
    results = new SweepResults(database, sweepQueries);
  });

export const temperatures = (count: number, from = 0) =>
  Array.from({ length: count }, (_, i) => Number((0.1 + (from + i) / 100).toFixed(2)));
export const sweep = (more: object = {}) =>
  SubmitSweep.parse({
    spec: {
      name: 'sweep',
      stages: {
        pretrain: { kind: 'pretrain', dataset: 'shapes', batchSize: 32, epochs: 9 },
        finetune: { kind: 'finetune', dataset: 'shapes', from: 'pretrain', batchSize: 4 },
      },
      parameters: { 'pretrain.temperature': { values: temperatures(12) } },
      ...more,
    },
  });
export const alone = {
  stages: { pretrain: { kind: 'pretrain', dataset: 'shapes', batchSize: 32, epochs: 9 } },
  metric: { name: 'eval/knn' },
};

/** A leader that lives for one look. */
export const tick = () => new SweepController(database, platform).tick();

/** How good a pretraining is after so many epochs: rises to what its temperature allows, best at 0.17. */
export const knnOf = (spec: Pretrain, epoch: number): number =>
  (0.9 - Math.abs(spec.temperature - 0.17)) * (1 - Math.exp(-epoch / 3));

type Claimed = NonNullable<Awaited<ReturnType<Runs['claims']['claim']>>>;
export interface Work {
  epochs: number;
  started: Record<string, number>;
  mostAtOnce: number;
}

/**
 * Takes what is dispatched and works it off, `slots` runs at a time, until nothing is left. `between` is called after
 * each round.
 */
export async function work(
  slots: number,
  {
    between = async () => {},
    fails = () => false,
    leader = tick,
    lastly = () => ({ metrics: { 'eval/accuracy': 0.5 } }),
  }: {
    between?: (round: number) => Promise<void>;
    fails?: (spec: RunSpec) => boolean;
    leader?: () => Promise<unknown>;
    lastly?: (pretraining: Pretrain) => { metrics: Record<string, number> };
  } = {},
): Promise<Work> {
  const done: Work = { epochs: 0, started: {}, mostAtOnce: 0 };
  for (let round = 0; ; round++) {
    await leader();
    const offered = await platform.outbox.takeDispatchable(1000);
    await platform.outbox.markDispatched(offered);
    done.mostAtOnce = Math.max(
      done.mostAtOnce,
      await database.prisma.run.count({ where: { status: { in: ['queued', 'running'] } } }),
    );
    const jobs = await database.prisma.outbox.findMany({
      where: { run: { status: 'queued' } },
      // The order of starts: ids of the outbox are in that in which Postgres found the runs.
      orderBy: [{ urgency: 'asc' }, { submittedAt: 'asc' }, { runId: 'asc' }],
      take: slots,
    });
    if (jobs.length === 0) {
      if ((await tick()) > 0 && (await database.prisma.run.count({ where: { status: 'queued' } })) > 0) continue;
      await tick();
      return done;
    }
    for (const { runId, attempt } of jobs) {
      const run = await platform.claims.claim({ runId, attempt }, 'w');
      if (!run) continue;
      if (run.attempt === 1) done.started[run.spec.kind] = (done.started[run.spec.kind] ?? 0) + 1;
      if (fails(run.spec)) await platform.leases.fail(run, 'invalid_data', 'no images');
      else if (run.spec.kind === 'pretrain') done.epochs += await pretrain(run, run.spec, () => between(round));
      else await finetune(run, lastly);
    }
    await between(round);
  }
}

async function finetune(run: Claimed, lastly: (pretraining: Pretrain) => { metrics: Record<string, number> }) {
  const parent =
    'from' in run.spec && run.spec.from ? ((await queries.run(run.spec.from))!.spec as Pretrain) : undefined;
  await platform.leases.succeed(run, parent ? lastly(parent) : { metrics: { 'eval/accuracy': 0.5 } });
}

/** From its checkpoint to its end, or to the rung where it stops. `between` is called after each epoch. */
async function pretrain(run: Claimed, spec: Pretrain, between: () => Promise<void>): Promise<number> {
  const first = (run.checkpoints[0]?.step ?? 0) / PER_EPOCH;
  await platform.recorder.begin(run, first * PER_EPOCH, 1);
  for (let epoch = first + 1; ; epoch++) {
    const step = epoch * PER_EPOCH;
    const value = knnOf(spec, epoch);
    await platform.recorder.record(run, {
      step: { step, totalSteps: spec.epochs * PER_EPOCH },
      points: [{ key: 'eval/knn', step, value }],
    });
    if (epoch === spec.epochs) {
      await platform.leases.succeed(run, { metrics: { 'eval/knn': value } });
      return epoch - first;
    }
    if (run.stopAtStep !== null && step >= run.stopAtStep) {
      await platform.recorder.addArtifact(run, {
        name: 'c',
        kind: 'checkpoint',
        mime: 'application/octet-stream',
        sha256: 'e'.repeat(64),
        sizeBytes: 1,
        step,
      });
      await platform.leases.reachRung(run, step);
      return epoch - first;
    }
    await between();
  }
}

export const statuses = async (sweepId: string, stage = 'pretrain') => {
  const found = (await sweepQueries.sweep(sweepId))!;
  return Object.fromEntries(
    found.trials.map(({ parameters, runs }) => [
      String(parameters['pretrain.temperature']),
      runs.find((run) => run.stage === stage)?.status,
    ]),
  );
};
