import { isModelled, type SweepSpec } from '#libs/contracts';
import type { Transaction } from '../machine/database.js';
import { SWEEP_STATUS } from './status.js';

/** Keys that say when trials start and what they may cost, and neither which they are nor how they are judged. */
const NOT_JUDGED = ['name', 'parallel_trials', 'order_by', 'max_failed_trials', 'budget', 'on_duplicate'];

/**
 * Sweeps that have judged the trials of this one by its rule, all of them: what they stopped would be stopped again.
 * Among other trials, by another rule, or without those that failed, it may be one of the best. A search by a model has
 * no such sweep: which trials it draws follows from what ended first.
 */
export async function sweepsJudgedAlike(tx: Transaction, spec: SweepSpec): Promise<string[]> {
  if (!spec.early_terminate || isModelled(spec)) return [];
  const alike = await tx.$queryRaw<{ id: string }[]>`
    SELECT id
    FROM sweep
    WHERE spec ? 'early_terminate'
      AND spec - ${NOT_JUDGED}::text[] = ${JSON.stringify(spec)}::jsonb - ${NOT_JUDGED}::text[]
      AND ${SWEEP_STATUS} = 'succeeded'
    ORDER BY created_at`;
  return alike.map(({ id }) => id);
}
