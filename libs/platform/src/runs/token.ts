import { ACTIVE_STATUSES } from '#libs/contracts';
import { Prisma } from '../machine/database.js';
import { hasStatus } from './sql.js';

/**
 * The right to write for a run. `attempt` is the fencing token: every claim increments it and every write carries it,
 * so that a write finds no row once another attempt has begun or the run has ended.
 */
export interface Token {
  runId: string;
  attempt: number;
}

/** Another attempt has begun or the run has ended: whoever sees this must stop at once. */
export class LeaseLostError extends Error {
  constructor(token: Token) {
    super(`attempt ${token.attempt} of run ${token.runId} no longer holds its lease`);
    this.name = 'LeaseLostError';
  }
}

/** The fence: a condition on `run` that holds while the token does. */
export const held = (token: Token): Prisma.Sql =>
  Prisma.sql`run.id = ${token.runId}::uuid AND run.attempt = ${token.attempt} AND ${hasStatus(ACTIVE_STATUSES)}`;
