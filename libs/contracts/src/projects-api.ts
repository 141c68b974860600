import { z } from 'zod';
import { dateTime, maxSeconds } from './http-fields.js';

export const Project = z
  .object({
    name: z.string(),
    weight: z.number(),
    maxRunning: z.int().nullable(),
    gpuSeconds: z.number().nullable(),
    maxSeconds: z.number().nullable(),
    running: z.int().describe('How many of its runs workers hold.'),
    waiting: z.int().describe('How many of its runs are queued or wait to be repeated.'),
    gpuSecondsUsed: z.number().describe('How long workers have worked on its runs, finished or not.'),
    createdAt: dateTime,
  })
  .meta({ id: 'Project' });
export type Project = z.output<typeof Project>;
export const ProjectSettings = z
  .strictObject({
    weight: z
      .number()
      .min(0.001)
      .max(1e6)
      .optional()
      .describe(
        'Where several projects have runs that wait, each gets starts and slots in proportion to its weight (1).',
      ),
    maxRunning: z
      .int()
      .min(0)
      .max(1e6)
      .nullable()
      .optional()
      .describe('How many of its runs may be under way at once (null: any number). 0 starts none.'),
    gpuSeconds: z
      .number()
      .min(0)
      .max(1e12)
      .nullable()
      .optional()
      .describe(
        'What its runs may have used altogether (null: any amount): then no other starts, and those under way go on.',
      ),
    maxSeconds: maxSeconds
      .nullable()
      .optional()
      .describe('Time limit of its runs that are submitted from now on without one, in seconds (null: none).'),
  })
  .meta({
    id: 'ProjectSettings',
    description: 'What is left out stays as it is, in a new project as said here; null lifts a quota.',
  });
export type ProjectSettings = z.infer<typeof ProjectSettings>;
