/** Repeats of a request, known by the Idempotency-Key that it was first sent with. */
import type { Transaction } from '../machine/database.js';
import { RequestError } from '../request-error.js';
import { requestHash } from './digests.js';

/** A request of a project, in which its key is known again. */
interface Keyed {
  project: string;
}

/** In place of a project where what is asked for belongs to none: no project has this name. */
export const NO_PROJECT = '';

/**
 * The resource that this key was used for in the request's project, if it was. Two requests with one key wait for each
 * other here.
 * @throws RequestError `idempotency_mismatch` for a key that was used for another request
 */
export async function resourceOfRepeat(
  tx: Transaction,
  key: string | undefined,
  request: Keyed,
): Promise<string | undefined> {
  if (key === undefined) return undefined;
  const { project } = request;
  await tx.$queryRaw`SELECT pg_advisory_xact_lock(hashtextextended(${`${project} ${key}`}, 0))::text`;
  const known = await tx.idempotencyKey.findUnique({ where: { project_key: { project, key } } });
  if (!known) return undefined;
  if (known.requestHash !== (await requestHash(request))) {
    throw new RequestError(
      'idempotency_mismatch',
      'expected the request that this Idempotency-Key was first used for, got another: use a new key for a new ' +
        'request',
    );
  }
  return known.resourceId;
}

/** Keeps which resource a request has made, for its repeats. */
export async function rememberForRepeats(
  tx: Transaction,
  key: string | undefined,
  request: Keyed,
  resourceId: string,
): Promise<void> {
  if (key === undefined) return;
  const { project } = request;
  await tx.idempotencyKey.create({ data: { project, key, requestHash: await requestHash(request), resourceId } });
}
