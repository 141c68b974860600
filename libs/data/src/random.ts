import { createHash } from 'node:crypto';
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plusFromState } from 'pure-rand/generator/xoroshiro128plus';
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator';

/** Everything a generator needs to go on; plain JSON, kept in checkpoints. */
export type RandomState = readonly number[];

/** Seeded random numbers (xoroshiro128+) whose state can be kept and restored. */
export class Random {
  private constructor(private readonly generator: RandomGenerator) {}

  /** One seed gives any number of independent streams, so that drawing more of one leaves the others as they are. */
  static seeded(seed: number, stream = ''): Random {
    const digest = createHash('sha256').update(`${seed} ${stream}`).digest();
    return Random.fromState([0, 4, 8, 12].map((offset) => digest.readInt32LE(offset)));
  }

  static fromState(state: RandomState): Random {
    return new Random(xoroshiro128plusFromState(state));
  }

  state(): RandomState {
    return [...this.generator.getState()];
  }

  uint32(): number {
    return this.generator.next() >>> 0;
  }

  /** In [low, high), with 53 random bits. */
  uniform(low = 0, high = 1): number {
    const bits = (this.uint32() >>> 5) * 2 ** 26 + (this.uint32() >>> 6);
    return low + (high - low) * (bits / 2 ** 53);
  }

  /** An integer in [low, highExclusive). */
  integer(low: number, highExclusive: number): number {
    return uniformInt(this.generator, low, highExclusive - 1);
  }

  /** Box-Muller; both numbers of a pair are drawn each time, so that the state holds nothing more. */
  normal(mean = 0, std = 1): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return mean + std * radius * Math.cos(2 * Math.PI * this.uniform());
  }

  bernoulli(p: number): boolean {
    return this.uniform() < p;
  }

  /** 0 … n-1 in random order (Fisher-Yates). */
  permutation(n: number): Int32Array {
    const order = Int32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.integer(0, i + 1);
      const swapped = order[i]!;
      order[i] = order[j]!;
      order[j] = swapped;
    }
    return order;
  }
}
