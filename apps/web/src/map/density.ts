/** Where points of a map are dense: contours of the density, and clusters with what they are made of. Pure. */

/** Cells along each side of [-1, 1], with a margin in which contours can close. */
const SIDE = 96;
const REACH = 1.12;
/** Width of the kernel in cells: about a fortieth of the map. */
const SIGMA = 2.2;

const cellOf = (coordinate: number): number =>
  Math.max(0, Math.min(SIDE - 1, Math.floor(((coordinate + REACH) / (2 * REACH)) * SIDE)));
/** The coordinate of a place in the grid, whose cells have their values in their middle. */
const coordinateOf = (place: number): number => ((place + 0.5) / SIDE) * 2 * REACH - REACH;

/** Points in each cell, smoothed by a Gaussian: [SIDE · SIDE], row after row from the lowest. */
export function densityOf(points: Float32Array): Float64Array {
  const counts = new Float64Array(SIDE * SIDE);
  for (let i = 0; i < points.length / 2; i++) counts[cellOf(points[2 * i + 1]!) * SIDE + cellOf(points[2 * i]!)]! += 1;
  return blurred(blurred(counts, 1), SIDE);
}

function blurred(values: Float64Array, stride: number): Float64Array {
  const reach = Math.ceil(3 * SIGMA);
  const kernel = Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp(-((i - reach) ** 2) / (2 * SIGMA ** 2)));
  const sum = kernel.reduce((total, weight) => total + weight, 0);
  const smooth = new Float64Array(values.length);
  for (let at = 0; at < values.length; at++) {
    const place = Math.floor(at / stride) % SIDE;
    for (let by = -reach; by <= reach; by++)
      if (place + by >= 0 && place + by < SIDE) smooth[at]! += (kernel[by + reach]! / sum) * values[at + by * stride]!;
  }
  return smooth;
}

/** Corners of a cell in the order in which its edges join them, as steps in x and y. */
const CORNERS = [
  [0, 0],
  [1, 0],
  [1, 1],
  [0, 1],
] as const;

/**
 * Lines of equal density by marching squares (Lorensen and Cline 1987, in the plane): for each share of the largest
 * density the ends of short lines, [x, y, x, y] each.
 */
export function contoursOf(density: Float64Array, shares: readonly number[]): Float32Array[] {
  const highest = density.reduce((most, value) => Math.max(most, value), 0);
  return shares.map((share) => linesAt(density, share * highest));
}

function linesAt(density: Float64Array, level: number): Float32Array {
  const ends: number[] = [];
  for (let y = 0; y < SIDE - 1; y++)
    for (let x = 0; x < SIDE - 1; x++) {
      const values = CORNERS.map(([dx, dy]) => density[(y + dy) * SIDE + x + dx]!);
      const crossings = CORNERS.flatMap(([dx, dy], corner) => {
        const [from, to] = [values[corner]!, values[(corner + 1) % 4]!];
        if (from >= level === to >= level) return [];
        const [nx, ny] = CORNERS[(corner + 1) % 4]!;
        const part = (level - from) / (to - from);
        return [coordinateOf(x + dx + part * (nx - dx)), coordinateOf(y + dy + part * (ny - dy))];
      });
      // Two edges are crossed, or all four: then those that follow each other are joined.
      ends.push(...crossings);
    }
  return Float32Array.from(ends);
}

export interface Cluster {
  x: number;
  y: number;
  count: number;
  /** How many of each label, the most first; empty where there are no labels. */
  mix: { label: number; count: number }[];
}

/** Clusters of fewer points than this share of all have no label. */
const LEAST_SHARE = 0.015;
const MOST_CLUSTERS = 24;

/**
 * Points that climb to the same peak of the density, the largest such clusters first. `kinds`: a label of each point.
 */
export function clustersOf(
  points: Float32Array,
  density: Float64Array,
  kinds: readonly number[] | null | undefined,
): Cluster[] {
  const peaks = peaksOf(density);
  const found = new Map<number, number[]>();
  const count = points.length / 2;
  for (let i = 0; i < count; i++) {
    const peak = peaks[cellOf(points[2 * i + 1]!) * SIDE + cellOf(points[2 * i]!)]!;
    const members = found.get(peak);
    if (members) members.push(i);
    else found.set(peak, [i]);
  }
  return [...found]
    .filter(([, members]) => members.length >= LEAST_SHARE * count)
    .sort(([, a], [, b]) => b.length - a.length)
    .slice(0, MOST_CLUSTERS)
    .map(([peak, members]) => ({
      x: coordinateOf(peak % SIDE),
      y: coordinateOf(Math.floor(peak / SIDE)),
      count: members.length,
      mix: kinds
        ? [...Map.groupBy(members, (i) => kinds[i]!)]
            .map(([label, own]) => ({ label, count: own.length }))
            .sort((a, b) => b.count - a.count || a.label - b.label)
        : [],
    }));
}

/** For each cell the one that one comes to by going to the densest neighbour for as long as one is denser. */
function peaksOf(density: Float64Array): Int32Array {
  const peaks = new Int32Array(density.length).fill(-1);
  const next = (at: number): number => {
    const [x, y] = [at % SIDE, Math.floor(at / SIDE)];
    let best = at;
    for (let ny = Math.max(0, y - 1); ny <= Math.min(SIDE - 1, y + 1); ny++)
      for (let nx = Math.max(0, x - 1); nx <= Math.min(SIDE - 1, x + 1); nx++)
        if (density[ny * SIDE + nx]! > density[best]!) best = ny * SIDE + nx;
    return best;
  };
  for (let start = 0; start < density.length; start++) {
    const way: number[] = [];
    let at = start;
    while (peaks[at] === -1) {
      way.push(at);
      const then = next(at);
      if (then === at) peaks[at] = at;
      else at = then;
    }
    for (const each of way) peaks[each] = peaks[at]!;
  }
  return peaks;
}
