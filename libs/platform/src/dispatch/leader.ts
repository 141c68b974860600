import type { Client } from 'pg';
import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '../machine/database.js';
import type { Logger } from '../machine/logger.js';
import type { RunQueue } from './queue.js';
import type { Retention } from './retention.js';
import type { Runs } from '../runs/runs.js';
import type { ProjectStore } from './projects.js';
import { SweepController } from '../sweeps/steering.js';
import type { Window } from './waiting-line.js';

/** Key of the advisory lock that makes one process the leader: 'loom' in ASCII. */
const LEADER_LOCK = 0x6c_6f_6f_6d;
const DISPATCH_BATCH = 1000;
const TAKEOVER_MS = 1000;
/**
 * The dispatcher is woken by notifications; this is for those that were lost, and for runs that wait for their time.
 */
const POLL_MS = 1000;
/** Pause before a task of the leader that failed is tried again: shorter than its round. */
const RETRY_MS = 1000;
/**
 * The leader says something this often on the connection that holds its lock. Postgres takes the lock from one that is
 * silent for longer than four times this.
 */
const PULSE_MS = 2000;
/**
 * Where runs start and end in quick succession, looks at the line are so far apart at least: what is ready in Redis
 * lasts longer.
 */
const DISPATCH_GAP_MS = 40;
const CHARGE_MS = 2000;
const RETENTION_MS = 3_600_000;
/** A message this young may still be on its way. */
const IN_FLIGHT_MS = 5000;

/** What the reconciler repaired, counted since the process became leader. In a healthy system it stays at zero. */
export interface Repairs {
  redispatched: number;
  recovered: number;
  released: number;
}

interface LeaderOptions {
  database: Database;
  runs: Runs;
  projects: ProjectStore;
  queue: RunQueue;
  retention?: Retention;
  log: Logger;
  reconcileMs: number;
  window?: Window;
}

/**
 * The tasks that one process at a time does for all: dispatching what Postgres has queued into Redis, and reconciling
 * the two. Every API process runs a `Leader`; the one that holds the advisory lock works. It loses the lock with its
 * connection, and another takes over within a second or two. A process that has lost the lock and does not know it yet
 * does no harm, because every task may be repeated.
 */
export class Leader {
  readonly repairs: Repairs = { redispatched: 0, recovered: 0, released: 0 };
  private readonly stopped = new AbortController();
  private running: Promise<void> | undefined;
  private leading = false;

  constructor(private readonly options: LeaderOptions) {}

  get isLeader(): boolean {
    return this.leading;
  }

  start(): void {
    this.running ??= this.campaign();
  }

  async stop(): Promise<void> {
    this.stopped.abort();
    await this.running;
  }

  private async campaign(): Promise<void> {
    const { database, log } = this.options;
    while (!this.stopped.signal.aborted) {
      let client: Client | undefined;
      try {
        client = await database.connect();
        await this.lead(client);
      } catch (error) {
        log.warn({ err: error }, 'leader election failed, trying again');
      } finally {
        this.leading = false;
        await client?.end().catch(() => undefined);
      }
      await this.pause(TAKEOVER_MS);
    }
  }

  /** Waits for the lock, then works until it is lost or the process stops. */
  private async lead(client: Client): Promise<void> {
    const lost = new AbortController();
    client.once('end', () => lost.abort());
    const signal = AbortSignal.any([lost.signal, this.stopped.signal]);
    while (!signal.aborted) {
      const { rows } = await client.query<{ locked: boolean }>('SELECT pg_try_advisory_lock($1::bigint) AS locked', [
        LEADER_LOCK,
      ]);
      if (rows[0]?.locked) break;
      await delay(TAKEOVER_MS, undefined, { signal }).catch(() => undefined);
    }
    if (signal.aborted) return;
    await client.query(`SET idle_session_timeout = ${4 * PULSE_MS}`);
    const pulse = setInterval(() => {
      client.query('SELECT 1').catch(() => lost.abort());
    }, PULSE_MS);
    signal.addEventListener('abort', () => clearInterval(pulse), { once: true });
    this.leading = true;
    this.options.log.info('leading: dispatching and reconciling');
    let wake = () => {};
    let steer = () => {};
    const sweeps = new SweepController(this.options.database, this.options.runs);
    // A run that has ended leaves a slot free: the dispatcher looks at the line, and sweeps are steered.
    const listener = this.options.database.listen(['outbox', 'run_ended'], (channel) => {
      wake();
      if (channel === 'run_ended') steer();
    });
    try {
      await Promise.all([
        this.repeat(
          signal,
          POLL_MS,
          'dispatch',
          () => this.dispatch(),
          (waker) => {
            wake = waker;
          },
          DISPATCH_GAP_MS,
        ),
        this.repeat(signal, RETENTION_MS, 'retention', async () => this.options.retention?.sweep(signal)),
        this.repeat(signal, CHARGE_MS, 'charge projects', () => this.options.projects.charge()),
        this.repeat(signal, this.options.reconcileMs, 'reconcile', () => this.reconcile()),
        this.repeat(
          signal,
          POLL_MS,
          'steer sweeps',
          () => sweeps.tick(),
          (waker) => {
            steer = waker;
          },
        ),
      ]);
    } finally {
      await listener.close();
    }
  }

  /**
   * Does a task, waits until it is due or woken (and `gapMs` have passed since it began), and again. A failure is
   * logged and repeated: Redis or Postgres may be away.
   */
  private async repeat(
    signal: AbortSignal,
    everyMs: number,
    name: string,
    task: () => Promise<unknown>,
    onWaker?: (wake: () => void) => void,
    gapMs = 0,
  ): Promise<void> {
    for (let begun = Number.NEGATIVE_INFINITY; !signal.aborted;) {
      const gap = begun + gapMs - performance.now();
      if (gap > 0) await delay(gap, undefined, { signal }).catch(() => undefined);
      begun = performance.now();
      let woken = new AbortController();
      onWaker?.(() => woken.abort());
      let pauseMs = everyMs;
      try {
        await task();
      } catch (error) {
        this.options.log.warn({ err: error, task: name }, 'a leader task failed, it will be repeated');
        woken = new AbortController();
        pauseMs = Math.min(everyMs, RETRY_MS);
      }
      await delay(pauseMs, undefined, { signal: AbortSignal.any([signal, woken.signal]) }).catch(() => undefined);
    }
  }

  private pause(milliseconds: number): Promise<void> {
    return delay(milliseconds, undefined, { signal: this.stopped.signal }).catch(() => undefined);
  }

  /** Those who are next → Redis, while there is room. A crash between the two repeats an add that does nothing. */
  async dispatch(): Promise<void> {
    const { runs, queue, window = 'auto' } = this.options;
    for (;;) {
      const batch = await runs.outbox.takeDispatchable(DISPATCH_BATCH, window);
      if (batch.length === 0) return;
      await queue.add(batch);
      await runs.outbox.markDispatched(batch);
      if (batch.length < DISPATCH_BATCH) return;
    }
  }

  /** Puts right what only a fault can have brought about. May be repeated at any time. */
  async reconcile(): Promise<void> {
    const { runs, queue, log } = this.options;
    const recovered = await runs.leases.recoverLost();
    const released = await runs.outbox.startReady();
    let redispatched = 0;
    for (let after = 0n; ;) {
      const page = await runs.outbox.dispatchedLongAgo(IN_FLIGHT_MS, after, DISPATCH_BATCH);
      const missing = await queue.missing(page);
      if (missing.length) await runs.outbox.dispatchAgain(missing.map(({ outboxId }) => outboxId));
      redispatched += missing.length;
      if (page.length < DISPATCH_BATCH) break;
      after = page.at(-1)!.outboxId;
    }
    this.repairs.recovered += recovered;
    this.repairs.released += released;
    this.repairs.redispatched += redispatched;
    if (recovered + released + redispatched > 0) log.warn({ recovered, released, redispatched }, 'reconciled');
  }
}
