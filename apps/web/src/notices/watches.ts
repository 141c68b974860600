/** What somebody wants to hear of, and whether it has come. Pure. */
import { isTerminal, parseCondition, runLabel, shortNumber, type Comparison, type Run } from '#libs/contracts';
import { link } from '../route.js';

/** The end of a run or a sweep, or the first time that a condition on a metric holds of it. */
export interface Watch {
  id: string;
  of: 'run' | 'sweep';
  target: string;
  /** What the target is called. */
  name: string;
  /** Such as `eval/knn>0.5`, of the last value of a metric; absent: its end. */
  where?: string;
}

export interface Notice {
  id: string;
  /** In milliseconds since 1970. */
  at: number;
  title: string;
  text: string;
  href: string;
  seen: boolean;
}
export type News = Pick<Notice, 'title' | 'text' | 'href'>;

/** What is known of a target: undefined where there is none of it any more. */
export interface Standing {
  status: string;
  ended: boolean;
  /** A run of which the condition holds. */
  reached?: { run: Run; value: number } | undefined;
}

const COMPARED: Record<Comparison, (a: number, b: number) => boolean> = {
  '<': (a, b) => a < b,
  '<=': (a, b) => a <= b,
  '>': (a, b) => a > b,
  '>=': (a, b) => a >= b,
  '=': (a, b) => a === b,
  '!=': (a, b) => a !== b,
};

/** The value that a condition names, where it holds of the run. */
export function valueThatHolds(where: string, { metrics }: Pick<Run, 'metrics'>): number | undefined {
  const condition = parseCondition(where);
  if (condition?.of !== 'metric') return undefined;
  const value = metrics[condition.key];
  return value !== undefined && COMPARED[condition.operator](value, condition.value) ? value : undefined;
}

export const standingOfRun = (run: Run, where: string | undefined): Standing => {
  const value = where === undefined ? undefined : valueThatHolds(where, run);
  return { status: run.status, ended: isTerminal(run.status), ...(value !== undefined && { reached: { run, value } }) };
};

/** What there is to tell of a watch as things stand; undefined while it has not come. Who has been told is done. */
export function newsOf({ of, target, name, where }: Watch, { status, ended, reached }: Standing): News | undefined {
  const href = link(`${of}s/${target}`);
  const words = status.replaceAll('_', ' ');
  if (where !== undefined && reached) {
    const { key } = parseCondition(where)!;
    const whose = of === 'sweep' ? ` of ${runLabel(reached.run)}` : '';
    return { title: `${name}: ${where}`, text: `${key}${whose} is ${shortNumber(reached.value)}.`, href };
  }
  if (!ended) return undefined;
  return where === undefined
    ? { title: `${name}: ${words}`, text: `The ${of} has ended.`, href }
    : { title: `${name}: ${words}`, text: `The ${of} has ended, and ${where} does not hold.`, href };
}
