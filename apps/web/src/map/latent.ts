/** Geometry of maps: points in a lasso, under the pointer, and nearest in the space that was mapped. Pure. */

import { isTerminal, type Embed, type RunStatus } from '#libs/contracts';

/** `maps.json` of an embed run. Lists are in the order of `rows`. */
export interface MapsFile {
  dataset: string;
  split: string;
  samplesDigest: string;
  rows: number[];
  classes: string[];
  labels: number[] | null;
  dimensions: number;
  /** Absent from maps of earlier versions, as `perFile` is. */
  predictions?: number[] | null;
  predictedBy?: 'classifier' | 'neighbours' | null;
  atlas: { columns: number; tile: { width: number; height: number }; points: number[]; perFile?: number };
  maps: Record<
    string,
    { x: number[]; y: number[]; parameters: Record<string, unknown>; alignment?: { to: string; disparity: number } }
  >;
}

interface Plane {
  x: readonly number[];
  y: readonly number[];
}

/**
 * Coordinates of one map, moved and scaled with their proportions kept so that `frame` (by default itself) lies in [-1,
 * 1]: float32 [2N].
 */
export function normalised({ x, y }: Plane, frame: Plane = { x, y }): Float32Array {
  const [left, right] = extent(frame.x);
  const [bottom, top] = extent(frame.y);
  const scale = 2 / (Math.max(right - left, top - bottom) || 1);
  return Float32Array.from(
    { length: 2 * x.length },
    (_, place) => (place % 2 === 0 ? x[place >> 1]! - (left + right) / 2 : y[place >> 1]! - (bottom + top) / 2) * scale,
  );
}

function extent(values: readonly number[]): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low > high ? [0, 0] : [low, high];
}

/** Points [2N] inside a closed polygon (even-odd rule), by their places. */
export function inside(points: Float32Array, polygon: readonly (readonly [number, number])[]): number[] {
  if (polygon.length < 3) return [];
  const [left, right] = extent(polygon.map(([x]) => x));
  const [bottom, top] = extent(polygon.map(([, y]) => y));
  const found: number[] = [];
  for (let i = 0; i < points.length / 2; i++) {
    const [x, y] = [points[2 * i]!, points[2 * i + 1]!];
    if (x < left || x > right || y < bottom || y > top) continue;
    let within = false;
    for (let a = 0, b = polygon.length - 1; a < polygon.length; b = a++) {
      const [ax, ay] = polygon[a]!;
      const [bx, by] = polygon[b]!;
      if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) within = !within;
    }
    if (within) found.push(i);
  }
  return found;
}

/** Part `t` of the way from one set of points to another, of as many: float32 [2N]. */
export const onTheWay = (from: Float32Array, to: Float32Array, t: number): Float32Array =>
  to.map((end, place) => from[place]! + (end - from[place]!) * t);

/** Finds the point under the pointer among many, by cells of a grid that hold a few each. */
export class PointGrid {
  private readonly side: number;
  private readonly starts: Int32Array;
  private readonly members: Int32Array;

  /** Points [2N] in about [-1, 1]; those beyond are in the cells at the edge. */
  constructor(private readonly points: Float32Array) {
    const count = points.length / 2;
    this.side = Math.max(1, Math.min(512, Math.ceil(Math.sqrt(count / 2))));
    const cells = Int32Array.from(
      { length: count },
      (_, i) => this.cell(points[2 * i + 1]!) * this.side + this.cell(points[2 * i]!),
    );
    this.starts = new Int32Array(this.side ** 2 + 1);
    for (const cell of cells) this.starts[cell + 1]!++;
    for (let cell = 0; cell < this.side ** 2; cell++) this.starts[cell + 1]! += this.starts[cell]!;
    const next = this.starts.slice();
    this.members = new Int32Array(count);
    cells.forEach((cell, point) => {
      this.members[next[cell]!++] = point;
    });
  }

  /** The nearest within `radius`; of those as near the one drawn last, which lies on top. */
  nearest(x: number, y: number, radius: number): number | undefined {
    let found: number | undefined;
    let least = radius ** 2;
    const [left, right] = [this.cell(x - radius), this.cell(x + radius)];
    for (let row = this.cell(y - radius); row <= this.cell(y + radius); row++) {
      for (let at = this.starts[row * this.side + left]!; at < this.starts[row * this.side + right + 1]!; at++) {
        const point = this.members[at]!;
        const distance = (this.points[2 * point]! - x) ** 2 + (this.points[2 * point + 1]! - y) ** 2;
        if (distance < least || (distance === least && point > (found ?? -1))) [found, least] = [point, distance];
      }
    }
    return found;
  }

  private cell(coordinate: number): number {
    return Math.max(0, Math.min(this.side - 1, Math.floor(((coordinate + 1) / 2) * this.side)));
  }
}

/** A place of the slider over a run's checkpoints: the weights after `step`, null for those that it ended with. */
export interface Moment<Run> {
  step: number | null;
  map: Run | undefined;
}

/**
 * The moments of a run that can be mapped as `looked` was, the last one at the end, each with the map there is of it:
 * the newest that has succeeded, else one that is on its way. `maps`: embed runs of one parent, the newest first.
 */
export function momentsOf<Run extends { status: string; spec: { kind: string } }>(
  looked: Embed,
  maps: readonly Run[],
  checkpoints: readonly number[],
): Moment<Run>[] {
  const alike = maps
    .filter(({ spec }) => spec.kind === 'embed')
    .map((run) => ({ run, spec: run.spec as unknown as Embed }))
    .filter(
      ({ spec }) =>
        spec.dataset === looked.dataset &&
        spec.split === looked.split &&
        spec.maxSamples === looked.maxSamples &&
        looked.maps.some((map) => spec.maps.includes(map)),
    );
  const at = (step: number | null) => {
    const own = alike.filter(({ spec }) => (spec.checkpoint ?? null) === step).map(({ run }) => run);
    return (
      own.find(({ status }) => status === 'succeeded') ?? own.find(({ status }) => !isTerminal(status as RunStatus))
    );
  };
  const mapped = alike.flatMap(({ run: { status }, spec: { checkpoint } }) =>
    checkpoint === undefined || (status !== 'succeeded' && isTerminal(status as RunStatus)) ? [] : [checkpoint],
  );
  return [...[...new Set([...checkpoints, ...mapped])].sort((a, b) => a - b), null].map((step) => ({
    step,
    map: at(step),
  }));
}

/** Features of an `embeddings.npy`: float32 [N, width], little-endian, C order. @throws where it is anything else */
export function readFeatures(file: ArrayBuffer): { values: Float32Array; width: number } {
  const bytes = new DataView(file);
  if (file.byteLength < 10 || bytes.getUint32(0) !== 0x934e554d)
    throw new Error('expected a .npy file, got something else');
  const long = bytes.getUint8(6) > 1;
  const start = long ? 12 : 10;
  const length = long ? bytes.getUint32(8, true) : bytes.getUint16(8, true);
  const header = new TextDecoder('latin1').decode(new Uint8Array(file, start, length));
  const shape = /'shape':\s*\((\d+),\s*(\d+),?\)/.exec(header);
  if (!shape || !/'descr':\s*'<f4'/.test(header) || !/'fortran_order':\s*False/.test(header))
    throw new Error(`expected float32 [N, width] in C order, got ${header.trim()}`);
  return { values: new Float32Array(file.slice(start + length)), width: Number(shape[2]) };
}

/**
 * The `k` points nearest to the middle of some by Euclidean distance in the space, the nearest first, without those
 * themselves.
 */
export function nearestTo(
  { values, width }: Features,
  some: readonly number[],
  k: number,
): { point: number; distance: number }[] {
  const middle = new Float64Array(width);
  for (const point of some) for (let i = 0; i < width; i++) middle[i]! += values[point * width + i]! / some.length;
  return nearestToVector({ values, width }, middle, k, new Set(some));
}

interface Features {
  values: Float32Array;
  width: number;
}

/** The same of any place in the space: `vector` [width]. `own`: points that are not sought. */
export function nearestToVector(
  { values, width }: Features,
  middle: ArrayLike<number>,
  k: number,
  own: ReadonlySet<number> = new Set(),
): { point: number; distance: number }[] {
  const best: { point: number; distance: number }[] = [];
  for (let other = 0; other < values.length / width; other++) {
    if (own.has(other)) continue;
    let square = 0;
    for (let i = 0; i < width; i++) square += (values[other * width + i]! - middle[i]!) ** 2;
    if (best.length === k && square >= best[k - 1]!.distance) continue;
    const place = best.findIndex(({ distance }) => distance > square);
    best.splice(place < 0 ? best.length : place, 0, { point: other, distance: square });
    if (best.length > k) best.pop();
  }
  return best.map(({ point: other, distance }) => ({ point: other, distance: Math.sqrt(distance) }));
}
