/** What trials assign: every combination of what a grid lists, or draws, with what is tried in full. */
import { combinationCount, valuesOf as combinationsOf } from './augmentation-algebra.js';
import { takesOf } from './field-draws.js';
import type { RunSpec } from './run-spec.js';
import { draws, everyAssignment, finiteValues, inOrder, TPE_STARTUP, type Parameter } from './search-space.js';
import { InvalidSweepError, isModelled, type SweepSpec } from './sweep.js';

const DEFAULT_RUN_CAP = 10_000;
/** Values of one parameter of a grid, where they are counted out between min and max. */
const MOST_VALUES = 100_000;

/** One dimension of a sweep: each option sets one or several fields. */
type Axis = Record<string, unknown>[];

/** How many combinations axes have. */
const sizeOf = (axes: readonly Axis[]): number => axes.reduce((size, axis) => size * axis.length, 1);

/** Every combination of one option of each axis; the last axis varies fastest. */
function* product(axes: readonly Axis[]): Generator<Record<string, unknown>> {
  const total = sizeOf(axes);
  for (let index = 0; index < total; index++) {
    let rest = index;
    const chosen: Record<string, unknown>[] = [];
    for (const axis of axes.toReversed()) {
      chosen.unshift(axis[rest % axis.length]!);
      rest = Math.floor(rest / axis.length);
    }
    yield Object.assign({}, ...chosen) as Record<string, unknown>;
  }
}

/** The dimensions that stand at the top of a spec and are tried in full, whatever the method. */
function sharedAxes(sweep: SweepSpec): Axis[] {
  const { stages, augmentations, label_fractions: fractions, seeds, run_cap: cap = DEFAULT_RUN_CAP } = sweep;
  const ofKind = (kind: RunSpec['kind']) => Object.keys(stages).filter((stage) => stages[stage]!['kind'] === kind);
  const need = (key: string, kind: RunSpec['kind']) => {
    if (ofKind(kind).length === 0)
      throw new InvalidSweepError([
        { path: [key], message: `expected a stage of kind ${kind} for it to set, there is none` },
      ]);
    return ofKind(kind);
  };
  const axes: Axis[] = [];
  if (augmentations) {
    const targets = need('augmentations', 'pretrain');
    const count = combinationCount(augmentations);
    if (count > cap) refuse(cap, count);
    const { field, values } = combinationsOf(augmentations);
    axes.push(values.map((value) => Object.fromEntries(targets.map((stage) => [`${stage}.${field}`, value]))));
  }
  const finetunes = fractions || seeds ? need(fractions ? 'label_fractions' : 'seeds', 'finetune') : [];
  if (fractions)
    axes.push(
      fractions.map((fraction) => Object.fromEntries(finetunes.map((stage) => [`${stage}.labelFraction`, fraction]))),
    );
  if (seeds)
    axes.push(
      (typeof seeds === 'number' ? Array.from({ length: seeds }, (_, i) => i + 1) : seeds).map((seed) =>
        Object.fromEntries(
          finetunes.flatMap((stage) => [
            [`${stage}.labelSeed`, seed],
            [`${stage}.seed`, seed],
          ]),
        ),
      ),
    );
  return axes;
}

/** How many trials each draw of the searcher makes. */
export const trialsPerDraw = (sweep: SweepSpec): number => sizeOf(sharedAxes(sweep));

/** The assignments of one more draw: it with everything that is tried in full. */
export const drawnAssignments = (sweep: SweepSpec, draw: Record<string, unknown>): Record<string, unknown>[] => [
  ...product([[draw], ...sharedAxes(sweep)]),
];

/**
 * Every trial's assignment of fields.
 * @throws InvalidSweepError on a grid over `run_cap`, or one with a range
 */
export const assignments = (sweep: SweepSpec): Record<string, unknown>[] =>
  sweep.method === 'grid' ? gridAssignments(sweep) : randomAssignments(sweep);

function refuse(cap: number, size: number, about = ''): never {
  throw new InvalidSweepError([
    {
      path: ['run_cap'],
      message: `expected a grid of at most ${cap} trials, got ${about}${size}: raise run_cap or drop values`,
    },
  ]);
}

/** Draws for as many trials as `run_cap` has room for; where a model draws, those before it is asked. */
function randomAssignments(sweep: SweepSpec): Record<string, unknown>[] {
  const { run_cap: cap, method, parameters, seed } = sweep;
  const shared = sharedAxes(sweep);
  if (cap === undefined)
    throw new InvalidSweepError([
      { path: ['run_cap'], message: `expected a number of trials for method ${method}, got none` },
    ]);
  if (sizeOf(shared) > cap) refuse(cap, sizeOf(shared));
  const count = Math.floor(cap / sizeOf(shared));
  const drawn = draws(parameters, isModelled(sweep) ? Math.min(TPE_STARTUP, count) : count, seed, {
    takes: takesOf(sweep),
    unique: sweep.unique,
  });
  return [...product([drawn, ...shared])];
}

/** Every combination of the listed values whose conditions hold. */
function gridAssignments(sweep: SweepSpec): Record<string, unknown>[] {
  const { parameters, run_cap: cap = DEFAULT_RUN_CAP } = sweep;
  const shared = sharedAxes(sweep);
  const valuesOf = (parameter: Parameter) => finiteValues(parameter, MOST_VALUES);
  const ranges = Object.entries(parameters).filter(([, parameter]) => valuesOf(parameter) === undefined);
  if (ranges.length)
    throw new InvalidSweepError(
      ranges.map(([path]) => ({
        path: ['parameters', path],
        message: 'expected value or values for method grid, got a range: use method random',
      })),
    );
  const listed = new Map(Object.values(parameters).map((parameter) => [parameter, valuesOf(parameter)!]));
  const listOf = (parameter: Parameter) => listed.get(parameter)!;
  const cells = everyAssignment(inOrder(parameters), listOf, cap);
  if (!cells) {
    const all = Object.values(parameters).reduce((total, each) => total * listOf(each).length, sizeOf(shared));
    return refuse(cap, all, Object.values(parameters).some(({ when }) => when) ? 'up to ' : '');
  }
  if (cells.length * sizeOf(shared) > cap) refuse(cap, cells.length * sizeOf(shared));
  return [...product([cells, ...shared])];
}
