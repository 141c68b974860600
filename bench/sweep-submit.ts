/**
 * A sweep of 10,000 trials, from the request to its trials and runs in Postgres, against Optuna, which keeps trials in
 * Postgres too, on the same server; and against what Postgres needs to write the same rows. Optuna is taken at its
 * best: `enqueue_trial` lays trials out at a rate that does not fall as they grow more, which `ask` does.
 */
import { DatasetManifest, SubmitRun, type LoomClient } from '#libs/contracts';
import { Database, Runs } from '#libs/platform';
import pg from 'pg';
import { median, Peer } from './peer.js';
import type { Measure } from './services.js';

const TRIALS = 10_000;
/** Of which Optuna makes so many a round. */
const ENQUEUED = 2000;
const ASKED = 200;
const ROWS = ['run', 'run_event', 'outbox', 'trial', 'trial_run'] as const;

const arrays = (perClass: number) => ({
  count: 10 * perClass,
  countPerClass: Array.from({ length: 10 }, () => perClass),
  samples: 'a'.repeat(64),
  labels: 'b'.repeat(64),
});
const DATASET = DatasetManifest.parse({
  name: 'known',
  digest: 'd'.repeat(64),
  sample: { modality: 'image', height: 32, width: 32, channels: 3 },
  classes: Array.from({ length: 10 }, (_, i) => `class ${i}`),
  splits: { train: arrays(5000), val: arrays(500), test: arrays(500) },
});

/** Makes a dataset known by a run that is said to have prepared it: nothing is trained here. */
async function knowDataset(url: string): Promise<void> {
  const database = new Database(url);
  try {
    const platform = new Runs(database, { dataRoot: '/', leaseMs: 60_000 });
    const { runId } = await platform.submission.submitRun(
      SubmitRun.parse({ spec: { kind: 'prepare-dataset', name: DATASET.name, path: DATASET.name } }),
    );
    const claimed = await platform.claims.claim({ runId, attempt: 1 }, 'bench');
    if (!claimed) throw new Error('expected to be given the run that prepares the dataset');
    await platform.leases.succeed(claimed, { metrics: {}, dataset: DATASET });
  } finally {
    await database.close();
  }
}

/** Seconds from the request to the answer, by which all is in Postgres: it is looked up there. */
async function submit(client: LoomClient, url: string, round: number): Promise<number> {
  const side = Math.sqrt(TRIALS);
  const values = (of: (i: number) => number) => ({ values: Array.from({ length: side }, (_, i) => of(i)) });
  const started = performance.now();
  const { sweep } = await client.submitSweep({
    spec: {
      name: `round-${round}`,
      metric: { name: 'eval/knn' },
      parameters: {
        'pretrain.temperature': values((i) => (i + 1) / side),
        'pretrain.seed': values((i) => round * side + i),
      },
      stages: { pretrain: { kind: 'pretrain', dataset: DATASET.name, batchSize: 256, epochs: 10 } },
    },
  });
  const seconds = (performance.now() - started) / 1000;
  const [counts] = await query<{ runs: number; trials: number }>(
    url,
    'SELECT count(*)::int AS trials, count(DISTINCT run_id)::int AS runs FROM trial_run JOIN run ON run.id = ' +
      `run_id WHERE sweep_id = '${sweep.id}'`,
  );
  if (counts?.runs !== TRIALS || counts.trials !== TRIALS)
    throw new Error(`expected ${TRIALS} trials and as many runs in Postgres, got ${JSON.stringify(counts)}`);
  return seconds;
}

async function query<Row extends pg.QueryResultRow>(url: string, sql: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Row>(sql)).rows;
  } finally {
    await client.end();
  }
}

/**
 * Seconds that Postgres takes to write the rows of one sweep into tables that are like ours, indexes and foreign keys
 * included, in one transaction.
 */
async function floor(url: string): Promise<number> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query('DROP SCHEMA IF EXISTS floor CASCADE');
    await client.query('CREATE SCHEMA floor');
    const {
      rows: [sweep],
    } = await client.query<{ id: string }>('SELECT id FROM sweep ORDER BY created_at DESC LIMIT 1');
    const of = { run: 'id', run_event: 'run_id', outbox: 'run_id', trial: 'sweep_id', trial_run: 'sweep_id' } as const;
    for (const table of ROWS) {
      await client.query(`CREATE TABLE floor.${table} (LIKE public.${table} INCLUDING ALL)`);
      const ids =
        of[table] === 'sweep_id'
          ? `= '${sweep!.id}'`
          : `IN (SELECT run_id FROM public.trial_run WHERE sweep_id = '${sweep!.id}')`;
      await client.query(`CREATE TEMP TABLE some_${table} AS SELECT * FROM public.${table} WHERE ${of[table]} ${ids}`);
    }
    for (const table of ['run_event', 'outbox', 'trial_run'])
      await client.query(`ALTER TABLE floor.${table} ADD FOREIGN KEY (run_id) REFERENCES floor.run (id)`);
    await client.query(
      'ALTER TABLE floor.trial_run ADD FOREIGN KEY (sweep_id, index) REFERENCES floor.trial (sweep_id, index)',
    );
    const started = performance.now();
    await client.query('BEGIN');
    for (const table of ROWS) await client.query(`INSERT INTO floor.${table} SELECT * FROM some_${table}`);
    await client.query('COMMIT');
    return (performance.now() - started) / 1000;
  } finally {
    await client.end();
  }
}

export const measureSubmit: Measure = async (bench, { quick }) => {
  const stack = await bench.stack('submit', { workers: 0 });
  const { databaseUrl } = stack.state;
  await knowDataset(databaseUrl);
  const peer = Peer.start('optuna_peer.py', 1, 'requirements-optuna.txt');
  try {
    const { optuna } = await peer.request<{ optuna: string }>({
      command: 'start',
      url: await bench.database('optuna'),
    });
    const rounds: Record<'ours' | 'peer' | 'floor', number[]> = { ours: [], peer: [], floor: [] };
    const asked: number[] = [];
    for (let round = 0; round < (quick ? 1 : 5); round++) {
      rounds.ours.push(await submit(stack.client, databaseUrl, round));
      rounds.floor.push(await floor(databaseUrl));
      const count = quick ? ENQUEUED / 10 : ENQUEUED;
      rounds.peer.push(
        ((await peer.request<{ seconds: number }>({ command: 'enqueue', count })).seconds * TRIALS) / count,
      );
      asked.push(((await peer.request<{ seconds: number }>({ command: 'ask', count: ASKED })).seconds * 1000) / ASKED);
      console.log(
        `submit, round ${round + 1}: ours ${rounds.ours.at(-1)!.toFixed(2)} s, the same rows in Postgres alone ` +
          `${rounds.floor.at(-1)!.toFixed(2)} s, Optuna ${rounds.peer.at(-1)!.toFixed(1)} s by ${count} of ${TRIALS}`,
      );
    }
    const [ours, theirs, alone] = [median(rounds.ours), median(rounds.peer), median(rounds.floor)];
    return {
      ours,
      peer: theirs,
      unit: `seconds for ${TRIALS} trials`,
      ratio: theirs / ours,
      postgresAlone: alone,
      timesPostgresAlone: ours / alone,
      peerAskMs: median(asked),
      rounds,
      versions: { optuna },
    };
  } finally {
    peer.stop();
    await stack.stop();
  }
};
