/** Submits of sweeps, and sweeps with their trials as the API tells of them. */
import { z } from 'zod';
import { dateTime, maxSeconds, optionalDateTime, priority, project, tags } from './http-fields.js';
import { Plan } from './plans-api.js';
import { RunStatus } from './run-status.js';
import { CONTROLS, SweepSpec } from './sweep.js';
import { Requires } from './workers-api.js';

export const SubmitSweep = z
  .strictObject({
    spec: SweepSpec,
    tags: tags.default([]),
    project,
    priority,
    requires: Requires.optional(),
    maxSeconds: maxSeconds
      .optional()
      .describe(`${maxSeconds.description} A sweep's limit is that of each of its runs.`),
  })
  .meta({ id: 'SubmitSweep' });
export type SubmitSweep = z.infer<typeof SubmitSweep>;

/** What went with a sweep that was deleted. */
export const DeletedSweep = z
  .object({
    deleted: z.int().describe('Runs that were deleted with it.'),
    kept: z.int().describe('Its own runs that stay, because a run, another sweep or a dataset needs them.'),
  })
  .meta({ id: 'DeletedSweep' });
export type DeletedSweep = z.infer<typeof DeletedSweep>;

/** What was archived, or brought back, with a sweep. */
export const ArchivedSweep = z
  .object({ runs: z.int().describe('Its own runs that were archived, or brought back, with it.') })
  .meta({ id: 'ArchivedSweep' });
export type ArchivedSweep = z.infer<typeof ArchivedSweep>;

export const SweepStatus = z
  .enum(['running', 'paused', 'succeeded', 'failed', 'cancelled'])
  .meta({ id: 'SweepStatus' });
export const TrialStatus = z
  .enum(['held', 'running', 'waiting', 'paused', 'succeeded', 'failed', 'cancelled', 'early_stopped'])
  .meta({
    id: 'TrialStatus',
    description: '`held`: not started yet; `waiting`: it has reached a rung and waits for the results of others.',
  });
export type TrialStatus = z.output<typeof TrialStatus>;
export const TrialView = z
  .object({
    index: z.int(),
    parameters: z.record(z.string(), z.unknown()),
    status: TrialStatus,
    fault: z.string().nullable().describe('Why the trial was not started and will not be.'),
    runs: z.array(
      z.object({
        stage: z.string(),
        control: z.enum(CONTROLS).nullable(),
        runId: z.uuid(),
        reused: z.boolean(),
        status: RunStatus,
      }),
    ),
  })
  .meta({ id: 'Trial' });
export const Sweep = z
  .object({
    id: z.uuid(),
    name: z.string(),
    project: z.string(),
    status: SweepStatus,
    spec: SweepSpec,
    tags: z.array(z.string()),
    createdAt: dateTime,
    archivedAt: optionalDateTime.describe('Since when lists leave it out; null for a sweep that they have.'),
    runCounts: z.record(z.string(), z.int()).describe('How many runs (each counted once) are in each status.'),
    haltReason: z
      .string()
      .nullable()
      .describe(
        'Which limit was reached, so that no further trial is started: `max_failed_trials`, `budget_gpu_seconds`, ' +
          '`budget_wall_seconds`.',
      ),
    plan: Plan,
  })
  .meta({ id: 'Sweep' });
export type Sweep = z.output<typeof Sweep>;
export const SweepDetail = Sweep.extend({
  trials: z.array(TrialView),
  trialCounts: z.partialRecord(TrialStatus, z.int()),
  gpuSeconds: z.number().describe('How long workers have worked on the runs that it started, finished or not.'),
}).meta({ id: 'SweepDetail' });
export type SweepDetail = z.output<typeof SweepDetail>;

export const CloneSweep = z
  .strictObject({
    changes: z
      .record(z.string(), z.unknown())
      .default({})
      .describe('Keys at the top of the spec, such as `name`, that the clone has otherwise.'),
  })
  .meta({ id: 'CloneSweep' });
export type CloneSweep = z.infer<typeof CloneSweep>;
