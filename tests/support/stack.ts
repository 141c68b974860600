import { ApiError, LoomClient, type Run, type RunSpec, type SubmitRun } from '#libs/contracts';
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, inject } from 'vitest';
import type { z } from 'zod';
import { freshDatabase } from './database.js';
import { eventually } from './eventually.js';
import { freePort, startApp, type Started } from './processes.js';

type Environment = Record<string, string>;
export interface ApiProcess extends Started {
  url: string;
  client: LoomClient;
}
export type Stack = Awaited<ReturnType<typeof startStack>>;

/** Production's rules at a test's pace. */
const PACE = {
  LOOM_HEARTBEAT_MS: '200',
  LOOM_LEASE_MS: '1500',
  LOOM_RECONCILE_MS: '300',
  LOOM_CANCEL_GRACE_MS: '10000',
  LOOM_TRAINER_THREADS: '1',
  LOOM_TRAINER_ENVIRONMENT: 'TEST_*,FAKETIME*',
};

/** What operators get who set nothing, but for checkpoints, of which a test can't wait half a minute. */
export const PRODUCTION = {
  LOOM_HEARTBEAT_MS: '10000',
  LOOM_LEASE_MS: '45000',
  LOOM_RECONCILE_MS: '15000',
  LOOM_CHECKPOINT_SECONDS: '1',
};

/**
 * An empty database, a folder of its own (`dir`, with `dir/data` as the data root) and an API that is ready; workers
 * are started by the test. What `environment` says overrides what is said here, such as REDIS_URL or LOOM_LEASE_MS, for
 * every process; each process may be given more, and be started `through` another command (`['faketime', '+1h']`),
 * which has to become it or pass signals on.
 */
export async function startStack({ environment: given = {} }: { environment?: Environment } = {}) {
  const dir = await mkdtemp(path.join(tmpdir(), 'loom-stack-'));
  const dataRoot = path.join(dir, 'data');
  await mkdir(dataRoot);
  const database = await freshDatabase();
  const environment: Environment = {
    DATABASE_URL: database.url,
    REDIS_URL: inject('redisUrl'),
    LOOM_QUEUE: `test-${randomUUID()}`,
    LOOM_LOG_LEVEL: 'info',
    LOOM_ARTIFACTS_DIR: path.join(dir, 'artifacts'),
    LOOM_DATA_ROOT: dataRoot,
    ...PACE,
    ...given,
  };
  const apis: ApiProcess[] = [];
  const workers: Started[] = [];
  const outputs = () => workers.map((worker) => worker.output()).join('\n');

  /** One more API on a port of its own, ready unless it is not to be waited for. */
  async function startApi(
    more: Environment = {},
    through: readonly string[] = [],
    { waits = true } = {},
  ): Promise<ApiProcess> {
    const port = more['LOOM_PORT'] ?? String(await freePort());
    const url = `http://127.0.0.1:${port}`;
    const api = {
      url,
      ...startApp('api', { ...environment, ...more, LOOM_PORT: port }, through),
      client: new LoomClient({ url }),
    };
    apis.push(api);
    if (waits)
      await eventually(
        async () => {
          if (!(await api.client.ready())) throw new Error(`the API is not ready: ${api.output()}`);
        },
        { timeoutMs: 60_000 },
      );
    return api;
  }

  function startWorker(more: Environment = {}, through: readonly string[] = []): Started {
    const worker = startApp('worker', { ...environment, ...more }, through);
    workers.push(worker);
    return worker;
  }

  const killWorkers = async (): Promise<void> => {
    await Promise.all(workers.splice(0).map((worker) => worker.kill('SIGKILL')));
  };

  /** Ends the workers, and cancels what a test has left, so that the next one has the slots to itself. */
  async function clear(): Promise<void> {
    await killWorkers();
    await apis
      .findLast(({ child }) => child.exitCode === null && child.signalCode === null)
      ?.client.bulkRuns({ action: 'cancel', filter: {} });
  }

  async function stop(): Promise<void> {
    await killWorkers();
    await Promise.all(apis.map((api) => api.kill('SIGTERM')));
    await database.drop();
    await rm(dir, { recursive: true, force: true });
  }

  const api = await startApi().catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  const { client } = api;
  const explain = (run: Run) =>
    `it is ${run.status} (${run.statusReason}) at step ${run.step}: ${run.statusDetail}\n${outputs()}`;

  /** The id of a run of its own, also where there is an equal one. */
  const submit = async (
    spec: z.input<typeof RunSpec>,
    more: Partial<z.input<typeof SubmitRun>> = {},
  ): Promise<string> => (await client.submitRun({ spec, onDuplicate: 'replicate', ...more })).run.id;

  /** Waits for the end of a run; the workers' output explains one that ended otherwise than expected. */
  async function ended(id: string, status: Run['status'] = 'succeeded'): Promise<Run> {
    const run = await client.follow(id, {}, { signal: AbortSignal.timeout(80_000) });
    if (run.status !== status) throw new Error(`expected run ${run.kind} to be ${status}, ${explain(run)}`);
    return run;
  }

  const reaches = (id: string, status: Run['status'], step = 0) =>
    eventually(
      async () => {
        const run = await client.run(id);
        if (run.status !== status || run.step < step)
          throw new Error(`expected run ${run.kind} to be ${status} at step ${step} or later, ${explain(run)}`);
        return run;
      },
      { timeoutMs: 40_000 },
    );
  const runsAt = (id: string, step: number) => reaches(id, 'running', step);

  /** Waits for an attempt of this number or later that has trained beyond the checkpoint it went on from. */
  const goesOnAs = (id: string, attempt: number, timeoutMs = 40_000) =>
    eventually(
      async () => {
        const run = await client.run(id);
        const newest = run.attempts.at(-1);
        // Until its trainer has begun, the step is still that of the attempt before.
        const trains =
          run.attempt >= attempt &&
          run.status === 'running' &&
          newest !== undefined &&
          newest.trainerPid !== null &&
          run.step > newest.resumedFromStep;
        if (!trains) throw new Error(`expected attempt ${attempt} of run ${run.kind} to train, ${explain(run)}`);
        return run;
      },
      { timeoutMs },
    );

  return {
    dir,
    dataRoot,
    database,
    environment,
    api,
    client,
    workers,
    startApi,
    startWorker,
    clear,
    killWorkers,
    submit,
    ended,
    reaches,
    runsAt,
    goesOnAs,
    explain,
    stop,
  };
}

/** What the API says against a request; fails where it says nothing. */
export async function refusal(call: Promise<unknown>): Promise<ApiError> {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(ApiError);
  return error as ApiError;
}
