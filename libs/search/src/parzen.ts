/** Parzen densities of one parameter (Bergstra et al. 2011): a kernel at each observed value, and one for the prior. */
import { canonicalJson, distributionOf, exact, type Parameter } from '#libs/contracts';

/** Weight of the prior beside trials of weight 1. */
const PRIOR_WEIGHT = 1;

/** The newest 25 in full, older ones less and less. */
export function weightsOf(n: number): number[] {
  const ramp = Math.max(0, n - 25);
  return Array.from({ length: n }, (_, i) => {
    if (i >= ramp) return 1;
    return ramp === 1 ? 1 / n : 1 / n + (1 - 1 / n) * (i / (ramp - 1));
  });
}

/** Values drawn from a density, and its logarithm at a value. */
export interface Density {
  draw(uniform: () => number): unknown;
  log(value: unknown): number;
}

/** The density of the values that some trials had of a parameter. */
export const densityOf = (parameter: Parameter, observed: readonly unknown[]): Density =>
  distributionOf(parameter) === 'categorical'
    ? categories(parameter, observed)
    : kernels(scaleOf(parameter), observed as number[]);

function categories({ values = [], probabilities }: Parameter, observed: readonly unknown[]): Density {
  const keys = values.map((value) => canonicalJson(value));
  const total = probabilities?.reduce((sum, each) => sum + each, 0) ?? values.length;
  const prior = keys.map((_, i) => (probabilities?.[i] ?? 1) / total);
  const weights = [...weightsOf(observed.length), PRIOR_WEIGHT];
  const all = weights.reduce((sum, weight) => sum + weight, 0);
  // Each trial is a kernel of its own: its choice, and a little of the prior.
  const share = (PRIOR_WEIGHT * keys.length) / weights.length;
  const mass = prior.map((each) => (PRIOR_WEIGHT * each) / all);
  for (const [i, value] of observed.entries()) {
    const chosen = keys.indexOf(canonicalJson(value));
    for (const place of keys.keys())
      mass[place]! += (weights[i]! / all) * ((share * prior[place]! + (place === chosen ? 1 : 0)) / (share + 1));
  }
  return {
    draw: (uniform) => {
      let rest = uniform() * mass.reduce((sum, each) => sum + each, 0);
      return values.at(mass.findIndex((each) => (rest -= each) < 0));
    },
    log: (value) => Math.log(mass[keys.indexOf(canonicalJson(value))]!),
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

/** Normal kernels at the observed values and a wide one for the prior, cut off at the ends of the range. */
function kernels({ low, high, log, q, prior }: Scale, observed: readonly number[]): Density {
  const inward = (x: number) => (log ? Math.log(Math.max(x, Number.MIN_VALUE)) : x);
  const outward = (x: number) => (log ? Math.exp(x) : x);
  const width = prior.sigma;
  if (width === 0) return { draw: () => outward(low), log: () => 0 };
  const mus = [...observed.map((x) => Math.min(high, Math.max(low, inward(x)))), prior.mu];
  const order = mus.map((_, i) => i).sort((a, b) => mus[a]! - mus[b]!);
  const sorted = order.map((i) => mus[i]!);
  const sigmas = mus.map(() => width);
  for (const [place, i] of order.entries()) {
    if (i === mus.length - 1) continue;
    // As far as the farther neighbour; the ends of the range are none.
    const gaps = [
      sorted[place]! - (sorted[place - 1] ?? Number.NaN),
      (sorted[place + 1] ?? Number.NaN) - sorted[place]!,
    ].filter((gap) => !Number.isNaN(gap));
    sigmas[i] = Math.min(width, Math.max(width / Math.min(100, 1 + mus.length), ...gaps));
  }
  const raw = [...weightsOf(observed.length), PRIOR_WEIGHT];
  const total = raw.reduce((sum, weight) => sum + weight, 0);
  const weights = raw.map((weight) => weight / total);
  const inside = mus.map((mu, i) => normalMass((low - mu) / sigmas[i]!, (high - mu) / sigmas[i]!));
  return {
    draw: (uniform) => {
      let rest = uniform();
      const kernel = Math.max(
        0,
        weights.findIndex((weight) => (rest -= weight) < 0),
      );
      let x = mus[kernel]!;
      for (let tries = 0; tries < 100; tries++) {
        x =
          mus[kernel]! + sigmas[kernel]! * Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
        if (x >= low && x <= high) break;
      }
      const value = outward(Math.min(high, Math.max(low, x)));
      if (q === null) return value;
      const multiple = Math.round(value / q);
      if (log) return exact(multiple * q);
      return exact(Math.min(Math.round((high - q / 2) / q), Math.max(Math.round((low + q / 2) / q), multiple)) * q);
    },
    log: (value) => {
      const x = value as number;
      const [from, to] = q === null ? [0, 0] : [Math.max(low, inward(x - q / 2)), Math.min(high, inward(x + q / 2))];
      const at = q === null ? inward(x) : 0;
      const density = weights.reduce(
        (sum, weight, i) =>
          sum +
          (weight / inside[i]!) *
            (q === null
              ? Math.exp(-0.5 * ((at - mus[i]!) / sigmas[i]!) ** 2) / (sigmas[i]! * Math.sqrt(2 * Math.PI))
              : normalMass((from - mus[i]!) / sigmas[i]!, (to - mus[i]!) / sigmas[i]!)),
        0,
      );
      return Math.log(Math.max(density, 1e-300));
    },
  };
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
