/** How lists of runs and sweeps stand, as their streams say it. */
import { z } from 'zod';
import { RunCounts } from './run-filter.js';
import { Sweep } from './sweeps-api.js';

const changed = z
  .array(z.uuid())
  .nullable()
  .describe('Runs of it that have changed since the message before; null where they are too many to be named.');

export const RunsStanding = RunCounts.extend({ changed });
export type RunsStanding = z.output<typeof RunsStanding>;

export const SweepStanding = Sweep.pick({ id: true, status: true, haltReason: true, runCounts: true }).extend({
  changed,
});
export type SweepStanding = z.output<typeof SweepStanding>;
