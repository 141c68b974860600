/** Submits of sweeps, and sweeps with their trials as the API tells of them. */
import { z } from 'zod';
import { priority, dateTime, project, tags } from './http-fields.js';
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
  })
  .meta({ id: 'SubmitSweep' });
export type SubmitSweep = z.infer<typeof SubmitSweep>;

export const SweepStatus = z
  .enum(['running', 'paused', 'succeeded', 'failed', 'cancelled'])
  .meta({ id: 'SweepStatus' });
/** `held`: not started yet; `waiting`: it has reached a rung and waits for the results of others. */
export const TrialStatus = z
  .enum(['held', 'running', 'waiting', 'paused', 'succeeded', 'failed', 'cancelled', 'early_stopped'])
  .meta({ id: 'TrialStatus' });
export type TrialStatus = z.output<typeof TrialStatus>;
export const TrialView = z
  .object({
    index: z.int(),
    parameters: z.record(z.string(), z.unknown()),
    status: TrialStatus,
    /** Why it was not started and will not be. */
    fault: z.string().nullable(),
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
    /** How many runs (each counted once) are in each status. */
    runCounts: z.record(z.string(), z.int()),
    /**
     * Which limit was reached, so that no further trial is started: `max_failed_trials`, `budget_gpu_seconds`,
     * `budget_wall_seconds`.
     */
    haltReason: z.string().nullable(),
    plan: Plan,
  })
  .meta({ id: 'Sweep' });
export type Sweep = z.output<typeof Sweep>;
export const SweepDetail = Sweep.extend({
  trials: z.array(TrialView),
  trialCounts: z.partialRecord(TrialStatus, z.int()),
  /** How long workers have worked on the runs that it started, finished or not. */
  gpuSeconds: z.number(),
}).meta({ id: 'SweepDetail' });
export type SweepDetail = z.output<typeof SweepDetail>;

export const CloneSweep = z
  .strictObject({
    /** Keys at the top of the spec, such as `name`, that the clone has otherwise. */
    changes: z.record(z.string(), z.unknown()).default({}),
  })
  .meta({ id: 'CloneSweep' });
export type CloneSweep = z.infer<typeof CloneSweep>;
