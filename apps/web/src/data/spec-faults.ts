import { ApiError } from '#libs/contracts';

/**
 * What the API refused of a run that was submitted, by field of its spec, such as `masks.classes`; under the empty
 * field what has none.
 */
export function faultsOfSpec(error: Error | null): ReadonlyMap<string, string> {
  if (!error) return new Map();
  const faults = error instanceof ApiError ? (error.problem.errors ?? []) : [];
  if (faults.length === 0) return new Map([['', error.message]]);
  return new Map(faults.map(({ path, message }) => [path.replace(/^spec\.?/, ''), message]));
}
