/** The faults of the soak, each begun and over within seconds. */
import type { LoomClient } from '#libs/contracts';
import type { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { eventually } from './eventually.js';
import { locked, readOnly, type Hindrance } from './own-postgres.js';
import type { OwnServer } from './own-services.js';
import type { OwnStore } from './own-store.js';
import type { Started } from './processes.js';
import type { Proxy } from './proxy.js';
import type { ApiProcess } from './stack.js';

/** What faults are done to. */
export interface Field {
  postgres: OwnServer;
  redis: OwnServer;
  store: OwnStore;
  /** Each worker's own ways to Postgres and Redis, by its place in the fleet. */
  ways: readonly { postgres: Proxy; redis: Proxy }[];
  fleet: Started[];
  apis: readonly ApiProcess[];
  /** Runs whose submission was acknowledged. */
  accepted: readonly string[];
  /** Redis, and its queue, without a proxy in between. */
  direct: Redis;
  queue: Queue;
  /** Puts a worker that shares its host name, and its process ids, with others into this place. */
  startContained: (place: number) => Started;
  pick: <T>(items: readonly T[]) => T;
  /** How long a fault lasts, in milliseconds. */
  span: () => number;
}

/** As a container has it: process ids of its own, so that several have the same. */
export const CONTAINER = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child'];
/** Has a worker say that its process ids are its own, and mean nothing here. */
export const CONTAINED = 'contained';
export const canContain = (): Promise<boolean> =>
  promisify(execFile)(CONTAINER[0]!, [...CONTAINER.slice(1), 'true']).then(
    () => true,
    () => false,
  );

const TABLES = [['metric'], ['artifact'], ['run'], ['attempt', 'outbox'], ['run_event', 'log_line'], ['worker']];

function signal(pid: number | undefined, name: NodeJS.Signals): void {
  try {
    if (pid) process.kill(pid, name);
  } catch {
    /* It has gone by itself. */
  }
}

/** The process id of the trainer of one of the runs that run. */
async function someTrainer(client: LoomClient, pick: Field['pick']): Promise<number | undefined> {
  const foreign = new Set((await client.workers()).filter(({ labels }) => labels[CONTAINED]).map(({ id }) => id));
  const { items } = await client.runs({ status: ['running'], limit: 20 });
  const ours = items.filter(({ workerId }) => !foreign.has(workerId ?? ''));
  const run = ours.length ? await client.run(pick(ours).id) : undefined;
  return run?.attempts.at(-1)?.trainerPid ?? undefined;
}

/** Faults of processes: workers, trainers, APIs. */
function ofProcesses({ fleet, apis, pick, span, startContained }: Field): Record<string, () => Promise<void>> {
  const trainer = () => someTrainer(pick(apis).client, pick);
  return {
    'kill -9 of a worker': async () => {
      await pick(fleet).kill('SIGKILL');
    },
    'drain of a worker': async () => {
      signal(pick(fleet).pid, 'SIGTERM');
    },
    'a worker stopped for a while': async () => {
      const { pid } = pick(fleet);
      signal(pid, 'SIGSTOP');
      await delay(span());
      signal(pid, 'SIGCONT');
    },
    'kill -9 of a worker, and one in its place that shares its host name': async () => {
      const place = pick([...fleet.keys()]);
      await fleet[place]!.kill('SIGKILL');
      fleet[place] = startContained(place);
    },
    'kill -9 of a trainer': async () => {
      signal(await trainer(), 'SIGKILL');
    },
    'a trainer that hangs': async () => {
      signal(await trainer(), 'SIGSTOP');
    },
    'kill -9 of an API': async () => {
      await pick(apis).kill('SIGKILL');
    },
  };
}

function ofServers({ postgres, redis, store, direct, queue, pick, span }: Field): Record<string, () => Promise<void>> {
  const forAWhile = async ({ begin, end }: Hindrance) => {
    await begin();
    await delay(span());
    await eventually(end);
  };
  return {
    FLUSHALL: async () => {
      await direct.flushall();
    },
    'the lists of Redis lost, its hashes kept': async () => {
      await direct.del(...['wait', 'active', 'marker'].map((list) => queue.toKey(list)));
    },
    'kill -9 of Redis': async () => {
      await redis.kill('SIGKILL');
      await delay(span());
      await redis.start();
    },
    'a frozen Redis': async () => {
      await redis.signal('SIGSTOP');
      await delay(span());
      await redis.signal('SIGCONT');
    },
    'an immediate restart of Postgres': async () => {
      await postgres.kill('SIGQUIT');
      await postgres.start();
    },
    'a Postgres that is read-only': () => forAWhile(readOnly(postgres)),
    'locked tables': () => forAWhile(locked(postgres, pick(TABLES))),
    'the store unmounted': () => forAWhile(store.gone),
    'a read-only store': () => forAWhile(store.readOnly),
  };
}

function ofNetworks({ ways, pick, span }: Field): Record<string, () => Promise<void>> {
  const broken = async (way: Proxy, how: 'freeze' | 'blackhole') => {
    way[how]();
    await delay(span());
    way.heal();
  };
  return {
    'a worker cut off from Postgres': () => broken(pick(ways).postgres, 'freeze'),
    'a worker whose words to Postgres are lost': () => broken(pick(ways).postgres, 'blackhole'),
    'a worker cut off from Redis': () => broken(pick(ways).redis, 'blackhole'),
    'connections reset': async () => {
      const way = pick(ways);
      way.postgres.cut();
      way.redis.cut();
      await delay(200);
      way.postgres.heal();
      way.redis.heal();
    },
  };
}

function ofRuns({ accepted, apis, queue, pick, span }: Field): Record<string, () => Promise<void>> {
  const anyApi = () => pick(apis).client;
  return {
    'a cancel': async () => {
      if (accepted.length) await anyApi().cancelRun(pick(accepted));
    },
    'a pause and a resume': async () => {
      if (!accepted.length) return;
      const id = pick(accepted);
      await anyApi().pauseRun(id);
      await delay(span() / 4);
      await anyApi().resumeRun(id);
    },
    'a duplicate delivery': async () => {
      if (accepted.length)
        await queue.add(
          'run',
          { runId: pick(accepted), attempt: pick([1, 2]) },
          { jobId: `copy-${randomUUID()}`, removeOnComplete: true, removeOnFail: true },
        );
    },
  };
}

/** All kinds, by what they are called. One may reject: what it asks for may fail by the fault before it. */
export const faultsOf = (field: Field): Record<string, () => Promise<void>> => ({
  ...ofProcesses(field),
  ...ofServers(field),
  ...ofNetworks(field),
  ...ofRuns(field),
});
