/**
 * `npm run seed -- --runs 30000 --points 10000000`: made-up runs, sweeps and curves in bulk, to see how everything
 * behaves at size. They go to DATABASE_URL, to the stack of `loom up` that runs in `--dir`, or into its folder where
 * none does. Nothing is trained, and since their digests are none that a spec has, nothing real takes a made-up result.
 */
import { SubmitRun } from '#libs/contracts';
import { Database, migrate, Runs, startLocalServices } from '#libs/platform';
import path from 'node:path';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { readState } from '../apps/cli/src/stack-state.js';
import { DATASET, FINETUNES, makeUpAll, PRETRAININGS, type MadeUp, type MadeUpSweep } from './made-up.js';

interface SeedOptions {
  runs: number;
  points: number;
  log: (line: string) => void;
}

/** Runs whose points go into one statement. */
const BATCH = 500;
const LONGEST_CURVE = 100_000;

/** The run that is said to have prepared the dataset. */
async function knowDataset(databaseUrl: string): Promise<void> {
  const database = new Database(databaseUrl);
  try {
    const platform = new Runs(database, { dataRoot: '/', leaseMs: 60_000 });
    await platform.workers.checkSchema();
    if (await database.prisma.dataset.findFirst({ where: { name: DATASET.name } })) return;
    // Prepared in one transaction after its claim, so that no worker of a running stack is quicker than a moment.
    const { runId } = await platform.submission.submitRun(
      SubmitRun.parse({
        spec: { kind: 'prepare-dataset', name: DATASET.name, path: DATASET.name },
        requires: { labels: { seed: 'yes' } },
      }),
    );
    await platform.workers.registerWorker({
      id: 'seed',
      host: 'nowhere',
      pid: process.pid,
      slots: 1,
      versions: {},
      labels: { seed: 'yes' },
    });
    await platform.workers.setWorkerState('seed', 'running');
    const claimed = await platform.claims.claim({ runId, attempt: 1 }, 'seed');
    if (!claimed)
      throw new Error(`expected to be given the run that prepares ${DATASET.name}, but it was cancelled or taken`);
    await platform.leases.succeed(claimed, { metrics: {}, dataset: DATASET });
    await platform.workers.setWorkerState('seed', 'stopped');
  } finally {
    await database.close();
  }
}

/**
 * Writes so many runs with so many points of metrics, all together, into a database with our schema. About 60,000
 * points a second on two cores.
 * @throws Error where the schema is another
 */
export async function seed(
  databaseUrl: string,
  { runs: count, points, log }: SeedOptions,
): Promise<{ runs: number; points: number; sweeps: number; seconds: number }> {
  const begun = performance.now();
  await knowDataset(databaseUrl);
  const { runs, sweeps } = makeUpAll(count);
  const perCurve = Math.min(
    LONGEST_CURVE,
    Math.max(1, Math.round(points / runs.reduce((sum, { curves }) => sum + curves.length, 0))),
  );
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  let written = 0;
  try {
    // A power cut may cost the last moments of what is made up.
    await client.query('SET synchronous_commit = off; SELECT setseed(0.5)');
    for (let from = 0; from < runs.length; from += BATCH) {
      const batch = runs.slice(from, from + BATCH);
      await client.query('BEGIN');
      await writeRuns(client, batch);
      written += await writePoints(client, batch, perCurve);
      await client.query('COMMIT');
      if (from % (10 * BATCH) === 0)
        log(`${Math.min(from + BATCH, runs.length).toLocaleString('en')} runs, ${written.toLocaleString('en')} points`);
    }
    await client.query('BEGIN');
    for (const sweep of sweeps) await writeSweep(client, sweep);
    await client.query('COMMIT');
    log('gathering statistics');
    await client.query('VACUUM (ANALYZE) run, metric, run_metric, run_event, attempt, trial, trial_run, sweep');
  } finally {
    await client.end();
  }
  return { runs: runs.length, points: written, sweeps: sweeps.length, seconds: (performance.now() - begun) / 1000 };
}

/** Runs with their parents, attempts and events in one statement: all of them, or none. */
const INSERT_RUNS = `
  WITH given AS (
      SELECT *
      FROM jsonb_to_recordset($1::jsonb) AS r(
        id uuid, name text, kind text, status run_status, status_reason text, status_detail text, digest text,
        spec jsonb, tags text[], step int, total_steps int, created_at timestamptz, started_at timestamptz,
        finished_at timestamptz, result jsonb, parent uuid)),
    runs AS (
      INSERT INTO run (
        id, name, kind, status, status_reason, status_detail, digest, spec, tags, priority, dataset_digest,
        attempt, worker_id, step, total_steps, progress_at, result, created_at, started_at, finished_at)
      SELECT
        id, name, kind, status, status_reason, status_detail, digest, spec, tags, 50, $2,
        1, 'seed', step, total_steps, finished_at, nullif(result, 'null'), created_at, started_at, finished_at
      FROM given),
    parents AS (
      INSERT INTO run_dependency (run_id, parent_id)
      SELECT id, parent
      FROM given
      WHERE parent IS NOT NULL),
    attempts AS (
      INSERT INTO attempt (run_id, attempt, worker_id, started_at, ended_at, outcome, reason, detail)
      SELECT id, 1, 'seed', started_at, finished_at, status, status_reason, status_detail
      FROM given)
  INSERT INTO run_event (run_id, attempt, type, data, at)
  SELECT id, e.attempt, e.type, e.data, e.at
  FROM given
  CROSS JOIN LATERAL (VALUES
    (0, 'submitted', '{"status": "queued"}'::jsonb, created_at),
    (1, 'status', '{"status": "running"}'::jsonb, started_at),
    (1, 'status', jsonb_build_object('status', status), finished_at)) AS e(attempt, type, data, at)`;

async function writeRuns(client: pg.Client, batch: readonly MadeUp[]): Promise<void> {
  await client.query(INSERT_RUNS, [JSON.stringify(batch), DATASET.digest]);
}

/**
 * Curves fall or rise towards their end with noise that becomes less; the last point is the end itself, and the last
 * value of the run.
 */
const INSERT_POINTS = `
  WITH curve AS (
      SELECT *, least($7::int, step) AS points
      FROM unnest(
        $1::uuid[], $2::text[], $3::int[], $4::timestamptz[], $5::float8[], $6::float8[], $8::timestamptz[])
        AS c(run_id, key, step, started_at, first, last, finished_at)),
    lasts AS (
      INSERT INTO run_metric (run_id, key, step, value)
      SELECT run_id, key, step, last
      FROM curve)
  INSERT INTO metric (run_id, key, step, attempt, value, at)
  SELECT
    run_id, key, (step::bigint * i / points)::int, 1,
    CASE WHEN i = points THEN last
      ELSE last + (first - last) * exp(-5.0 * i / points) * (1 + 0.3 * (random() - 0.5)) END,
    started_at + (finished_at - started_at) * i / points
  FROM curve
  CROSS JOIN LATERAL generate_series(1, points) AS i`;

async function writePoints(client: pg.Client, batch: readonly MadeUp[], perCurve: number): Promise<number> {
  const curves = batch.flatMap(({ id, step, started_at, finished_at, curves: each }) =>
    each.toSorted((a, b) => (a.key < b.key ? -1 : 1)).map((curve) => ({ id, step, started_at, finished_at, ...curve })),
  );
  const column = <T>(of: (curve: (typeof curves)[number]) => T) => curves.map(of);
  const { rowCount } = await client.query(INSERT_POINTS, [
    column(({ id }) => id),
    column(({ key }) => key),
    column(({ step }) => step),
    column(({ started_at }) => started_at),
    column(({ start }) => start),
    column(({ end }) => end),
    perCurve,
    column(({ finished_at }) => finished_at),
  ]);
  return rowCount ?? 0;
}

async function writeSweep(client: pg.Client, { id, spec, createdAt, trials }: MadeUpSweep): Promise<void> {
  const plan = {
    trials: trials.length,
    newRuns: { pretrain: PRETRAININGS, finetune: trials.length },
    reused: { pretrain: trials.length - PRETRAININGS },
    summary: `${trials.length} trials: ${PRETRAININGS} new pretrain and ${trials.length} new finetune runs`,
  };
  await client.query(
    'INSERT INTO sweep (id, name, spec, plan, tags, priority, created_at) VALUES ($1, $2, $3, $4, $5, 50, $6)',
    [id, spec.name, JSON.stringify(spec), JSON.stringify(plan), ['seed'], createdAt],
  );
  await client.query(
    'INSERT INTO trial (sweep_id, index, position, parameters) SELECT $1, i - 1, i - 1, p FROM ' +
      'unnest($2::jsonb[]) WITH ORDINALITY AS t(p, i)',
    [id, trials.map(({ parameters }) => JSON.stringify(parameters))],
  );
  await client.query(
    `
    INSERT INTO trial_run (sweep_id, index, stage, control, run_id, reused)
    SELECT $1, i - 1, stage, '', run_id, stage = 'pretrain' AND (i - 1) % ${FINETUNES} > 0
    FROM unnest($2::uuid[], $3::uuid[]) WITH ORDINALITY AS t(pretrain, finetune, i)
    CROSS JOIN LATERAL (VALUES ('pretrain', pretrain), ('finetune', finetune)) AS s(stage, run_id)`,
    [id, trials.map(({ pretrain }) => pretrain.id), trials.map(({ finetune }) => finetune.id)],
  );
}

/** As a command. */
async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      runs: { type: 'string', default: '30000' },
      points: { type: 'string' },
      dir: { type: 'string', default: '.loom' },
    },
  });
  const number = (name: 'runs' | 'points', text: string) => {
    const value = Number(text.replaceAll('_', ''));
    if (!Number.isSafeInteger(value) || value < 1)
      throw new Error(`expected --${name} with a whole number, got ${JSON.stringify(text)}`);
    return value;
  };
  const runs = number('runs', values.runs);
  const options = {
    runs,
    points: values.points === undefined ? Math.round((runs * 1000) / 3) : number('points', values.points),
    log: console.log,
  };
  const dir = path.resolve(values.dir);
  const shown = `: \`loom up${values.dir === '.loom' ? '' : ` --dir ${values.dir}`}\` shows them`;
  const state = await readState(dir);
  const running = process.env['DATABASE_URL'] ?? (state?.pid ? state.databaseUrl : undefined);
  const services = await startLocalServices({
    dir,
    log: console.log,
    databaseUrl: running,
    redisUrl: 'redis://not-needed',
  });
  try {
    await migrate(services.databaseUrl);
    const { seconds, ...written } = await seed(services.databaseUrl, options);
    console.log(
      `${written.runs.toLocaleString('en')} runs, ${written.points.toLocaleString('en')} points of metrics and ` +
        `${written.sweeps.toLocaleString('en')} sweeps in ${seconds.toFixed(0)} s${running ? '' : shown}`,
    );
  } finally {
    await services.stop();
  }
}

if (import.meta.main) {
  await main(process.argv.slice(2)).catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 2;
  });
}
