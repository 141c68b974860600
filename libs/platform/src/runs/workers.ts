import type { Gpu } from '#libs/contracts';
import type { Database } from '../machine/database.js';
import { RequestError } from '../request-error.js';
import { checkSchema } from './schema-version.js';

export interface WorkerRegistration {
  id: string;
  host: string;
  pid: number;
  slots: number;
  versions: Record<string, string>;
  labels?: Record<string, string>;
  gpus?: Gpu[];
  memoryMiB?: number;
}

/** Which workers there are, and whether they take runs. */
export class Workers {
  constructor(private readonly database: Database) {}

  /**
   * Resolves when the database has the schema that this build is for.
   * @throws Error when it has another, with what to do.
   */
  async checkSchema(who: 'worker' | 'API' = 'worker'): Promise<void> {
    await checkSchema(this.database.prisma, who);
  }

  /** The worker is known, and takes nothing yet. */
  async registerWorker(worker: WorkerRegistration): Promise<void> {
    const { id, host, pid, slots, versions, labels = {}, gpus = [], memoryMiB = null } = worker;
    await this.database.prisma.$executeRaw`
      INSERT INTO worker (id, host, pid, state, slots, versions, labels, gpus, memory_mib)
      VALUES (
        ${id}, ${host}, ${pid}, 'starting', ${slots}, ${JSON.stringify(versions)}::jsonb,
        ${JSON.stringify(labels)}::jsonb, ${JSON.stringify(gpus)}::jsonb, ${memoryMiB}::int)
      ON CONFLICT (id) DO UPDATE SET host = excluded.host, pid = excluded.pid, state = excluded.state,
        slots = excluded.slots, versions = excluded.versions, labels = excluded.labels, gpus = excluded.gpus,
        memory_mib = excluded.memory_mib, impairment = NULL, started_at = now(), heartbeat_at = now()`;
  }

  /** Why a worker takes no runs for now; null: it takes some. */
  async setImpairment(id: string, why: string | null): Promise<void> {
    await this.database.prisma.$executeRaw`UPDATE worker SET impairment = ${why} WHERE id = ${id}`;
    if (why === null) await this.database.prisma.$executeRaw`SELECT pg_notify('outbox', '')`;
  }

  /** A worker that was told to drain never runs again. */
  async setWorkerState(id: string, state: 'running' | 'draining' | 'stopped'): Promise<void> {
    await this.database.prisma.$executeRaw`
      UPDATE worker SET state = ${state}, heartbeat_at = now()
      WHERE id = ${id} AND (${state} <> 'running' OR state = 'starting')`;
    // Its slots are free now: somebody may be let to them.
    if (state === 'running') await this.database.prisma.$executeRaw`SELECT pg_notify('outbox', '')`;
  }

  /**
   * Tells a worker to take nothing more, to hand back what it holds and to end. From here on it can't claim, whether it
   * has heard or not.
   * @throws RequestError `not_found`; `invalid_state` for a worker that has stopped.
   */
  async drainWorker(id: string): Promise<void> {
    await this.database.transaction(async (tx) => {
      const rows = await tx.$queryRaw<{ state: string }[]>`SELECT state FROM worker WHERE id = ${id} FOR UPDATE`;
      if (!rows[0])
        throw new RequestError(
          'not_found',
          `expected the id of a worker, got ${JSON.stringify(id.slice(0, 80))}: there is no such worker`,
        );
      if (rows[0].state === 'stopped')
        throw new RequestError('invalid_state', 'expected a worker that is running, got one that is stopped');
      await tx.$executeRaw`UPDATE worker SET state = 'draining' WHERE id = ${id}`;
      await tx.$executeRaw`SELECT pg_notify('worker_control', ${id})`;
    });
  }
}
