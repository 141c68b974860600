import { attend, consumerOptions, type Env, type Logger, type QueuedJob, type RunJob } from '#libs/platform';
import { OnWorkerEvent, Processor, WorkerHost } from '@nestjs/bullmq';
import type { Type } from '@nestjs/common';

/**
 * Takes runs from the queue, from when it is told to. Nest opens its connection when the application starts and closes
 * it when that ends.
 */
export abstract class RunConsumer extends WorkerHost {
  private attendTo: ((job: RunJob) => Promise<void>) | undefined;

  constructor(private readonly log: Logger) {
    super();
  }

  /**
   * Calls `attendTo` for each job from here on, at most `slots` at a time. Resolves when the consumer is closed or
   * paused.
   */
  async take(slots: number, attendTo: (job: RunJob) => Promise<void>): Promise<void> {
    this.attendTo = attendTo;
    this.worker.concurrency = slots;
    await this.worker.run();
  }

  /** Takes nothing more for now. Jobs that were taken go on. */
  pause(): void {
    if (this.attendTo && !this.worker.isPaused()) void this.worker.pause(true);
  }

  resume(): void {
    if (this.attendTo && this.worker.isPaused()) this.worker.resume().catch((error: unknown) => this.ended(error));
  }

  /** Takes nothing more. Resolves when the jobs that were taken have ended. */
  async close(): Promise<void> {
    await this.worker.close();
  }

  process(job: QueuedJob, token?: string): Promise<void> {
    return attend(job, token, this.attendTo!);
  }

  @OnWorkerEvent('error')
  unanswered(error: Error): void {
    this.log.warn({ err: error }, 'the queue does not answer');
  }

  private ended(error: unknown): void {
    this.log.error({ err: error }, 'the queue consumer has ended');
  }
}

/** The consumer of the queue that the environment names. */
export function consumerOf(env: Env): Type<RunConsumer> {
  @Processor(env.queueName, consumerOptions(env))
  class Consumer extends RunConsumer {}
  return Consumer;
}
