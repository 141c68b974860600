/** Barnes-Hut forces of t-SNE: a tree of nested squares over points in the plane. */

/** A square counts as one point where its side is at most this part of its distance. */
const ANGLE = 0.5;

/** Halvings of the square on each axis: points in one of the smallest squares share a leaf. */
const LEVELS = 16;
/** Most points: a point's index and its square's key share the 53 bits of one number. */
const MOST_POINTS = 2 ** 20;

/**
 * Points in the plane by nested squares, where what is far away counts as one. Squares lie in the order in which they
 * are visited, so that a visit goes forward through memory; one with all its points in one quarter is that quarter.
 */
export class Quadtree {
  private size = 0;
  /**
   * Four numbers for each square: mean of its points (x, y), their number, and the squared distance from which they
   * count as one, 0 for a leaf.
   */
  private readonly squares: Float64Array;
  /** For each square, the next one that is not inside it. */
  private readonly after: Int32Array;
  /** For each point, in the order of the squares: quarters taken from the outermost square on, two bits each. */
  private readonly paths: Uint32Array;
  private readonly order: Int32Array;
  private readonly keys: Float64Array;
  private side = 0;

  constructor(private readonly count: number) {
    if (count > MOST_POINTS) throw new RangeError(`expected at most ${MOST_POINTS} points, got ${count}`);
    // Every square but a leaf holds at least two others: fewer than 2N in all.
    [this.squares, this.after] = [new Float64Array(4 * 2 * count), new Int32Array(2 * count)];
    [this.paths, this.order, this.keys] = [new Uint32Array(count), new Int32Array(count), new Float64Array(count)];
  }

  /**
   * Writes Σ_j (y_i − y_j) · q_ij² into `forces` [N, 2], where q_ij = 1 / (1 + |y_i − y_j|²); y: [N, 2].
   * Returns Σ q_ij over all pairs i ≠ j.
   */
  repulsion(y: Float64Array, forces: Float64Array): number {
    this.sort(y);
    this.size = 0;
    this.build(y, 0, this.count, 0);
    const { size, squares, after } = this;
    let normaliser = 0;
    for (const i of this.order) {
      const [x, height] = [y[2 * i]!, y[2 * i + 1]!];
      let [forceX, forceY] = [0, 0];
      for (let node = 0; node < size;) {
        const at = 4 * node;
        const [dx, dy] = [x - squares[at]!, height - squares[at + 1]!];
        const squared = dx * dx + dy * dy;
        if (squared < squares[at + 3]!) {
          node++;
          continue;
        }
        const q = 1 / (1 + squared);
        const weighted = squares[at + 2]! * q;
        normaliser += weighted;
        forceX += weighted * q * dx;
        forceY += weighted * q * dy;
        node = after[node]!;
      }
      forces[2 * i] = forceX;
      forces[2 * i + 1] = forceY;
    }
    // A point's own leaf is at no distance: 1 for each, and no force.
    return Math.max(normaliser - this.count, Number.MIN_VALUE);
  }

  private sort(y: Float64Array): void {
    let [lowX, highX, lowY, highY] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let at = 0; at < y.length; at += 2) {
      const [x, height] = [y[at]!, y[at + 1]!];
      if (x < lowX) lowX = x;
      if (x > highX) highX = x;
      if (height < lowY) lowY = height;
      if (height > highY) highY = height;
    }
    this.side = Math.max(highX - lowX, highY - lowY, Number.MIN_VALUE);
    const cells = 2 ** LEVELS;
    const cellOf = (distance: number) => Math.min(cells - 1, Math.floor((distance / this.side) * cells));
    for (let i = 0; i < this.count; i++)
      this.keys[i] = interleaved(cellOf(y[2 * i]! - lowX), cellOf(y[2 * i + 1]! - lowY)) * MOST_POINTS + i;
    this.keys.sort();
    this.keys.forEach((key, place) => {
      this.paths[place] = Math.floor(key / MOST_POINTS);
      this.order[place] = key % MOST_POINTS;
    });
  }

  /** The square of the points from place `from` up to `to`, which share their first `level` quarters. */
  private build(y: Float64Array, from: number, to: number, level: number): number {
    const { paths, squares, order } = this;
    const quarter = (place: number) => (paths[place]! >>> (2 * (LEVELS - 1 - level))) & 3;
    while (level < LEVELS && quarter(from) === quarter(to - 1)) level++;
    const node = this.size++;
    let [sumX, sumY] = [0, 0];
    if (level === LEVELS) {
      for (let place = from; place < to; place++) {
        sumX += y[2 * order[place]!]!;
        sumY += y[2 * order[place]! + 1]!;
      }
    } else {
      for (let start = from; start < to;) {
        let [end, high] = [start + 1, to];
        while (end < high) {
          const middle = (end + high) >>> 1;
          if (quarter(middle) === quarter(start)) end = middle + 1;
          else high = middle;
        }
        const child = 4 * this.build(y, start, end, level + 1);
        sumX += squares[child]! * squares[child + 2]!;
        sumY += squares[child + 1]! * squares[child + 2]!;
        start = end;
      }
    }
    squares[4 * node] = sumX / (to - from);
    squares[4 * node + 1] = sumY / (to - from);
    squares[4 * node + 2] = to - from;
    squares[4 * node + 3] = level === LEVELS ? 0 : (this.side / 2 ** level / ANGLE) ** 2;
    this.after[node] = this.size;
    return node;
  }
}

/** Bits of two 16-bit numbers in turn (Morton 1966). */
function interleaved(x: number, y: number): number {
  const spread = (value: number) => {
    value = (value | (value << 8)) & 0x00ff00ff;
    value = (value | (value << 4)) & 0x0f0f0f0f;
    value = (value | (value << 2)) & 0x33333333;
    return (value | (value << 1)) & 0x55555555;
  };
  return (spread(x) | (spread(y) << 1)) >>> 0;
}
