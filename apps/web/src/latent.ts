/** What is asked of a map of samples: which lie in a lasso, which are near in the space itself. Pure. */

/** `maps.json` of an embed run. Lists are in the order of `rows`. */
export interface MapsFile {
  dataset: string; split: string; samplesDigest: string; rows: number[]; classes: string[]; labels: number[] | null; dimensions: number;
  atlas: { columns: number; tile: { width: number; height: number }; points: number[] };
  maps: Record<string, { x: number[]; y: number[]; parameters: Record<string, unknown>; alignment?: { to: string; disparity: number } }>;
}

/** Coordinates of one map, moved and scaled into [-1, 1] with their proportions kept: float32 [2N]. */
export function normalised({ x, y }: { x: readonly number[]; y: readonly number[] }): Float32Array {
  const [left, right] = extent(x);
  const [bottom, top] = extent(y);
  const scale = 2 / (Math.max(right - left, top - bottom) || 1);
  return Float32Array.from({ length: 2 * x.length }, (_, place) => (place % 2 === 0 ? x[place >> 1]! - (left + right) / 2 : y[place >> 1]! - (bottom + top) / 2) * scale);
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

/** Features of an `embeddings.npy`: float32 [N, width], little-endian, C order. @throws where it is anything else */
export function readFeatures(file: ArrayBuffer): { values: Float32Array; width: number } {
  const bytes = new DataView(file);
  if (file.byteLength < 10 || bytes.getUint32(0) !== 0x934e554d) throw new Error('expected a .npy file, got something else');
  const long = bytes.getUint8(6) > 1;
  const start = long ? 12 : 10;
  const length = long ? bytes.getUint32(8, true) : bytes.getUint16(8, true);
  const header = new TextDecoder('latin1').decode(new Uint8Array(file, start, length));
  const shape = /'shape':\s*\((\d+),\s*(\d+),?\)/.exec(header);
  if (!shape || !/'descr':\s*'<f4'/.test(header) || !/'fortran_order':\s*False/.test(header)) throw new Error(`expected float32 [N, width] in C order, got ${header.trim()}`);
  return { values: new Float32Array(file.slice(start + length)), width: Number(shape[2]) };
}

/** The `k` points nearest to one by Euclidean distance in the space, the nearest first, without itself. */
export function nearestTo({ values, width }: { values: Float32Array; width: number }, point: number, k: number): { point: number; distance: number }[] {
  const best: { point: number; distance: number }[] = [];
  for (let other = 0; other < values.length / width; other++) {
    if (other === point) continue;
    let square = 0;
    for (let i = 0; i < width; i++) square += (values[other * width + i]! - values[point * width + i]!) ** 2;
    if (best.length === k && square >= best[k - 1]!.distance) continue;
    const place = best.findIndex(({ distance }) => distance > square);
    best.splice(place < 0 ? best.length : place, 0, { point: other, distance: square });
    if (best.length > k) best.pop();
  }
  return best.map(({ point: other, distance }) => ({ point: other, distance: Math.sqrt(distance) }));
}
