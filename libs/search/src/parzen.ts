/**
 * Joint Parzen densities of several parameters (Falkner et al. 2018, section 3.2): a kernel for each observed trial,
 * the product of one in each parameter, and one for the prior.
 */
import { canonicalJson, distributionOf, exact, type Parameter } from '#libs/contracts';
import type { InPieces } from './pieces.js';

/** Weight of the prior beside trials of weight 1. */
const PRIOR_WEIGHT = 1;

/** Of n trials, the oldest first: the newest 25 in full, older ones less and less (as Optuna). */
export function weightsByTime(n: number): number[] {
  const ramp = Math.max(0, n - 25);
  return Array.from({ length: n }, (_, i) => {
    if (i >= ramp) return 1;
    return ramp === 1 ? 1 / n : 1 / n + (1 - 1 / n) * (i / (ramp - 1));
  });
}

/**
 * Of n trials, the best first: log(n + 1) − log(rank), as CMA-ES weighs those that it goes on from (Hansen 2016,
 * equation 49), with a mean of 1.
 */
export function weightsByRank(n: number): number[] {
  const raw = Array.from({ length: n }, (_, i) => Math.log(n + 1) - Math.log(i + 1));
  const mean = raw.reduce((sum, weight) => sum + weight, 0) / n;
  return raw.map((weight) => weight / mean);
}

/** Parameters by their paths, and what trials had of them. */
type Assignment = Record<string, unknown>;

/** Values drawn from a density, and its logarithm at a value. */
export interface Density {
  draw(uniform: () => number): Assignment;
  log(values: Assignment): InPieces<number>;
}

/** The kernels in one parameter: the observed ones in their order, then the prior's. */
interface Kernels {
  draw(kernel: number, uniform: () => number): unknown;
  /** Adds the logarithm of each kernel's density at a value. */
  add(logs: Float64Array, value: unknown): void;
}

/**
 * The density of the values that some trials had of parameters, all of which each of them had; each trial counts by its
 * weight.
 */
export function* densityOf(
  parameters: readonly (readonly [string, Parameter])[],
  observed: readonly Assignment[],
  weightOf: readonly number[],
): InPieces<Density> {
  const kernels: (readonly [string, Kernels])[] = [];
  for (const [path, parameter] of parameters) {
    const values = observed.map((each) => each[path]);
    kernels.push([path, kernelsOf(parameter, values)]);
    yield;
  }
  const raw = [...weightOf, PRIOR_WEIGHT];
  const total = raw.reduce((sum, weight) => sum + weight, 0);
  const weights = raw.map((weight) => weight / total);
  const priors = Float64Array.from(weights, (weight) => Math.log(weight));
  return {
    draw: (uniform) => {
      const kernel = chosen(weights, uniform);
      return Object.fromEntries(kernels.map(([path, each]) => [path, each.draw(kernel, uniform)]));
    },
    *log(values) {
      const logs = priors.slice();
      for (const [path, each] of kernels) {
        each.add(logs, values[path]);
        yield;
      }
      const highest = logs.reduce((max, log) => Math.max(max, log), Number.NEGATIVE_INFINITY);
      return highest + Math.log(logs.reduce((sum, log) => sum + Math.exp(log - highest), 0));
    },
  };
}

const kernelsOf = (parameter: Parameter, observed: readonly unknown[]): Kernels =>
  distributionOf(parameter) === 'categorical'
    ? categories(parameter, observed)
    : numbers(scaleOf(parameter), observed as number[]);

/** Which of some weights, that add up to 1, a number in [0, 1) falls to. */
function chosen(weights: readonly number[], uniform: () => number): number {
  let rest = uniform();
  const found = weights.findIndex((weight) => (rest -= weight) < 0);
  return found < 0 ? weights.length - 1 : found;
}

/** Each trial's choice, and a little of the prior. */
function categories({ values = [], probabilities }: Parameter, observed: readonly unknown[]): Kernels {
  const places = new Map(values.map((value, i) => [canonicalJson(value), i]));
  const total = probabilities?.reduce((sum, each) => sum + each, 0) ?? values.length;
  const prior = values.map((_, i) => (probabilities?.[i] ?? 1) / total);
  const share = (PRIOR_WEIGHT * values.length) / (observed.length + 1);
  const choices = observed.map((value) => places.get(canonicalJson(value)));
  const massOf = (choice: number | undefined, place: number) =>
    choice === undefined ? prior[place]! : (share * prior[place]! + Number(place === choice)) / (share + 1);
  const all = [...choices, undefined];
  return {
    draw: (kernel, uniform) =>
      values[
        chosen(
          values.map((_, place) => massOf(all[kernel], place)),
          uniform,
        )
      ],
    add: (logs, value) => {
      const place = places.get(canonicalJson(value))!;
      for (let i = 0; i < all.length; i++) logs[i]! += Math.log(massOf(all[i], place));
    },
  };
}

/** How numbers of a range are looked at: as they are or by their logarithm, continuous or in multiples of q. */
export interface Scale {
  low: number;
  high: number;
  log: boolean;
  q: number | null;
  prior: { mu: number; sigma: number };
}

export function scaleOf(parameter: Parameter): Scale {
  const { mu = 0, sigma = 1 } = parameter;
  const distribution = distributionOf(parameter);
  const [min, max] = endsOf(parameter);
  const multiples = distribution.startsWith('q_') ? (parameter.q ?? 1) : null;
  const q = distribution === 'int_uniform' ? 1 : multiples;
  const log = distribution.includes('log');
  if (distribution.endsWith('normal'))
    return { low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY, log, q, prior: { mu, sigma } };
  const edge = (x: number, side: number) => {
    if (distribution.endsWith('log_uniform_values')) return Math.log(x);
    return q === null || log ? x : Math.round(x / q) * q + (side * q) / 2;
  };
  const [low, high] = [edge(min, -1), edge(max, 1)];
  return { low, high, log, q, prior: { mu: (low + high) / 2, sigma: high - low } };
}

/** Between what a parameter lies, in what its distribution counts in. */
function endsOf(parameter: Parameter): [low: number, high: number] {
  const { min = 0, max = 0 } = parameter;
  const distribution = distributionOf(parameter);
  if (distribution.endsWith('beta')) return [0, 1];
  return distribution === 'inv_log_uniform' ? [-max, -min] : [min, max];
}

/**
 * By which power of the number of kernels the narrowest may become narrower. 1, as Optuna has it, makes those of the
 * six best of sixty trials an eighth of the range at least; docs/benchmarks.md has what each power comes to.
 */
const NARROWING = 1.25;

/**
 * Widths of kernels at these places: as far as the farther neighbour (as Optuna 5). The ends of the range are none, but
 * for a kernel that is alone. Never wider than the range, nor narrower than a part of it that falls with their number.
 */
export function bandwidths(mus: readonly number[], low: number, high: number, width: number): number[] {
  const least = width / Math.min(100, (2 + mus.length) ** NARROWING);
  const order = mus.map((_, i) => i).sort((a, b) => mus[a]! - mus[b]!);
  const sigmas = mus.map(() => width);
  for (const [place, i] of order.entries()) {
    const [before, after] = [order[place - 1], order[place + 1]];
    const alone = mus.length === 1;
    const gaps = [
      ...(before === undefined ? [] : [mus[i]! - mus[before]!]),
      ...(after === undefined ? [] : [mus[after]! - mus[i]!]),
      ...(alone ? [mus[i]! - low, high - mus[i]!] : []),
    ];
    sigmas[i] = Math.min(width, Math.max(least, ...gaps));
  }
  return sigmas;
}

/** Normal kernels at the observed values and a wide one for the prior, cut off at the ends of the range. */
function numbers({ low, high, log, q, prior }: Scale, observed: readonly number[]): Kernels {
  const inward = (x: number) => (log ? Math.log(Math.max(x, Number.MIN_VALUE)) : x);
  const outward = (x: number) => (log ? Math.exp(x) : x);
  const width = prior.sigma;
  if (width === 0) return { draw: () => outward(low), add: () => undefined };
  const places = observed.map((x) => Math.min(high, Math.max(low, inward(x))));
  const mus = [...places, prior.mu];
  const sigmas = [...bandwidths(places, low, high, width), width];
  const inside = mus.map((mu, i) => Math.log(normalMass((low - mu) / sigmas[i]!, (high - mu) / sigmas[i]!)));
  // Multiples come again among the candidates.
  const known = new Map<number, number[]>();
  const massesOf = (x: number, step: number) => {
    const [from, to] = [Math.max(low, inward(x - step / 2)), Math.min(high, inward(x + step / 2))];
    return mus.map((mu, i) => Math.log(normalMass((from - mu) / sigmas[i]!, (to - mu) / sigmas[i]!)) - inside[i]!);
  };
  const heights = sigmas.map((sigma, i) => -Math.log(sigma * Math.sqrt(2 * Math.PI)) - inside[i]!);
  return {
    draw: (kernel, uniform) => {
      const value = outward(truncatedNormal(mus[kernel]!, sigmas[kernel]!, low, high, uniform));
      if (q === null) return value;
      const multiple = Math.round(value / q);
      if (log) return exact(multiple * q);
      return exact(Math.min(Math.round((high - q / 2) / q), Math.max(Math.round((low + q / 2) / q), multiple)) * q);
    },
    add: (logs, value) => {
      const x = value as number;
      if (q === null) {
        const at = inward(x);
        for (let i = 0; i < mus.length; i++) logs[i]! += heights[i]! - 0.5 * ((at - mus[i]!) / sigmas[i]!) ** 2;
        return;
      }
      const masses = known.get(x) ?? massesOf(x, q);
      known.set(x, masses);
      for (let i = 0; i < mus.length; i++) logs[i]! += masses[i]!;
    },
  };
}

/** A draw between two ends; at the nearest of them where hardly any falls between. */
function truncatedNormal(mu: number, sigma: number, low: number, high: number, uniform: () => number): number {
  let x = mu;
  for (let tries = 0; tries < 100; tries++) {
    x = mu + sigma * Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
    if (x >= low && x <= high) return x;
  }
  return Math.min(high, Math.max(low, x));
}

/** Probability of the standard normal distribution between a and b. */
function normalMass(a: number, b: number): number {
  const upper = (x: number) => 0.5 * erfc(x / Math.SQRT2);
  return Math.max(a > 0 ? upper(a) - upper(b) : upper(-b) - upper(-a), 1e-300);
}

/**
 * Complementary error function by Chebyshev fitting (Press et al., Numerical Recipes, section 6.2): relative error
 * below 1.2e-7.
 */
function erfc(x: number): number {
  if (x === Number.POSITIVE_INFINITY) return 0;
  if (x === Number.NEGATIVE_INFINITY) return 2;
  const t = 1 / (1 + 0.5 * Math.abs(x));
  const y =
    t *
    Math.exp(
      -x * x -
        1.26551223 +
        t *
          (1.00002368 +
            t *
              (0.37409196 +
                t *
                  (0.09678418 +
                    t *
                      (-0.18628806 +
                        t *
                          (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277)))))))),
    );
  return x >= 0 ? y : 2 - y;
}
