import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { z } from 'zod';
import { canonicalJson } from './canonical-json.js';

const Distribution = z
  .enum([
    'constant',
    'categorical',
    'categorical_w_probabilities',
    'int_uniform',
    'uniform',
    'q_uniform',
    'log_uniform',
    'log_uniform_values',
    'q_log_uniform',
    'q_log_uniform_values',
    'inv_log_uniform',
    'inv_log_uniform_values',
    'beta',
    'q_beta',
    'normal',
    'q_normal',
    'log_normal',
    'q_log_normal',
  ])
  .describe(
    "In Weights & Biases' words. `log_uniform` takes exponents of e, `log_uniform_values` the values themselves; " +
      '`inv_log_uniform` takes exponents of e of which the inverse is drawn. `q` rounds to its multiples. `normal` ' +
      'is that of mu 0 and sigma 1, `beta` that of a 1 and b 1, unless told otherwise.',
  );
type Distribution = z.infer<typeof Distribution>;

const DRAWN_BY = ['value', 'values', 'probabilities', 'min', 'max', 'mu', 'sigma', 'a', 'b', 'q'] as const;

/** The keys that a distribution is drawn by: all others contradict it. */
function keysOf(distribution: Distribution): readonly (typeof DRAWN_BY)[number][] {
  if (distribution === 'constant') return ['value'];
  if (distribution.startsWith('categorical')) return ['values', 'probabilities'];
  const q = distribution.startsWith('q_') ? (['q'] as const) : [];
  if (distribution.endsWith('beta')) return ['a', 'b', ...q];
  return distribution.endsWith('normal') ? ['mu', 'sigma', ...q] : ['min', 'max', ...q];
}

export const Parameter = z
  .strictObject({
    value: z.unknown().optional(),
    values: z.array(z.unknown()).min(1).max(1000).optional(),
    probabilities: z
      .array(z.number().min(0))
      .max(1000)
      .optional()
      .describe('Probabilities of `values`, in their order; they need not add up to 1.'),
    distribution: Distribution.optional(),
    min: z.number().optional(),
    max: z.number().optional(),
    mu: z.number().optional(),
    sigma: z.number().gt(0).optional(),
    a: z.number().gt(0).optional(),
    b: z.number().gt(0).optional(),
    q: z.number().gt(0).optional(),
    when: z
      .record(z.string(), z.unknown())
      .optional()
      .describe(
        'The parameter applies only where other parameters have this value, or one of these. Elsewhere the trial ' +
          'does not set it.',
      ),
  })
  .superRefine((parameter, context) => {
    const { value, values, probabilities, distribution } = parameter;
    const fault = (path: string[], message: string) => context.addIssue({ code: 'custom', path, message });
    const contradictions = contradictionsOf(parameter);
    for (const { path, message } of contradictions) fault(path, message);
    if (contradictions.length) return;
    const ranged = RANGE_KEYS.some((key) => parameter[key] !== undefined) || hasDefaults(distribution);
    if ([value !== undefined, values !== undefined, ranged].filter(Boolean).length !== 1)
      return fault([], 'expected one of value, values, or a range (min and max, or mu and sigma)');
    if (probabilities && probabilities.length !== values?.length)
      fault(['probabilities'], 'expected one probability for each of values');
    if (probabilities?.every((each) => each === 0)) fault(['probabilities'], 'expected a probability above 0');
    if (distribution === 'categorical_w_probabilities' && !probabilities)
      fault(['probabilities'], `expected probabilities of values for ${distribution}`);
    if (ranged) for (const { path, message } of rangeFaults(parameter)) fault(path, message);
  })
  .describe('One of `value`, `values`, or a range to draw from.');
export type Parameter = z.infer<typeof Parameter>;

const RANGE_KEYS = ['min', 'max', 'mu', 'sigma', 'a', 'b'] as const;

/** W&B's defaults: a normal distribution needs neither mu nor sigma where it is named, a beta neither a nor b. */
const hasDefaults = (distribution: Distribution | undefined): boolean => /(normal|beta)$/.test(distribution ?? '');

/** Keys that the distribution is not drawn by, each told with it. */
function contradictionsOf(parameter: Parameter): { path: string[]; message: string }[] {
  const { distribution, q, min, mu } = parameter;
  if (!distribution) {
    if (q === undefined || (min === undefined && mu === undefined)) return [];
    const rounded = mu === undefined ? 'q_uniform' : 'q_normal';
    return [{ path: ['q'], message: `expected no q without a distribution that rounds, such as ${rounded}` }];
  }
  const keys = keysOf(distribution);
  return DRAWN_BY.filter((key) => parameter[key] !== undefined && !keys.includes(key)).map((key) => ({
    path: [key],
    message: `expected no ${key} with distribution ${distribution}, which is drawn by ${keys.join(', ')}`,
  }));
}

/** What is meant where `distribution` is left out, as Weights & Biases has it. */
export function distributionOf({
  distribution,
  value,
  values,
  min,
  max,
  mu,
}: {
  distribution?: Distribution | undefined;
  value?: unknown;
  values?: unknown[] | undefined;
  min?: number | undefined;
  max?: number | undefined;
  mu?: number | undefined;
}): Exclude<Distribution, 'categorical_w_probabilities'> {
  if (distribution) return distribution === 'categorical_w_probabilities' ? 'categorical' : distribution;
  if (values) return 'categorical';
  if (value !== undefined) return 'constant';
  if (mu !== undefined) return 'normal';
  return Number.isInteger(min) && Number.isInteger(max) ? 'int_uniform' : 'uniform';
}

/** What is wrong with a range, for the distribution that is drawn from it. */
function rangeFaults(range: Parameter): { path: string[]; message: string }[] {
  const distribution = distributionOf(range);
  if (hasDefaults(range.distribution)) return [];
  const [low, high] = keysOf(distribution) as ['min' | 'mu' | 'a', 'max' | 'sigma' | 'b'];
  const faults = [low, high]
    .filter((key) => range[key] === undefined)
    .map((key) => ({ path: [key as string], message: `expected a number for ${distribution}` }));
  if (distribution === 'int_uniform')
    for (const key of ['min', 'max'] as const)
      if (range[key] !== undefined && !Number.isInteger(range[key]))
        faults.push({ path: [key], message: `expected an integer for ${distribution}, got ${range[key]}` });
  if (low === 'min' && range.min! > range.max!)
    faults.push({ path: ['min'], message: `expected at most max (${range.max}), got ${range.min}` });
  if (distribution.endsWith('log_uniform_values') && range.min! <= 0)
    faults.push({ path: ['min'], message: `expected a number above 0 for ${distribution}, got ${range.min}` });
  return faults;
}

/** One draw of a parameter. */
export function drawn(parameter: Parameter, uniform: () => number): unknown {
  const distribution = distributionOf(parameter);
  if (distribution === 'constant') return parameter.value;
  if (distribution === 'categorical') return drawnValue(parameter, uniform);
  if (!distribution.startsWith('q_')) return drawnNumber(distribution, parameter, uniform);
  const { q = 1 } = parameter;
  const x = drawnNumber(distribution.slice(2), parameter, uniform);
  return Number((Math.round(x / q) * q).toPrecision(12));
}

function drawnValue({ values = [], probabilities }: Parameter, uniform: () => number): unknown {
  const weights = probabilities ?? values.map(() => 1);
  let rest = uniform() * weights.reduce((sum, weight) => sum + weight, 0);
  return values.at(weights.findIndex((weight) => (rest -= weight) < 0));
}

/** A number drawn from a distribution that is not quantized. */
function drawnNumber(
  distribution: string,
  { min = 0, max = 0, mu = 0, sigma = 1, a = 1, b = 1 }: Parameter,
  uniform: () => number,
): number {
  const between = (low: number, high: number) => low + (high - low) * uniform();
  const normal = () => mu + sigma * Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  switch (distribution) {
    case 'int_uniform':
      return Math.min(max, Math.floor(between(min, max + 1)));
    case 'uniform':
      return between(min, max);
    case 'log_uniform':
      return Math.exp(between(min, max));
    case 'inv_log_uniform':
      return Math.exp(-between(min, max));
    // log(1/X) uniform between log(1/max) and log(1/min) is log(X) uniform between log(min) and log(max).
    case 'inv_log_uniform_values':
    case 'log_uniform_values':
      return Math.exp(between(Math.log(min), Math.log(max)));
    case 'beta': {
      const x = gammaDrawn(a, uniform);
      return x / (x + gammaDrawn(b, uniform));
    }
    case 'normal':
      return normal();
    case 'log_normal':
      return Math.exp(normal());
    default:
      throw new RangeError(`expected a distribution of numbers, got ${distribution}`);
  }
}

/** One draw of a gamma distribution of scale 1 (Marsaglia and Tsang 2000). */
function gammaDrawn(shape: number, uniform: () => number): number {
  if (shape < 1) return gammaDrawn(shape + 1, uniform) * (1 - uniform()) ** (1 / shape);
  const d = shape - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
    const v = (1 + c * x) ** 3;
    if (v > 0 && Math.log(1 - uniform()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v;
  }
}

/** Multiples of a decimal q without binary dust. */
export const exact = (x: number): number => Number(x.toPrecision(12));

/** All that a parameter may be, in order; undefined where that is a continuum or more than `most`. */
export function finiteValues(parameter: Parameter, most: number): unknown[] | undefined {
  const { min = 0, max = 0, q = 1 } = parameter;
  const distribution = distributionOf(parameter);
  if (distribution === 'constant') return [parameter.value];
  if (distribution === 'categorical') return parameter.values!.filter((_, i) => parameter.probabilities?.[i] !== 0);
  if (distribution !== 'int_uniform' && distribution !== 'q_uniform') return undefined;
  const step = distribution === 'int_uniform' ? 1 : q;
  const first = Math.round(min / step);
  const count = Math.round(max / step) - first + 1;
  return count > most ? undefined : Array.from({ length: count }, (_, i) => exact((first + i) * step));
}

/** Numbers in [0, 1) with 53 random bits; `stream` tells sequences of one seed apart. */
export function uniformNumbers(seed: number, stream = 0): () => number {
  // The first numbers after a small seed would all be near 1: its bits are mixed first (MurmurHash3, fmix32).
  let mixed = seed ^ Math.imul(stream, 0x9e37_79b1);
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85eb_ca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35);
  const generator = xoroshiro128plus(mixed ^ (mixed >>> 16));
  for (let i = 0; i < 4; i++) generator.next();
  return () => ((generator.next() >>> 5) * 2 ** 26 + (generator.next() >>> 6)) / 2 ** 53;
}

const oneOf = (wanted: unknown): unknown[] => (Array.isArray(wanted) ? wanted : [wanted]);
const equal = (a: unknown, b: unknown): boolean => canonicalJson(a) === canonicalJson(b);

/** Whether a parameter applies beside what is assigned already; never where one that it depends on does not apply. */
export const isActive = ({ when = {} }: Parameter, assigned: Record<string, unknown>): boolean =>
  Object.entries(when).every(
    ([path, wanted]) => assigned[path] !== undefined && oneOf(wanted).some((value) => equal(value, assigned[path])),
  );

/**
 * Parameters in the order in which they are assigned: as they are given, but after those that they depend on. One that
 * depends on itself or on something unknown is left out: `conditionFaults` tells it.
 */
export function inOrder(parameters: Record<string, Parameter>): [string, Parameter][] {
  const entries = Object.entries(parameters);
  const dependents = new Map<string, number[]>();
  // How many parameters each still waits for, and after how many rounds through the list its turn comes.
  const waits = entries.map(([, { when = {} }]) => Object.keys(when).length);
  const rounds = entries.map(() => 0);
  for (const [place, [, { when = {} }]] of entries.entries())
    for (const path of Object.keys(when)) {
      const known = dependents.get(path);
      if (known) known.push(place);
      else dependents.set(path, [place]);
    }
  const ready = [...entries.keys()].filter((place) => waits[place] === 0);
  for (const place of ready)
    for (const dependent of dependents.get(entries[place]![0]) ?? []) {
      const round = rounds[place]! + (place > dependent ? 1 : 0);
      rounds[dependent] = Math.max(rounds[dependent]!, round);
      if (--waits[dependent]! === 0) ready.push(dependent);
    }
  return ready.sort((a, b) => rounds[a]! - rounds[b]! || a - b).map((place) => entries[place]!);
}

/** How many parameters a fault names: of thousands each fault would be as long as the request. */
const MOST_NAMED = 20;

/** What is wrong with `when`, with the path from the parameters on. */
export function conditionFaults(parameters: Record<string, Parameter>): { path: string[]; message: string }[] {
  const reached = new Set(inOrder(parameters).map(([path]) => path));
  const names = Object.keys(parameters);
  return Object.entries(parameters).flatMap(([path, { when = {} }]) =>
    Object.entries(when).flatMap(([other, wanted]) => {
      const at = [path, 'when', other];
      if (!Object.hasOwn(parameters, other)) {
        const some = names.slice(0, MOST_NAMED + 1).filter((name) => name !== path);
        const told = names.length > MOST_NAMED + 1 ? [...some, '…'] : some;
        return [
          {
            path: at,
            message: `expected another parameter of this sweep (${told.join(', ') || 'there is none'}), got ${other}`,
          },
        ];
      }
      if (!reached.has(path) && !reached.has(other))
        return [
          {
            path: at,
            message:
              `expected parameters that do not depend on themselves, but ${path} depends on ${other} and that, in ` +
              'the end, on itself',
          },
        ];
      const { value, values = value === undefined ? undefined : [value] } = parameters[other]!;
      const never = values && oneOf(wanted).find((each) => !values.some((known) => equal(known, each)));
      return never === undefined
        ? []
        : [
            {
              path: at,
              message:
                `expected ${values!.map((known) => JSON.stringify(known)).join(', ')}, what ${other} may be, got ` +
                `${JSON.stringify(never)}`,
            },
          ];
    }),
  );
}

/** By name: Postgres keeps no order of keys, and the same seed is to give the same draws. */
export const drawingOrder = (parameters: Record<string, Parameter>): [string, Parameter][] =>
  inOrder(Object.fromEntries(Object.entries(parameters).sort(([a], [b]) => (a < b ? -1 : 1))));

/** Draws of one parameter until one is taken. */
const REDRAWS = 200;

/** One draw of each parameter that applies; where its field does not take the value, again. */
export function drawAll(
  parameters: Record<string, Parameter>,
  uniform: () => number,
  takes: (path: string, value: unknown) => boolean = () => true,
): Record<string, unknown> {
  const draw: Record<string, unknown> = {};
  for (const [path, parameter] of drawingOrder(parameters)) {
    if (!isActive(parameter, draw)) continue;
    draw[path] = drawn(parameter, uniform);
    for (let i = 0; i < REDRAWS && !takes(path, draw[path]); i++) draw[path] = drawn(parameter, uniform);
  }
  return draw;
}

/**
 * Every assignment of parameters that have values to choose among, the last one varying fastest; null above `most` of
 * them.
 */
export function everyAssignment(
  parameters: readonly [string, Parameter][],
  valuesOf: (parameter: Parameter) => readonly unknown[],
  most: number,
): Record<string, unknown>[] | null {
  let found: Record<string, unknown>[] = [{}];
  for (const [path, parameter] of parameters) {
    const values = valuesOf(parameter);
    const next: typeof found = [];
    for (const each of found) {
      if (!isActive(parameter, each)) next.push(each);
      else for (const value of values) next.push({ ...each, [path]: value });
      if (next.length > most) return null;
    }
    found = next;
  }
  return found;
}

/** Results before `tpe` asks its model; until then draws are random. */
export const TPE_STARTUP = 10;
/** Draws that may fail to be new before a space counts as exhausted. */
export const STALE_DRAWS = 200;

/**
 * Distinct draws of all parameters, at most `count`; fewer where the space has no more. A larger count begins with the
 * same draws.
 */
export function draws(
  parameters: Record<string, Parameter>,
  count: number,
  seed: number,
  takes?: (path: string, value: unknown) => boolean,
): Record<string, unknown>[] {
  const uniform = uniformNumbers(seed);
  const found = new Map<string, Record<string, unknown>>();
  for (let stale = 0; found.size < count && stale < STALE_DRAWS;) {
    const draw = drawAll(parameters, uniform, takes);
    const key = canonicalJson(draw);
    if (found.has(key)) stale++;
    else {
      found.set(key, draw);
      stale = 0;
    }
  }
  return [...found.values()];
}
