/** Combinations of augmentations: subsets of a pool, pairs, or all but one. */
import { z } from 'zod';
import { Augmentation, AUGMENTATIONS } from './augmentation.js';

const Pool = z
  .union([z.array(z.enum(AUGMENTATIONS as [keyof Augmentation, ...(keyof Augmentation)[]])).min(1), Augmentation])
  .describe('Names of augmentations in their usual strength, or each with its settings.');
/** A pool with all settings of its augmentations. */
const resolved = (pool: z.infer<typeof Pool>): Augmentation =>
  Augmentation.parse(Array.isArray(pool) ? Object.fromEntries(pool.map((name) => [name, {}])) : pool);

export const AugmentationAlgebra = z
  .strictObject({
    subsets: z
      .strictObject({
        of: Pool,
        size: z.union([z.int().min(0).max(16), z.tuple([z.int().min(0).max(16), z.int().min(0).max(16)])]),
      })
      .optional()
      .describe('Every combination of so many: one number, or from and to.'),
    pairs: z
      .strictObject({
        of: Pool,
        branches: z
          .enum(['both', 'one'])
          .optional()
          .describe(
            'Views that have the pair: both (also where left out), or only the first, while the second has what is ' +
              "in `always` alone: the setting of SimCLR's figure 5, where `always` is the crop.",
          ),
      })
      .optional()
      .describe('Each alone and each two together: the composition matrix of SimCLR (Chen et al. 2020, figure 5).'),
    leave_one_out: z
      .strictObject({ of: Pool })
      .optional()
      .describe('All together, and all but one: what each is worth.'),
    always: Pool.optional().describe('Augmentations that every combination has.'),
    strengths: z
      .partialRecord(
        z.enum(AUGMENTATIONS as [keyof Augmentation, ...(keyof Augmentation)[]]),
        z.array(z.record(z.string(), z.unknown())).min(1).max(100),
      )
      .default({})
      .describe('Settings that a combination with this augmentation is tried with, instead of the one in `of`.'),
  })
  .refine(
    ({ subsets, pairs, leave_one_out }) => [subsets, pairs, leave_one_out].filter(Boolean).length === 1,
    'expected one of subsets, pairs, leave_one_out',
  )
  .describe('Combinations of augmentations as an axis of the sweep.');

type AugmentationAlgebra = z.infer<typeof AugmentationAlgebra>;

/** The least and the most augmentations of a pool that a combination has. */
function sizesOf({ subsets, pairs }: AugmentationAlgebra, poolSize: number): [least: number, most: number] {
  if (!subsets) return pairs ? [1, 2] : [poolSize - 1, poolSize];
  return typeof subsets.size === 'number' ? [subsets.size, subsets.size] : subsets.size;
}

/** Subsets of names in canonical order: smaller ones first, those with the first names before others. */
function subsetsOf<T>(names: readonly T[], [least, most]: [number, number]): T[][] {
  const places = (subset: readonly T[]) => subset.map((name) => names.indexOf(name) + 10).join();
  return Array.from({ length: 2 ** names.length }, (_, bits) => names.filter((_, place) => bits & (1 << place)))
    .filter((subset) => subset.length >= least && subset.length <= most)
    .sort((a, b) => a.length - b.length || places(a).localeCompare(places(b)));
}

/** How many combinations an algebra means, without making them: settings multiply with each augmentation. */
export function combinationCount(algebra: AugmentationAlgebra): number {
  const { subsets, pairs, leave_one_out: leaveOneOut, strengths } = algebra;
  const pool = resolved((subsets ?? pairs ?? leaveOneOut)!.of);
  const names = AUGMENTATIONS.filter((name) => pool[name] !== undefined);
  const [least, most] = sizesOf(algebra, names.length);
  // counts[size]: combinations of so many of the names that the loop has passed.
  const counts = [1, ...names.map(() => 0)];
  for (const name of names)
    for (let size = names.length; size > 0; size--) counts[size]! += counts[size - 1]! * (strengths[name]?.length ?? 1);
  return counts.reduce((sum, count, size) => sum + (size >= least && size <= most ? count : 0), 0);
}

/** The augmentations that an algebra means, in canonical order; where each is left out in turn, all together first. */
export function combinations(algebra: AugmentationAlgebra): Record<string, unknown>[] {
  const { subsets, pairs, leave_one_out: leaveOneOut, always, strengths } = algebra;
  const pool = resolved((subsets ?? pairs ?? leaveOneOut)!.of);
  const names = AUGMENTATIONS.filter((name) => pool[name] !== undefined);
  const chosen = subsetsOf(names, sizesOf(algebra, names.length));
  if (leaveOneOut) chosen.reverse();
  return chosen.flatMap((some) =>
    some.reduce<Record<string, unknown>[]>(
      (made, name) =>
        made.flatMap((combination) =>
          (strengths[name] ?? [pool[name]]).map((settings) => ({ ...combination, [name]: settings })),
        ),
      [{ ...(always && resolved(always)) }],
    ),
  );
}

/** The field of a pretraining that an algebra sets, and its values: both views alike, or two of which one has more. */
export function valuesOf(algebra: AugmentationAlgebra): { field: 'augmentation' | 'views'; values: unknown[] } {
  const augmentations = combinations(algebra);
  if (algebra.pairs?.branches !== 'one') return { field: 'augmentation', values: augmentations };
  const other = { augmentation: algebra.always ? resolved(algebra.always) : {} };
  return { field: 'views', values: augmentations.map((augmentation) => [{ augmentation }, other]) };
}
