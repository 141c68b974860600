/** Which sweeps, and which trials of a sweep, are meant in lists of them. */
import { z } from 'zod';
import { Name } from './dataset.js';
import { cursor, limit, list } from './http-fields.js';
import { archived, nameHolds, sortedBy, whereMetrics } from './run-filter.js';
import { SweepStatus, TrialStatus, TrialView } from './sweeps-api.js';

/** What sweeps can be sorted by, beside `metric:KEY`. */
export const SWEEP_SORTS = ['createdAt', 'name'] as const;
/** The same of trials. `index` is the order in which they were laid out. */
const TRIAL_SORTS = ['index'] as const;

const BEST_OF_RUNS =
  'By `metric:KEY` the last values of their runs count (without controls): the largest with a leading -, else the ' +
  'smallest; what has none comes last.';

export const ListSweeps = z.strictObject({
  archived: archived.describe(
    'Whether sweeps that were archived are left out (`no`, unless it says otherwise), are the only ones (`yes`) or ' +
      'are among the others (`all`).',
  ),
  status: list(SweepStatus),
  tag: Name.optional(),
  name: nameHolds,
  project: Name.optional(),
  where: whereMetrics.describe(
    'Conditions on last values of metrics, such as `eval/knn>0.5`: a trial has to have runs of which each holds.',
  ),
  sort: sortedBy(SWEEP_SORTS, '-createdAt').describe(`What sweeps are sorted by. ${BEST_OF_RUNS}`),
  limit,
  cursor,
});
export type ListSweeps = z.output<typeof ListSweeps>;

export const ListTrials = z.strictObject({
  status: list(TrialStatus),
  where: whereMetrics.describe(
    'Conditions on last values of metrics, such as `eval/knn>0.5`: each has to hold of a run of the trial.',
  ),
  sort: sortedBy(TRIAL_SORTS, 'index').describe(`What trials are sorted by. ${BEST_OF_RUNS}`),
  limit,
  cursor,
});
export type ListTrials = z.output<typeof ListTrials>;

export const ListedTrial = TrialView.extend({
  value: z.number().nullable().describe('What the trial is sorted by where that is a metric.'),
}).meta({ id: 'ListedTrial' });
export type ListedTrial = z.output<typeof ListedTrial>;
