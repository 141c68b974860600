import { faultsOf, Labels } from '#libs/contracts';
import path from 'node:path';
import { z } from 'zod';
import { trainerEnvironment } from './trainer-environment.js';

/**
 * Whom trainers of a root worker run as, from this id up. No distribution gives these ids to users, and systemd none to
 * services (its `UIDS-GIDS`).
 */
export const FIRST_TRAINER_UID = 60_700;

const milliseconds = z.coerce
  .number()
  .int()
  .min(10)
  .max(24 * 3600 * 1000);
const postgres = z.url({
  protocol: /^postgres(ql)?$/,
  error: 'expected a URL such as postgresql://user:password@host:5432/database',
});
const days = z.coerce.number().int().min(0).max(36_500);
/** Items separated by commas. */
const list = z
  .string()
  .default('')
  .transform((text) =>
    text
      .split(',')
      .map((item) => item.trim())
      .filter(Boolean),
  );
const count = z.coerce.number().int().min(1).max(1_000_000);
const folder = z
  .string()
  .min(1)
  .transform((dir) => path.resolve(dir));

const Environment = z
  .object({
    DATABASE_URL: postgres,
    /** Past a pooler by transaction: for the leader's lock, LISTEN and migrations. */
    DATABASE_DIRECT_URL: z.preprocess((url) => url || undefined, postgres.optional()),
    REDIS_URL: z.url({ protocol: /^rediss?$/, error: 'expected a URL such as redis://host:6379' }),
    LOOM_HOST: z.string().min(1).default('127.0.0.1'),
    /** Port of the API; 0 takes a free one. */
    LOOM_PORT: z.coerce.number().int().min(0).max(65_535).default(3000),
    /** Origins other than its own from which browsers may change things, separated by commas. */
    LOOM_ALLOWED_ORIGINS: list,
    /** URLs by which it is reached, separated by commas: of a proxy, of a container's service. */
    LOOM_PUBLIC_URL: list.pipe(
      z.array(z.url({ protocol: /^https?$/, error: 'expected URLs such as https://loom.example.org' })),
    ),
    /** Addresses or networks of proxies whose X-Forwarded-For says who asks, separated by commas. */
    LOOM_TRUSTED_PROXIES: list,
    /** So many requests, and streams, of one client (an address) may be under way; the others get 429. */
    LOOM_CLIENT_REQUESTS: count.default(256),
    LOOM_CLIENT_STREAMS: count.default(256),
    /** A stream that is as old as this ends; its client takes it up again where it was. */
    LOOM_STREAM_SECONDS: z.coerce
      .number()
      .min(1)
      .max(7 * 24 * 3600)
      .default(3600),
    /** A request waits so long behind others of its client, then it gets 429. */
    LOOM_CLIENT_WAIT_MS: milliseconds.default(2000),
    /** So many requests, and streams, of all clients may be under way; the others get 503. */
    LOOM_MOST_REQUESTS: count.default(2000),
    LOOM_MOST_STREAMS: count.default(4000),
    /** A request whose headers and body have not come by then is closed. */
    LOOM_REQUEST_TIMEOUT_MS: milliseconds.default(30_000),
    /** Largest file that a program may add to a run. */
    LOOM_LARGEST_UPLOAD_MIB: count.default(256),
    LOOM_ARTIFACTS_DIR: folder.prefault('.loom/artifacts'),
    /** The only folder that `prepare-dataset` may read. */
    LOOM_DATA_ROOT: folder.prefault('.'),
    LOOM_WEB_DIR: folder.prefault('web-dist'),
    LOOM_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
    LOOM_QUEUE: z
      .string()
      .regex(/^[A-Za-z0-9_-]{1,64}$/, 'expected 1 to 64 letters, digits, _ or -')
      .default('loom-runs'),
    /**
     * How many runs may be in Redis that no worker has taken; `auto`: one for each free slot, and as many as workers
     * took in the last second.
     */
    LOOM_WINDOW: z
      .union(
        [z.literal('auto'), z.coerce.number().int().min(1).max(1_000_000)],
        'expected auto, or a number from 1 to 1000000',
      )
      .default('auto'),
    LOOM_HEARTBEAT_MS: milliseconds.default(10_000),
    /** How long a run stays with a worker that is silent. */
    LOOM_LEASE_MS: milliseconds.default(45_000),
    LOOM_RECONCILE_MS: milliseconds.default(15_000),
    /** A connection to Postgres or Redis that is silent for so long in the middle of something is given up. */
    LOOM_NETWORK_TIMEOUT_MS: milliseconds.default(20_000),
    /** A worker whose artifact folder has less free space takes no runs. */
    LOOM_MIN_FREE_MIB: z.coerce
      .number()
      .int()
      .min(0)
      .max(2 ** 30)
      .default(256),
    /** How long a file of the artifact store may be there without a row that names it. */
    LOOM_COLLECT_GRACE_SECONDS: z.coerce
      .number()
      .min(1)
      .max(365 * 24 * 3600)
      .default(24 * 3600),
    /** How long workers that have gone stay in the list; 0: for ever. */
    LOOM_KEEP_WORKERS_DAYS: days.default(7),
    /** How long a submit can be repeated with the same Idempotency-Key; 0: for ever. */
    LOOM_KEEP_KEYS_DAYS: days.default(30),
    /** How long events of a run stay after its end, other than those that tell its statuses; 0: for ever. */
    LOOM_KEEP_EVENTS_DAYS: days.default(365),
    /** How long log lines of a run stay after its end; 0: for ever. */
    LOOM_KEEP_LOGS_DAYS: days.default(365),
    LOOM_CHECKPOINT_SECONDS: z.coerce
      .number()
      .min(0.1)
      .max(24 * 3600)
      .default(60),
    /** A run that is cancelled and goes on for so long is killed. */
    LOOM_CANCEL_GRACE_MS: milliseconds.default(20_000),
    /** A run that makes no progress for so long is killed as hung. */
    LOOM_HUNG_MS: milliseconds.default(15 * 60_000),
    LOOM_WORKER_NAME: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/)
      .optional(),
    /** Labels of this worker that runs may ask for, such as `gpu=a100,zone=b`. */
    LOOM_WORKER_LABELS: z
      .string()
      .default('')
      .transform((text) =>
        Object.fromEntries(
          text
            .split(',')
            .map((label) => label.trim())
            .filter(Boolean)
            .map((label) => {
              const [key = '', ...value] = label.split('=');
              return [key, value.join('=')];
            }),
        ),
      )
      .pipe(Labels),
    /** Runs that a worker takes at once; unless set one for each GPU, or one. */
    LOOM_SLOTS: z.coerce.number().int().min(1).max(64).optional(),
    /** Threads of a trainer's native operations; all cores unless set. */
    LOOM_TRAINER_THREADS: z.coerce.number().int().min(1).max(1024).optional(),
    /** Whether evaluations run beside the steps after them. */
    LOOM_OVERLAP_EVALUATION: z.enum(['true', 'false']).default('false'),
    /**
     * Whom trainers run as where the worker is root: from this id up, one for each slot; `none`: as the worker. Unset:
     * from 60700 up where that is possible.
     */
    LOOM_TRAINER_UID: z
      .union(
        [
          z.literal('none'),
          z.coerce
            .number()
            .int()
            .min(1)
            .max(2 ** 31),
        ],
        'expected none, or the number of a user',
      )
      .optional(),
    /** Variables that trainers are given besides those that they need, separated by commas; `A_*`: all such. */
    LOOM_TRAINER_ENVIRONMENT: list,
    /**
     * A Node program that workers start in the place of their trainer and that speaks its protocol
     * (`trainer-protocol.ts`): for tests and benches.
     */
    LOOM_TRAINER: folder.optional(),
  })
  .refine((env) => env.LOOM_LEASE_MS >= 3 * env.LOOM_HEARTBEAT_MS, {
    path: ['LOOM_LEASE_MS'],
    message: 'expected at least three times LOOM_HEARTBEAT_MS, so that one lost heartbeat does not cost the run',
  })
  .refine((env) => env.LOOM_COLLECT_GRACE_SECONDS * 1000 >= env.LOOM_LEASE_MS, {
    path: ['LOOM_COLLECT_GRACE_SECONDS'],
    message: 'expected at least LOOM_LEASE_MS, for which a worker may take to write the row of a file',
  })
  .transform((env) => ({
    databaseUrl: env.DATABASE_URL,
    databaseDirectUrl: env.DATABASE_DIRECT_URL,
    redisUrl: env.REDIS_URL,
    host: env.LOOM_HOST,
    port: env.LOOM_PORT,
    allowedOrigins: env.LOOM_ALLOWED_ORIGINS,
    publicHosts: env.LOOM_PUBLIC_URL.map((url) => new URL(url).hostname),
    trustedProxies: env.LOOM_TRUSTED_PROXIES,
    clientRequests: env.LOOM_CLIENT_REQUESTS,
    clientStreams: env.LOOM_CLIENT_STREAMS,
    streamMs: 1000 * env.LOOM_STREAM_SECONDS,
    clientWaitMs: env.LOOM_CLIENT_WAIT_MS,
    mostRequests: env.LOOM_MOST_REQUESTS,
    mostStreams: env.LOOM_MOST_STREAMS,
    requestTimeoutMs: env.LOOM_REQUEST_TIMEOUT_MS,
    largestUploadBytes: env.LOOM_LARGEST_UPLOAD_MIB * 2 ** 20,
    artifactsDir: env.LOOM_ARTIFACTS_DIR,
    dataRoot: env.LOOM_DATA_ROOT,
    webDir: env.LOOM_WEB_DIR,
    logLevel: env.LOOM_LOG_LEVEL,
    queueName: env.LOOM_QUEUE,
    window: env.LOOM_WINDOW,
    heartbeatMs: env.LOOM_HEARTBEAT_MS,
    leaseMs: env.LOOM_LEASE_MS,
    reconcileMs: env.LOOM_RECONCILE_MS,
    networkTimeoutMs: env.LOOM_NETWORK_TIMEOUT_MS,
    minFreeBytes: env.LOOM_MIN_FREE_MIB * 2 ** 20,
    collectGraceSeconds: env.LOOM_COLLECT_GRACE_SECONDS,
    keepWorkersDays: env.LOOM_KEEP_WORKERS_DAYS,
    keepKeysDays: env.LOOM_KEEP_KEYS_DAYS,
    keepEventsDays: env.LOOM_KEEP_EVENTS_DAYS,
    keepLogsDays: env.LOOM_KEEP_LOGS_DAYS,
    checkpointSeconds: env.LOOM_CHECKPOINT_SECONDS,
    cancelGraceMs: env.LOOM_CANCEL_GRACE_MS,
    hungMs: env.LOOM_HUNG_MS,
    workerName: env.LOOM_WORKER_NAME,
    workerLabels: env.LOOM_WORKER_LABELS,
    slots: env.LOOM_SLOTS,
    trainerThreads: env.LOOM_TRAINER_THREADS,
    overlapsEvaluation: env.LOOM_OVERLAP_EVALUATION === 'true',
    trainerProgram: env.LOOM_TRAINER,
    trainerUid: env.LOOM_TRAINER_UID,
    trainerVariables: env.LOOM_TRAINER_ENVIRONMENT,
  }));

export type Env = Omit<z.output<typeof Environment>, 'trainerVariables'> & {
  /** What a trainer process inherits: what it needs, and not the ways to Postgres and Redis. */
  trainerEnvironment: NodeJS.ProcessEnv;
};

/**
 * The configuration of a process, checked: one place reads the environment, and a wrong value stops the start with its
 * name.
 * @throws Error that names each variable at fault, what was expected and what came.
 */
export function loadEnv(source: NodeJS.ProcessEnv = process.env): Env {
  const parsed = Environment.safeParse(source);
  if (parsed.success) {
    const { trainerVariables, ...env } = parsed.data;
    return { ...env, trainerEnvironment: trainerEnvironment(source, trainerVariables) };
  }
  const faults = parsed.error.issues.map((issue) => {
    const name = String(issue.path[0]);
    if (source[name] === undefined) return `  ${name}: not set; ${issue.message}`;
    // URLs have passwords in them, which no log is to show.
    const told = name.startsWith('LOOM_')
      ? faultsOf({ ...issue, input: source[name] } as z.core.$ZodIssue)[0]!.message
      : issue.message;
    return `  ${name}: ${told}`;
  });
  throw new Error(`The environment is not valid:\n${faults.join('\n')}`);
}

/** `loadEnv` at the start of a program: what is wrong is said without a stack, and ends it with 1. */
export function loadEnvOrExit(): Env {
  try {
    return loadEnv();
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exit(1);
  }
}
