export * from './artifacts-api.js';
export * from './architectures.js';
export * from './augmentation.js';
export * from './pretraining-views.js';
export * from './canonical-json.js';
export * from './client.js';
export { type Comparison, parseCondition } from './condition.js';
export * from './data-root-api.js';
export * from './dataset-summary.js';
export * from './source-names.js';
export * from './dataset.js';
export * from './early-stopping.js';
export * from './evaluation-spec.js';
export { MOST_TAGS } from './http-fields.js';
export type { KnownEncoder } from './encoder-size.js';
export { faultsOf } from './faults.js';
export * from './http.js';
export * from './memory.js';
export * from './model.js';
export * from './plain-text.js';
export * from './plans-api.js';
export * from './prepare-spec.js';
export * from './progress.js';
export * from './projects-api.js';
export * from './references-api.js';
export * from './report-content.js';
export * from './reports-api.js';
export * from './saved-views-api.js';
export {
  BulkResult,
  BulkRuns,
  CountRuns,
  GroupRuns,
  ListRuns,
  MOST_GROUPS,
  parseSort,
  RetryResult,
  RunCounts,
  RunFilter,
  RunGroups,
  type RunSort,
  type Sort,
} from './run-filter.js';
export type { LinkHandlers, RunHandlers, TimedPoint } from './run-follow.js';
export * from './run-settings.js';
export * from './run-spec.js';
export * from './run-status.js';
export * from './runs-api.js';
export * from './search-space.js';
export * from './spec-diff.js';
export { trialsPerDraw } from './sweep-axes.js';
export * from './spelling.js';
export type { RunsStanding, SweepStanding } from './standings.js';
export * from './sweep-expansion.js';
export { notesOnDraws, takesOf } from './field-draws.js';
export { goalOfMetric, isShare, metricOf, metricWord, reportedBy } from './sweep-metrics.js';
export { ListedTrial, ListSweeps, ListTrials, SWEEP_SORTS } from './sweep-filter.js';
export * from './sweep-results.js';
export * from './sweep.js';
export * from './sweeps-api.js';
export * from './trainer-protocol.js';
export * from './autoencode-spec.js';
export * from './training-spec.js';
export * from './usage-metrics.js';
export { ApiError, newKey, UnreachableError } from './transport.js';
export { WandbError, type WandbOptions } from './wandb-parameters.js';
export { fromWandb } from './wandb-sweep.js';
export * from './workers-api.js';
