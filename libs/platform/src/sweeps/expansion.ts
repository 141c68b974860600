/** A sweep's spec as trials in the order of their start, and as the plan that people see of it. */
import {
  expansionOf,
  InvalidSweepError,
  isModelled,
  notesOnDraws,
  type Plan,
  type SweepSpec,
  type Trial,
} from '#libs/contracts';
import { inTurns, Turns } from '../machine/turns.js';
import { RequestError } from '../request-error.js';
import type { Placement } from '../runs/admission.js';
import { planOf } from '../runs/plan.js';

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
  return spec.order_by ? inOrderOf(spec.order_by, trials) : trials;
}

/** A parameter's value as it is compared: numbers by their value, all else by its text. */
type Compared = { value: unknown; text: string };

/** Trials by these parameters, `-` before those that fall; equal ones by their indices. */
async function inOrderOf(parameters: readonly string[], trials: readonly Trial[]): Promise<Trial[]> {
  const ranks: number[][] = [];
  for (const path of parameters)
    ranks.push(await ranksOf(path.replace(/^-/, ''), path.startsWith('-') ? -1 : 1, trials));
  const order = trials
    .map((_, i) => i)
    .sort((a, b) => {
      for (const rank of ranks) if (rank[a] !== rank[b]) return rank[a]! - rank[b]!;
      return trials[a]!.index - trials[b]!.index;
    });
  return order.map((i) => trials[i]!);
}

/** The place of each trial's value among all that the parameter has. */
async function ranksOf(path: string, sign: 1 | -1, trials: readonly Trial[]): Promise<number[]> {
  const values = new Map<string, Compared>();
  const texts = await inTurns(trials, ({ parameters }) => {
    const value = parameters[path];
    const text = JSON.stringify(value) ?? '';
    if (!values.has(text)) values.set(text, { value, text });
    return text;
  });
  const sorted = [...values.values()].sort(compare);
  const ranks = new Map(sorted.map(({ text }, rank) => [text, sign * rank]));
  return texts.map((text) => ranks.get(text)!);
}

function compare(a: Compared, b: Compared): number {
  if (typeof a.value === 'number' && typeof b.value === 'number') return a.value - b.value;
  return Number(a.text > b.text) - Number(a.text < b.text);
}

/** Of a search by a model only the first draws are known: the others follow from their results. */
export async function planFor(spec: SweepSpec, placements: readonly Placement[], trials: number): Promise<Plan> {
  const notes = notesOnDraws(spec);
  const plan = { ...(await planOf(placements, trials)), ...(notes.length > 0 && { notes }) };
  if (!isModelled(spec) || spec.run_cap! <= trials) return plan;
  return {
    ...plan,
    trials: spec.run_cap!,
    summary: `${spec.run_cap} trials, of which ${plan.summary}; the others follow from results`,
  };
}
