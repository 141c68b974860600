/** A sweep's spec as trials in the order of their start, and as the plan that people see of it. */
import { expansionOf, InvalidSweepError, isModelled, type Plan, type SweepSpec, type Trial } from '#libs/contracts';
import { Turns } from '../machine/turns.js';
import { RequestError } from '../request-error.js';
import { planOf, type Placement } from '../runs/admission.js';

/** What can be laid out at once, in the order in which it is to start. */
export async function expand(spec: SweepSpec): Promise<Trial[]> {
  const trials: Trial[] = [];
  try {
    const turns = new Turns();
    for (const trial of expansionOf(spec)) {
      trials.push(trial);
      if (turns.over) await turns.next();
    }
  } catch (error) {
    if (error instanceof InvalidSweepError)
      throw RequestError.invalid(error.faults.map((fault) => ({ ...fault, path: ['spec', ...fault.path] })));
    throw error;
  }
  if (!spec.order_by) return trials;
  const keys = spec.order_by.map((path) => ({ path: path.replace(/^-/, ''), sign: path.startsWith('-') ? -1 : 1 }));
  return trials.sort(
    (a, b) =>
      keys.reduce((found, { path, sign }) => found || sign * compare(a.parameters[path], b.parameters[path]), 0) ||
      a.index - b.index,
  );
}

/** Numbers by their value, all else by its text. */
function compare(a: unknown, b: unknown): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  const [left, right] = [JSON.stringify(a) ?? '', JSON.stringify(b) ?? ''];
  return Number(left > right) - Number(left < right);
}

/** Of a search by a model only the first draws are known: the others follow from their results. */
export function planFor(spec: SweepSpec, placements: readonly Placement[], trials: number): Plan {
  const plan = planOf(placements, trials);
  if (!isModelled(spec) || spec.run_cap! <= trials) return plan;
  return {
    ...plan,
    trials: spec.run_cap!,
    summary: `${spec.run_cap} trials, of which ${plan.summary}; the others follow from results`,
  };
}
