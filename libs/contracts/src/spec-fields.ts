/** Fields and checks that several kinds of runs have in their specs. Not exported from the library. */
import { z } from 'zod';

export const probability = z.number().min(0).max(1);
export const seed = z
  .int()
  .min(0)
  .max(2 ** 32 - 1);

export const labelFraction = z
  .number()
  .gt(0)
  .max(1)
  .default(1)
  .describe('Labels used: a stratified, nested, seeded subset of the training split.');

export const evalSplit = z.enum(['val', 'test']).default('val');
export const epochs = z.int().min(1).max(10_000);
export const batchSize = z.int().min(2).max(16_384);

/** `low <= high`, told at the field of the lower bound. */
export const ordered =
  <Low extends string, High extends string>(low: Low, high: High) =>
  (value: Record<Low | High, number>, context: z.RefinementCtx) => {
    if (value[low] > value[high])
      context.addIssue({
        code: 'custom',
        path: [low],
        message: `expected at most ${high} (${value[high]}), got ${value[low]}`,
      });
  };

/** A run with a parent has the parent's encoder: one of its own is refused. */
export const noEncoderWithParent = (spec: { from: string | null; encoder?: unknown }, context: z.RefinementCtx) => {
  if (spec.from !== null && spec.encoder)
    context.addIssue({
      code: 'custom',
      path: ['encoder'],
      message: "expected no encoder together with `from`: the encoder is the parent run's",
    });
};
