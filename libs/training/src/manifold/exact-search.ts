/** Nearest neighbours as double precision ranks them, at about the cost of products in single precision. */
import { usesGpu } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { countOf, squaredDistance, type Points } from './points.js';

/** The k nearest (other) points of each, nearest first: [N, k], with Euclidean distances. */
export interface Neighbours {
  k: number;
  places: Int32Array;
  distances: Float64Array;
}

/** Most keys that are held at once: 64 MiB. */
const KEYS = 2 ** 24;
/** Candidates beyond k that single precision picks, for double precision to decide among. */
const SPARE_CANDIDATES = 8;
/** Rows that the centre is taken of. */
const CENTRE_ROWS = 1000;
/** Largest coordinate whose square single precision holds, for sums of 1,000,000 of them. */
const LARGEST = 1e15;
/** What single precision loses of a product that is too small for it. */
const UNDERFLOW = 1e-36;

/**
 * Relative error of a product of two vectors in single precision, and of all that is done to it here, by the standard
 * bound (Higham 2002, section 3.1): width · 2⁻²⁴, whatever the order of the sum; a GPU may round factors to 11 bits.
 */
const errorOf = (width: number): number => (width + 16) * 2 ** -24 + (usesGpu() ? 2 ** -9 : 0);

/**
 * The median of each coordinate, of some points: near most of them wherever a few outliers are. The nearer points lie
 * to the centre, the less is lost in single precision.
 */
function centreOf({ values, width }: Points, count: number): Float64Array {
  const stride = Math.ceil(count / CENTRE_ROWS);
  const column = new Float64Array(Math.ceil(count / stride));
  return Float64Array.from({ length: width }, (_, i) => {
    for (let at = 0; at < column.length; at++) column[at] = values[at * stride * width + i]!;
    return column.toSorted()[column.length >> 1]!;
  });
}

interface Centred {
  /** [N, width] in single precision. */
  values: Float32Array;
  /** Squared lengths [N], in double precision. */
  squares: Float64Array;
  isRepresentable: boolean;
}

function centred({ values, width }: Points, count: number, centre: Float64Array): Centred {
  const result: Centred = {
    values: new Float32Array(values.length),
    squares: new Float64Array(count),
    isRepresentable: true,
  };
  for (let row = 0, at = 0; row < count; row++) {
    for (let i = 0; i < width; i++, at++) {
      const value = values[at]! - centre[i]!;
      result.values[at] = value;
      result.squares[row]! += value * value;
      result.isRepresentable &&= Math.abs(value) < LARGEST;
    }
  }
  return result;
}

/** The nearest points found for one row so far, in order of distance, those as near in order of their places. */
class Best {
  readonly places: number[] = [];
  readonly squares: number[] = [];

  constructor(private readonly k: number) {}

  /** Squared distance of the farthest that is kept: no point at this distance or beyond is taken. */
  get limit(): number {
    return this.squares.length < this.k ? Infinity : this.squares[this.k - 1]!;
  }

  add(place: number, squared: number): void {
    let at = this.squares.length;
    while (
      at > 0 &&
      (this.squares[at - 1]! > squared || (this.squares[at - 1] === squared && this.places[at - 1]! > place))
    )
      at--;
    if (at >= this.k) return;
    this.squares.splice(at, 0, squared);
    this.places.splice(at, 0, place);
    this.squares.length = this.places.length = Math.min(this.k, this.places.length);
  }
}

/** Both sets about one centre, and what a key may be off by. */
class Search {
  private readonly width: number;
  private readonly count: number;
  private readonly bankSquares: Float64Array;
  private readonly queryValues: Float32Array;
  private readonly querySquares: Float64Array;
  private readonly isProvable: boolean;
  private readonly tensors: [y: tf.Tensor2D, twice: tf.Tensor2D, less: tf.Tensor2D];
  /** A query, then a point of the bank. */
  private readonly pair: Float64Array;

  constructor(
    private readonly bank: Points,
    private readonly queries: Points,
    private readonly k: number,
  ) {
    const { width } = bank;
    [this.width, this.count] = [width, countOf(bank)];
    const centre = centreOf(bank, this.count);
    const ofBank = centred(bank, this.count, centre);
    const ofQueries = queries === bank ? ofBank : centred(queries, countOf(queries), centre);
    this.bankSquares = ofBank.squares;
    [this.queryValues, this.querySquares] = [ofQueries.values, ofQueries.squares];
    this.isProvable = ofBank.isRepresentable && ofQueries.isRepresentable;
    this.pair = new Float64Array(2 * width);
    const error = errorOf(width);
    const row = (values: (square: number) => number) =>
      tf.tensor2d(Float32Array.from(this.bankSquares, values), [1, this.count]);
    this.tensors = [
      tf.tensor2d(ofBank.values, [this.count, width]),
      row((square) => 2 * error * Math.sqrt(square)),
      row((square) => (1 - error) * square),
    ];
  }

  /** Of some queries: at least 2xy − |y|² for each pair. [size, bank] */
  keys(start: number, size: number): tf.Tensor2D {
    const { width } = this;
    const [y, twice, less] = this.tensors;
    return tf.tidy(() => {
      const x = tf.tensor2d(this.queryValues.subarray(start * width, (start + size) * width), [size, width]);
      const lengths = Float32Array.from(this.querySquares.subarray(start, start + size), Math.sqrt);
      const products = tf.mul(tf.matMul(x, y, false, true), 2);
      return tf.add<tf.Tensor2D>(tf.sub(products, less), tf.mul(tf.tensor2d(lengths, [size, 1]), twice));
    });
  }

  /** No squared distance from the query is below this, of a point with this key. */
  private leastSquared(query: number, key: number): number {
    return this.querySquares[query]! - key - this.width * UNDERFLOW;
  }

  private compare(best: Best, query: number, place: number): void {
    const { bank, queries, width, pair } = this;
    if (bank !== queries) {
      for (let i = 0; i < width; i++) {
        pair[i] = queries.values[query * width + i]!;
        pair[width + i] = bank.values[place * width + i]!;
      }
      best.add(place, squaredDistance(pair, width, 0, 1));
    } else if (place !== query) best.add(place, squaredDistance(bank.values, width, query, place));
  }

  /** `lastKey`: the candidates'. `keysOf` gives those of all of the bank, where candidates alone prove nothing. */
  best(query: number, candidates: ArrayLike<number>, lastKey: number, keysOf: () => ArrayLike<number>): Best {
    const best = new Best(this.k);
    for (let i = 0; i < candidates.length; i++) this.compare(best, query, candidates[i]!);
    const isProven = this.isProvable && best.limit < this.leastSquared(query, lastKey);
    // At distance 0 no candidate can be nearer.
    if (isProven || candidates.length === this.count || best.limit === 0) return best;
    const [keys, compared] = [keysOf(), new Set(Array.from(candidates))];
    for (let place = 0; place < this.count; place++) {
      const isBeyond = this.isProvable && this.leastSquared(query, keys[place]!) > best.limit;
      if (!isBeyond && !compared.has(place)) this.compare(best, query, place);
    }
    return best;
  }

  dispose(): void {
    tf.dispose(this.tensors);
  }
}

/**
 * The k nearest points of the bank of each query, exact: those that sums of squared differences in double precision
 * rank first. Where both are the same points, a point is none of its own.
 *
 * Of points x and y about a common centre, |x − y|² = |x|² − (2xy − |y|²). A product in single precision gives for each
 * pair a key that the bracket cannot be above. Candidates are those of the highest keys: all others are at least |x|²
 * less the last one's key away. Where that is not beyond the k-th candidate, all of the bank whose keys allow it to be
 * as near are compared too.
 */
export async function nearestAmong(
  bank: Points,
  queries: Points,
  k: number,
  pause: () => Promise<void>,
): Promise<Neighbours> {
  const [count, asked] = [countOf(bank), countOf(queries)];
  const [places, distances] = [new Int32Array(asked * k), new Float64Array(asked * k)];
  const candidates = Math.min(count, k + 1 + SPARE_CANDIDATES);
  const batch = Math.max(1, Math.min(1024, Math.floor(KEYS / count)));
  const search = new Search(bank, queries, k);
  try {
    for (let start = 0; start < asked; start += batch) {
      await pause();
      const size = Math.min(batch, asked - start);
      const keys = search.keys(start, size);
      const [highest, tried] = tf.tidy(() => {
        const { values, indices } = tf.topk(keys, candidates);
        return [values.dataSync(), indices.dataSync()] as const;
      });
      for (let row = 0; row < size; row++) {
        const some = tried.subarray(row * candidates, (row + 1) * candidates);
        const best = search.best(start + row, some, highest[(row + 1) * candidates - 1]!, () =>
          tf.tidy(() => tf.slice2d(keys, [row, 0], [1, -1]).dataSync()),
        );
        places.set(best.places, (start + row) * k);
        distances.set(best.squares.map(Math.sqrt), (start + row) * k);
      }
      keys.dispose();
    }
  } finally {
    search.dispose();
  }
  return { k, places, distances };
}
