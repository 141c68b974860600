/**
 * Rows of metrics a second: as a worker writes them, and through the API, against MLflow's `log_batch` on the same
 * Postgres, in turns. Each takes the largest batches that it takes.
 */
import { SubmitRun, type MetricPoint } from '#libs/contracts';
import { Database, Runs, type Token } from '#libs/platform';
import { MetricBuffer } from '../apps/worker/src/metric-buffer.js';
import { median, Peer } from './peer.js';
import type { Measure } from './services.js';

const KEYS = [
  'train/loss',
  'train/accuracy',
  'train/learning_rate',
  'train/alignment',
  'train/uniformity',
  'collapse/std',
  'collapse/rank',
  'train/gradient_norm',
  'time/step_ms',
  'time/data_ms',
];
/** What a flush of a worker holds at most, what one request may, and what MLflow's `log_batch` may. */
const BATCH = { worker: 5000, api: 10_000, peer: 1000 };

function* batches(rows: number, size: number): Generator<MetricPoint[]> {
  for (let step = 0; step < rows / KEYS.length; step += size / KEYS.length)
    yield Array.from({ length: size }, (_, i) => ({
      key: KEYS[i % KEYS.length]!,
      step: step + Math.floor(i / KEYS.length),
      value: 1 / (1 + step + i),
    }));
}

/** A new run that a worker has begun. */
async function begin(runs: Runs, name: string): Promise<Token> {
  const { runId } = await runs.submission.submitRun(
    SubmitRun.parse({ spec: { kind: 'prepare-dataset', name, path: 'nowhere' }, onDuplicate: 'replicate' }),
  );
  const token = await runs.claims.claim({ runId, attempt: 1 }, 'bench');
  if (!token) throw new Error('expected to be given the run');
  await runs.recorder.begin(token, null, process.pid);
  return token;
}

/** Rows a second at which `work` writes `rows` rows. */
async function timed(rows: number, work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return rows / ((performance.now() - started) / 1000);
}

export const measureIngest: Measure = async (bench, { quick }) => {
  const stack = await bench.stack('ingest', { workers: 0 });
  const database = new Database(stack.state.databaseUrl);
  const runs = new Runs(database, { dataRoot: '/', leaseMs: 3_600_000 });
  const peer = Peer.start('mlflow_peer.py', 1, 'requirements-mlflow.txt');
  const rates: Record<'worker' | 'api' | 'peer', number[]> = { worker: [], api: [], peer: [] };
  const rows = quick ? 100_000 : 300_000;
  try {
    const { mlflow } = await peer.request<{ mlflow: string }>({
      command: 'start',
      url: await bench.database('mlflow_ingest'),
    });
    await peer.request({ command: 'log', rows: BATCH.peer, batch: BATCH.peer, keys: KEYS });
    for (let round = 0; round < (quick ? 2 : 5); round++) {
      const [first, second] = [await begin(runs, `ingest-${2 * round}`), await begin(runs, `ingest-${2 * round + 1}`)];
      const buffer = new MetricBuffer(BATCH.worker);
      rates.worker.push(
        await timed(rows, async () => {
          for (const batch of batches(rows, BATCH.worker)) {
            buffer.add(batch);
            await runs.recorder.record(first, {
              points: buffer.take().points,
              step: { step: batch.at(-1)!.step, totalSteps: rows },
            });
          }
        }),
      );
      rates.api.push(
        await timed(rows, async () => {
          for (const points of batches(rows, BATCH.api))
            await stack.client.recordMetrics(second.runId, { attempt: second.attempt, points });
        }),
      );
      const theirs = rows / 10;
      rates.peer.push(
        theirs /
          (await peer.request<{ seconds: number }>({ command: 'log', rows: theirs, batch: BATCH.peer, keys: KEYS }))
            .seconds,
      );
      for (const { runId } of [first, second]) {
        const written = await database.prisma.metric.count({ where: { runId } });
        if (written !== rows) throw new Error(`expected ${rows} rows of run ${runId}, got ${written}`);
      }
      console.log(
        `ingest, round ${round + 1}: worker ${rates.worker.at(-1)!.toFixed(0)}, API ` +
          `${rates.api.at(-1)!.toFixed(0)}, MLflow ${rates.peer.at(-1)!.toFixed(0)} rows a second`,
      );
    }
    const [worker, api, theirs] = [median(rates.worker), median(rates.api), median(rates.peer)];
    // The slower of our two ways counts.
    const ours = Math.min(worker, api);
    return {
      ours,
      peer: theirs,
      unit: 'rows of metrics a second',
      ratio: ours / theirs,
      worker: { ours: worker, ratio: worker / theirs },
      api: { ours: api, ratio: api / theirs },
      rounds: rates,
      versions: { mlflow },
    };
  } finally {
    peer.stop();
    await database.close();
    await stack.stop();
  }
};
