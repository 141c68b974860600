import { labelsPerClass } from '#libs/contracts';
import { createHash } from 'node:crypto';
import type { SampleSplit } from './dataset.js';
import { Random } from './random.js';

export interface LabelSubset {
  /** Rows of the split whose labels may be used, in ascending order. */
  rows: Int32Array;
  /** Checksum of the rows as little-endian int32: equal subsets have equal sums. */
  sha256: string;
}

/**
 * The labels that a run may use: `labelsPerClass` of each class, drawn by seed. Subsets of one seed are nested: that of
 * 1 % lies inside that of 10 %, because each class has one order and a fraction takes its beginning. Where pixels have
 * the labels, all samples are one class.
 */
export function labelSubset(
  { labels, count, classes }: Pick<SampleSplit, 'labels' | 'count' | 'classes'>,
  fraction: number,
  seed: number,
): LabelSubset {
  const byClass: number[][] = Array.from({ length: labels ? classes.length : 1 }, () => []);
  (labels ?? new Int32Array(count)).forEach((label, row) => byClass[label]!.push(row));
  const kept = labelsPerClass(
    byClass.map((members) => members.length),
    fraction,
  );
  const rows = Int32Array.from(
    byClass.flatMap((members, label) => {
      const order = Random.seeded(seed, `labels ${label}`).permutation(members.length);
      return [...order.subarray(0, kept[label])].map((place) => members[place]!);
    }),
  ).sort();
  return { rows, sha256: createHash('sha256').update(new Uint8Array(rows.buffer)).digest('hex') };
}
