import type { Requires, SweepSpec } from '#libs/contracts';
import type { Transaction } from '../machine/database.js';
import { RequestError } from '../request-error.js';

/** A sweep as the leader and those who change it see it. */
export interface SweepRow {
  id: string;
  spec: SweepSpec;
  tags: string[];
  project: string;
  priority: number;
  requires: Requires;
  maxSeconds: number | null;
  createdAt: Date;
  steered: boolean;
  pausedAt: Date | null;
  cancelledAt: Date | null;
  haltReason: string | null;
}

export const noSuchSweep = (id: string): RequestError =>
  new RequestError('not_found', `expected the id of a sweep, got ${id}: there is no such sweep`);

/** The row stays locked until the transaction ends. @throws RequestError `not_found` */
export async function lockSweep(tx: Transaction, id: string): Promise<SweepRow> {
  const [sweep] = await tx.$queryRaw<SweepRow[]>`
    SELECT id, spec, tags, project, priority, requires, steered, max_seconds AS "maxSeconds",
      created_at AS "createdAt", paused_at AS "pausedAt", cancelled_at AS "cancelledAt", halt_reason AS "haltReason"
    FROM sweep
    WHERE id = ${id}::uuid
    FOR UPDATE`;
  if (!sweep) throw noSuchSweep(id);
  return sweep;
}
