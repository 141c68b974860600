/** What a submit would start and what it would take from elsewhere, counted. */
import type { Plan, RunKind } from '#libs/contracts';
import { inTurns } from '../machine/turns.js';
import type { Placement } from './admission.js';

/** Runs by their kinds. */
type Counts = Partial<Record<RunKind, number>>;

/** Counts placements by what becomes of them, and says it in a sentence. */
export async function planOf(placements: readonly Placement[], trials: number): Promise<Plan> {
  const newRuns: Counts = {};
  const stoppedBefore: Counts = {};
  const existing: Counts = {};
  const reused: Counts = {};
  const shared: Counts = {};
  const stoppedThere: Counts = {};
  const add = (counts: Counts, { spec: { kind } }: Placement) => (counts[kind] = (counts[kind] ?? 0) + 1);
  const there = new Set<string>();
  await inTurns(placements, (placement) => {
    const { outcome, runId } = placement;
    if (outcome === 'new' && placement.stoppedBefore) add(stoppedBefore, placement);
    if (outcome === 'new') return add(newRuns, placement);
    // It never runs.
    if (outcome === 'ended') return;
    add(reused, placement);
    if (outcome === 'shared' || there.has(runId)) return add(shared, placement);
    there.add(runId);
    add(existing, placement);
    if (placement.status === 'early_stopped') add(stoppedThere, placement);
  });
  const list = (counts: Counts) =>
    Object.entries(counts)
      .map(([kind, n]) => `${n} ${kind}`)
      .join(', ') || 'none';
  const anyStopped = Object.keys(stoppedBefore).length > 0;
  const anew = anyStopped ? ` (${list(stoppedBefore)} of them stopped early before and trained anew)` : '';
  const asStopped = Object.keys(stoppedThere).length > 0 ? ` (${list(stoppedThere)} of them stopped early)` : '';
  return {
    trials,
    newRuns,
    ...(anyStopped && { stoppedBefore }),
    reused,
    existing,
    summary:
      `${trials} ${trials === 1 ? 'trial' : 'trials'}; new runs: ${list(newRuns)}${anew}; ` +
      `there already: ${list(existing)}${asStopped}` +
      (Object.keys(shared).length ? `; shared between trials: ${list(shared)}` : ''),
  };
}
