/** Which metrics the stages of a sweep report, and which way each is better. */
import { nearest } from './spelling.js';
import type { RunKind } from './run-spec.js';
import type { Parameter } from './search-space.js';
import type { SweepSpec } from './sweep.js';

const TRAINING = ['train/loss', 'train/learning_rate', 'train/images_per_second'];
/** What runs of each kind report. */
const REPORTED: Record<RunKind, readonly string[]> = {
  'prepare-dataset': [],
  'import-model': [],
  pretrain: [
    'eval/knn',
    'eval/probe_accuracy',
    'eval/feature_spread',
    'eval/rank',
    'eval/alignment',
    'eval/uniformity',
    'train/contrastive_accuracy',
    'train/on_diagonal',
    'train/off_diagonal',
    'train/invariance',
    'train/variance',
    'train/covariance',
    ...TRAINING,
  ],
  finetune: [
    'eval/accuracy',
    'eval/top5_accuracy',
    'eval/loss',
    'eval/miou',
    'eval/dice',
    'eval/pixel_accuracy',
    'train/accuracy',
    ...TRAINING,
  ],
  distill: [
    'eval/accuracy',
    'eval/top5_accuracy',
    'eval/agreement',
    'eval/teacher_accuracy',
    'train/cross_entropy',
    'train/distillation',
    ...TRAINING,
  ],
  autoencode: [
    'eval/reconstruction_mse',
    'eval/psnr',
    'eval/snr_db',
    'eval/knn',
    'train/reconstruction_mse',
    'train/kl',
    ...TRAINING,
  ],
  evaluate: ['eval/knn', 'eval/probe_accuracy', 'eval/probe_top5_accuracy', 'train/probe_loss'],
  interpolate: ['interpolate/middle_mse_to_training'],
  embed: [],
  export: [],
};
/** Kinds of runs whose metrics have names that depend on their spec, such as which maps they make. */
const OPEN: readonly string[] = ['embed', 'export'];

/** Which way a metric is better, where its name says it; a goal that is written counts for more. */
export function goalOfMetric({ name, goal }: { name: string; goal?: Goal | undefined }): Goal | undefined {
  if (goal) return goal;
  if (/(loss|error|mse|perplexity)/i.test(name)) return 'minimize';
  return /(acc|knn|top-?\d|miou|dice|psnr|snr|agreement|f1|auc|purity|feature_spread|rank)/i.test(name)
    ? 'maximize'
    : undefined;
}
type Goal = 'maximize' | 'minimize';

/** Whether a metric is a share of 1, such as an accuracy, and is said in %. */
export const isShare = (name: string): boolean =>
  /(acc|knn|top-?\d|miou|dice|agreement|f1|auc|purity|recall)/i.test(name) && !/(loss|error)/i.test(name);

/** A metric in a word, whatever is said of it behind: `accuracy` of `eval/accuracy at label fraction 0.1`. */
export const metricWord = (name: string): string => name.split(' ', 1)[0]!.replace(/^eval\//, '');

/** What a sweep is ranked by that names no metric: the first of these that a stage is for. */
const DEFAULTS: [kind: RunKind, metric: string][] = [
  ['finetune', 'eval/accuracy'],
  ['distill', 'eval/accuracy'],
  ['evaluate', 'eval/knn'],
  ['pretrain', 'eval/knn'],
  ['autoencode', 'eval/reconstruction_mse'],
  ['interpolate', 'interpolate/middle_mse_to_training'],
];

/** What a sweep is ranked by: what it names, or what its stages are for; there is no value of it where none reports. */
export function metricOf({ metric, stages }: Pick<SweepSpec, 'metric' | 'stages'>): RankingMetric {
  const of = (kind: RunKind) => Object.values(stages).find((stage) => stage['kind'] === kind);
  const [kind, usual] = DEFAULTS.find(([each]) => of(each)) ?? ['finetune', 'eval/accuracy'];
  const name = of(kind)?.['task'] === 'segmentation' ? 'eval/miou' : usual;
  return { ...metric, name: metric.name ?? name };
}
type RankingMetric = SweepSpec['metric'] & { name: string };

/** What stages of these kinds report, each once. */
export const reportedBy = (kinds: readonly unknown[]): string[] => [
  ...new Set(kinds.flatMap((kind) => (Object.hasOwn(REPORTED, kind as string) ? REPORTED[kind as RunKind] : []))),
];

/** Words of a name, the last one first. */
const wordsOf = (name: string): string[] =>
  name
    .toLowerCase()
    .split(/[^a-z0-9]/)
    .filter(Boolean)
    .reverse();

/** What is wrong with a sweep's metric for stages of these kinds; undefined where one reports it. */
export function unreported(name: string, kinds: readonly unknown[]): string | undefined {
  const known = reportedBy(kinds);
  if (known.includes(name) || kinds.some((kind) => OPEN.includes(kind as string))) return undefined;
  const near =
    wordsOf(name)
      .map((word) => known.find((each) => wordsOf(each)[0] === word))
      .find(Boolean) ?? nearest(name, known);
  return (
    `expected a metric that a stage of this sweep reports (${known.join(', ') || 'none does'}), got ${name}` +
    (near === undefined ? '' : `: did you mean ${near}?`)
  );
}

/** The parameter that gives a contrastive loss another meaning from trial to trial; undefined where none varies. */
export const scaleVariedBy = (parameters: Record<string, Parameter>): string | undefined =>
  Object.entries(parameters).find(
    ([path, { value, values, min, max }]) =>
      /\.(temperature|batchSize|method)$/.test(path) &&
      value === undefined &&
      values?.length !== 1 &&
      (min === undefined || min !== max),
  )?.[0];
