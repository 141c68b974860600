import { attend, consumerOptions, queueOptions, RunQueue, type Env, type RunJob } from '#libs/platform';
import { Queue, Worker } from 'bullmq';

type Connection = Pick<Env, 'redisUrl' | 'queueName' | 'networkTimeoutMs'>;

/** The queue that the environment names, opened as Nest opens it. */
export function openQueue(env: Connection): RunQueue {
  const { name, ...options } = queueOptions(env);
  return new RunQueue(new Queue(name, options));
}

/** A consumer of that queue, connected as Nest connects it: `run()` has it begin. */
export function consumerOf(
  env: Connection,
  concurrency: number,
  process: (job: RunJob) => Promise<void>,
): Worker<RunJob> {
  const consumer = new Worker<RunJob>(env.queueName, (job, token) => attend(job, token, process), {
    ...consumerOptions(env),
    concurrency,
  });
  consumer.on('error', () => undefined);
  return consumer;
}
