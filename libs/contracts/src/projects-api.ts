import { z } from 'zod';
import { dateTime } from './http-fields.js';

export const Project = z
  .object({
    name: z.string(),
    weight: z.number(),
    maxRunning: z.int().nullable(),
    gpuSeconds: z.number().nullable(),
    /** Runs that workers hold, and runs that are queued or wait to be repeated. */
    running: z.int(),
    waiting: z.int(),
    /** How long workers have worked on its runs, finished or not. */
    gpuSecondsUsed: z.number(),
    createdAt: dateTime,
  })
  .meta({ id: 'Project' });
export type Project = z.output<typeof Project>;
/** What is left out stays as it is, in a new project as said here; null lifts a quota. */
export const ProjectSettings = z
  .strictObject({
    /** Where several projects have runs that wait, each gets starts and slots in proportion to its weight (1). */
    weight: z.number().min(0.001).max(1e6).optional(),
    /** How many of its runs may be under way at once (null: any number). 0 starts none. */
    maxRunning: z.int().min(0).max(1e6).nullable().optional(),
    /** What its runs may have used altogether (null: any amount): then no other starts, and those under way go on. */
    gpuSeconds: z.number().min(0).max(1e12).nullable().optional(),
  })
  .meta({ id: 'ProjectSettings' });
export type ProjectSettings = z.infer<typeof ProjectSettings>;
