/** Workers, their GPUs and labels, and which of them a run asks for. */
import { z } from 'zod';
import { dateTime } from './http-fields.js';

export const Labels = z
  .record(
    z.string(),
    z.string().regex(/^[A-Za-z0-9._-]{1,63}$/, 'expected a value of 1 to 63 letters, digits, ., _ or -'),
  )
  .superRefine((labels, context) => {
    if (Object.keys(labels).length > 16)
      context.addIssue({ code: 'custom', message: `expected at most 16 labels, got ${Object.keys(labels).length}` });
    const wrong = Object.keys(labels).find((key) => !/^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/.test(key));
    if (wrong !== undefined)
      context.addIssue({
        code: 'custom',
        message:
          'expected labels such as gpu=a100, whose keys are 1 to 63 letters, digits, ., _, / or -, got ' +
          `${JSON.stringify(wrong.slice(0, 80))}`,
      });
  })
  .describe('What a worker is or has, such as `gpu=a100`, and what a run asks for.');
const RequiredGpu = z
  .strictObject({
    name: z.string().min(1).max(100).optional(),
    memoryMiB: z
      .int()
      .min(1)
      .max(2 ** 30)
      .optional(),
  })
  .describe('A GPU as a run asks for it: by a part of its name, whatever the case (`A100`), and by its memory.');
export const Requires = z
  .strictObject({ labels: Labels.default({}), gpu: RequiredGpu.optional() })
  .describe(
    'Where a run may run: only on a worker that has all of the labels, on one of its GPUs that is as asked. Of an ' +
      'equal run that exists already it changes nothing.',
  );
export type Requires = z.output<typeof Requires>;

export const Gpu = z
  .object({ index: z.int(), uuid: z.string(), name: z.string(), memoryMiB: z.int(), driver: z.string() })
  .meta({ id: 'Gpu' });
export type Gpu = z.infer<typeof Gpu>;

export const Worker = z
  .object({
    id: z.string(),
    host: z.string(),
    state: z.enum(['starting', 'running', 'draining', 'stopped']),
    impairment: z
      .string()
      .nullable()
      .describe('Why it takes no runs for now, such as a store that it can’t write to; null where it takes some.'),
    slots: z.int(),
    pid: z.int(),
    versions: z.record(z.string(), z.string()),
    labels: Labels,
    gpus: z.array(Gpu),
    memoryMiB: z.int().nullable().describe('Memory of its machine; null where the worker does not tell.'),
    startedAt: dateTime,
    heartbeatAt: dateTime,
    alive: z.boolean().describe('False when the last heartbeat is older than the lease.'),
  })
  .meta({ id: 'Worker' });
export type Worker = z.output<typeof Worker>;
