/** Functions whose least value is known, on which searches by a model are compared. */
import { canonicalJson, type Parameter } from '#libs/contracts';
import { atOnce, nextDraw } from '#libs/search';

type Values = Record<string, unknown>;
export interface Problem {
  space: Record<string, Parameter>;
  loss: (values: Values) => number;
  /** The least value. */
  least: number;
}

export const uniform = (min: number, max: number): Parameter => ({ min, max, distribution: 'uniform' });

const branin = ({ x, y }: Values): number =>
  ((y as number) - (5.1 / (4 * Math.PI ** 2)) * (x as number) ** 2 + (5 / Math.PI) * (x as number) - 6) ** 2 +
  10 * (1 - 1 / (8 * Math.PI)) * Math.cos(x as number) +
  10;

// Hartmann's function of six numbers (Dixon and Szegő 1978).
const HEIGHTS = [1, 1.2, 3, 3.2];
const SLOPES = [
  [10, 3, 17, 3.5, 1.7, 8],
  [0.05, 10, 17, 0.1, 8, 14],
  [3, 3.5, 1.7, 10, 17, 8],
  [17, 8, 0.05, 10, 0.1, 14],
];
const CENTRES = [
  [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
  [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
  [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.665],
  [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
];
const NAMES = ['a', 'b', 'c', 'd', 'e', 'f'];
const hartmann = (values: Values): number =>
  -HEIGHTS.reduce((sum, height, i) => {
    const far = NAMES.reduce((total, name, j) => {
      const gap = (values[name] as number) - CENTRES[i]![j]!;
      return total + SLOPES[i]![j]! * gap ** 2;
    }, 0);
    return sum + height * Math.exp(-far);
  }, 0);

const mixed = ({ rate, width, layers, norm }: Values): number =>
  Math.abs(Math.log10(rate as number) + 3) +
  Math.abs((width as number) - 256) / 128 +
  Math.abs((layers as number) - 3) / 2 +
  (norm === 'group' ? 0 : 1);

const conditional = ({ method, temperature, rate, momentum, depth, width }: Values): number => {
  const shared = 4 * ((temperature as number) - 0.3) ** 2;
  if (method === 'a') return shared + Math.abs(Math.log10(rate as number) + 3) + Math.abs((momentum as number) - 0.9);
  if (method === 'b')
    return shared + 0.3 + Math.abs((depth as number) - 5) / 4 + Math.abs((width as number) - 128) / 128;
  return shared + 0.8;
};

export const PROBLEMS: Record<string, Problem> = {
  branin: { space: { x: uniform(-5, 10), y: uniform(0, 15) }, loss: branin, least: 0.397887 },
  hartmann6: {
    space: Object.fromEntries(NAMES.map((name) => [name, uniform(0, 1)])),
    loss: hartmann,
    least: -3.32237,
  },
  mixed: {
    space: {
      rate: { min: 1e-5, max: 1, distribution: 'log_uniform_values' },
      width: { min: 16, max: 512, q: 16, distribution: 'q_uniform' },
      layers: { min: 1, max: 8 },
      norm: { values: ['none', 'batch', 'group', 'layer'] },
    },
    loss: mixed,
    least: 0,
  },
  conditional: {
    space: {
      method: { values: ['a', 'b', 'c'] },
      temperature: uniform(0.05, 1),
      rate: { min: 1e-5, max: 1, distribution: 'log_uniform_values', when: { method: 'a' } },
      momentum: { ...uniform(0, 0.99), when: { method: 'a' } },
      depth: { min: 1, max: 8, when: { method: 'b' } },
      width: { min: 16, max: 512, q: 16, distribution: 'q_uniform', when: { method: 'b' } },
    },
    loss: conditional,
    least: 0,
  },
};

/** How far the best of so many trials of our search lies from the least value. */
export function regretOf({ space, loss, least }: Problem, trials: number, seed: number): number {
  const found: { parameters: Values; order: number; value: number }[] = [];
  const tried = new Set<string>();
  for (let place = 0; place < trials; place++) {
    const ranked = found.toSorted((a, b) => a.value - b.value);
    const draw = atOnce(nextDraw(space, { seed, place, ranked, tried }));
    if (!draw) break;
    tried.add(canonicalJson(draw));
    found.push({ parameters: draw, order: place, value: loss(draw) });
  }
  return Math.min(...found.map(({ value }) => value)) - least;
}
