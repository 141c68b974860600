import { WaitingError, type Job, type Queue, type QueueOptions, type WorkerOptions } from 'bullmq';
import { Redis } from 'ioredis';
import { setTimeout as delay } from 'node:timers/promises';
import { isUnavailable } from '../machine/database.js';
import type { Env } from '../machine/env.js';

/** Redis carries ids, nothing else. */
export interface RunJob {
  runId: string;
  attempt: number;
}

type Connection = Pick<Env, 'redisUrl' | 'queueName' | 'networkTimeoutMs'>;
/** The queue as BullMQ has it, and a job that a consumer was handed. */
export type JobQueue = Queue<RunJob>;
export type QueuedJob = Job<RunJob>;

const jobId = ({ runId, attempt }: RunJob) => `run_${runId}_a${attempt}`;

/** Where BullMQ has jobs of which a worker will be given each, in its turn. */
const LISTS = ['wait', 'paused', 'active'] as const;
const SETS = ['prioritized', 'delayed'] as const;

const LONGEST_READ_MS = 12_000;
/** Pause before a Redis that was away is asked again what it is. */
const ASK_AGAIN_MS = 1000;

/** What REDIS_URL names is no Redis that a queue can be kept in; the message says what is expected. */
export class UnsuitableRedisError extends Error {
  constructor(mode: string) {
    const found =
      mode === 'sentinel'
        ? 'a Sentinel, which knows where a Redis is and keeps nothing: name the Redis itself, by an address that ' +
          'follows a failover (a proxy, a service or a DNS name of the primary)'
        : `one in ${mode} mode, whose nodes each keep a part of the keys: name a Redis that is on its own, or a ` +
          'primary with replicas. Redis carries ids alone, so that a small one does for any number of runs';
    super(`expected REDIS_URL to name a Redis that keeps all keys (redis_mode standalone), got ${found}`);
    this.name = new.target.name;
  }
}

/**
 * How the queue is opened by those who put jobs into it. It makes a connection, which `RunQueue.close` ends. A Redis
 * that is away or frozen costs a caller five seconds at most; a connection with nobody at its other end is made anew.
 */
export function queueOptions(env: Connection) {
  const connection = new Redis(env.redisUrl, {
    maxRetriesPerRequest: 1,
    commandTimeout: 5000,
    socketTimeout: env.networkTimeoutMs,
  });
  // Every command reports its own failure to its caller; without a listener the connection's would end the process.
  connection.on('error', () => undefined);
  return {
    name: env.queueName,
    connection,
    defaultJobOptions: { attempts: 1, removeOnComplete: true, removeOnFail: true },
  } satisfies QueueOptions & { name: string };
}

/** How those who take jobs out of the queue are connected to it. They begin when they are told to. */
export function consumerOptions(env: Connection) {
  return {
    // Its longest read blocks for ten seconds: one that is not answered for longer has nobody at the other end.
    connection: {
      url: env.redisUrl,
      maxRetriesPerRequest: null,
      socketTimeout: Math.max(env.networkTimeoutMs, LONGEST_READ_MS),
    },
    autorun: false,
    removeOnComplete: { count: 0 },
    removeOnFail: { count: 0 },
    // A job whose worker fell silent goes back as often as it takes: the claim in Postgres decides what is done with
    // it.
    maxStalledCount: 1_000_000,
  } satisfies WorkerOptions;
}

/**
 * Processes a job. It ends when `process` does, whatever came of the run: success, failure and repetition are matters
 * of Postgres. Where that did not answer, the job is another worker's at once.
 */
export async function attend(
  job: QueuedJob,
  token: string | undefined,
  process: (job: RunJob) => Promise<void>,
): Promise<void> {
  try {
    await process(job.data);
  } catch (error) {
    if (!isUnavailable(error)) throw error;
    await job.moveToWait(token);
    throw new WaitingError();
  }
}

/** The transport. It may lose everything at any time: Postgres knows what has to be in it. */
export class RunQueue {
  private readonly redis: Redis;

  /** @param queue one that was opened with `queueOptions` */
  constructor(private readonly queue: JobQueue) {
    this.redis = queue.opts.connection as Redis;
    this.queue.on('error', () => undefined);
  }

  /**
   * Adds a job for each, to be handed out in this order; one that is there already is left as it is. Rejects when Redis
   * does not answer.
   */
  async add(jobs: readonly RunJob[]): Promise<void> {
    await this.queue.addBulk(
      jobs.map(({ runId, attempt }) => ({
        name: 'run',
        data: { runId, attempt },
        opts: { jobId: jobId({ runId, attempt }) },
      })),
    );
  }

  /**
   * Those of the given jobs that no worker will be given. A job is in a list, where workers look, and its data are in a
   * hash: Redis can have lost the one and kept the other. What is left of those that are returned is removed, because
   * BullMQ adds no job whose hash is there.
   */
  async missing<T extends RunJob>(jobs: readonly T[]): Promise<T[]> {
    if (jobs.length === 0) return [];
    const keysOf = (job: RunJob) => [this.queue.toKey(jobId(job)), `${this.queue.toKey(jobId(job))}:lock`];
    // As of one moment: a job that a worker takes meanwhile moves from one list to another.
    const asked = this.redis.multi();
    for (const list of LISTS) asked.lrange(this.queue.toKey(list), 0, -1);
    for (const set of SETS) asked.zrange(this.queue.toKey(set), '0', '-1');
    for (const job of jobs) asked.exists(keysOf(job)[0]!);
    const replies = ((await asked.exec()) ?? []).map(([error, reply]) => {
      if (error) throw error;
      return reply;
    });
    const places = LISTS.length + SETS.length;
    const listed = new Set((replies.slice(0, places) as string[][]).flat());
    const missing = jobs.filter((job, i) => !listed.has(jobId(job)) || replies[places + i] === 0);
    if (missing.length) await this.redis.del(...missing.flatMap(keysOf));
    return missing;
  }

  async counts(): Promise<Record<string, number>> {
    return this.queue.getJobCounts('wait', 'active', 'delayed');
  }

  /** Forgets every job. The reconciler brings back those of runs that wait. */
  async clear(): Promise<void> {
    await this.queue.obliterate({ force: true });
  }

  /**
   * Resolves when Redis has said that it keeps all keys by itself; while it is away it is asked again.
   * @throws UnsuitableRedisError for a node of a cluster and for a Sentinel
   */
  async requireStandalone(signal?: AbortSignal): Promise<void> {
    for (; !signal?.aborted; await delay(ASK_AGAIN_MS, undefined, { ref: false })) {
      const info = await this.redis.info('server').catch(() => undefined);
      const mode = /^redis_mode:(\w+)/m.exec(info ?? '')?.[1];
      if (mode !== undefined && mode !== 'standalone') throw new UnsuitableRedisError(mode);
      if (info !== undefined) return;
    }
  }

  async ping(): Promise<void> {
    await this.redis.ping();
  }

  async close(): Promise<void> {
    await this.queue.close();
    this.redis.disconnect();
  }
}
