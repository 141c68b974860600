import type { Channel, Database } from '#libs/platform';
import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';

/**
 * Told of a run that has changed, and without an id where it is not known which: runs have come (`outbox`), or the
 * connection is new and what was sent before is lost.
 */
export type Heard = (runId: string, channel: Channel) => void;

/** One connection to Postgres listens for changes of all runs, for all who follow any. */
@Injectable()
export class RunChanges implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly hearers: Heard[] = [];
  private listener: { close(): Promise<void> } | undefined;

  constructor(private readonly database: Database) {}

  tell(heard: Heard): void {
    this.hearers.push(heard);
  }

  onApplicationBootstrap(): void {
    this.listener = this.database.listen(['run_changed', 'outbox'], (channel, runId) => {
      for (const heard of this.hearers) heard(runId, channel);
    });
  }

  async onApplicationShutdown(): Promise<void> {
    await this.listener?.close();
  }
}
