/** What names that people give to settings, metrics and augmentations elsewhere mean here. */
import { AUGMENTATIONS, type Augmentation } from './augmentation.js';
import type { RunKind } from './run-spec.js';
import { fieldAt } from './stage-fields.js';

/** Fields by the names that people give them, in small letters and digits alone. */
const FIELDS: Record<string, string> = {
  lr: 'optimizer.learningRate',
  learningrate: 'optimizer.learningRate',
  baselr: 'optimizer.learningRate',
  lrbase: 'optimizer.learningRate',
  lr0: 'optimizer.learningRate',
  initlr: 'optimizer.learningRate',
  wd: 'optimizer.weightDecay',
  weightdecay: 'optimizer.weightDecay',
  optimizer: 'optimizer.name',
  optim: 'optimizer.name',
  opt: 'optimizer.name',
  optimname: 'optimizer.name',
  optimtype: 'optimizer.name',
  optimizername: 'optimizer.name',
  optimizertype: 'optimizer.name',
  momentum: 'optimizer.momentum',
  sgdmomentum: 'optimizer.momentum',
  nesterov: 'optimizer.nesterov',
  beta1: 'optimizer.beta1',
  adambeta1: 'optimizer.beta1',
  beta2: 'optimizer.beta2',
  adambeta2: 'optimizer.beta2',
  eps: 'optimizer.epsilon',
  epsilon: 'optimizer.epsilon',
  adamepsilon: 'optimizer.epsilon',
  trustcoefficient: 'optimizer.trustCoefficient',
  clipnorm: 'optimizer.clipNorm',
  gradclip: 'optimizer.clipNorm',
  gradclipnorm: 'optimizer.clipNorm',
  clipgradnorm: 'optimizer.clipNorm',
  maxgradnorm: 'optimizer.clipNorm',
  maxnorm: 'optimizer.clipNorm',
  bs: 'batchSize',
  batch: 'batchSize',
  batchsize: 'batchSize',
  trainbatchsize: 'batchSize',
  perdevicetrainbatchsize: 'batchSize',
  perdevicebatchsize: 'batchSize',
  batchsizepergpu: 'batchSize',
  epochs: 'epochs',
  epoch: 'epochs',
  numepochs: 'epochs',
  nepochs: 'epochs',
  maxepochs: 'epochs',
  numtrainepochs: 'epochs',
  steps: 'steps',
  maxsteps: 'steps',
  temperature: 'temperature',
  temp: 'temperature',
  tau: 'temperature',
  seed: 'seed',
  randomseed: 'seed',
  width: 'encoder.width',
  warmup: 'schedule.warmupSteps',
  warmupsteps: 'schedule.warmupSteps',
  warmupepochs: 'schedule.warmupEpochs',
  warmupepoch: 'schedule.warmupEpochs',
  numwarmupepochs: 'schedule.warmupEpochs',
  schedule: 'schedule.name',
  scheduler: 'schedule.name',
  schedulername: 'schedule.name',
  schedulertype: 'schedule.name',
  lrschedulername: 'schedule.name',
  lrscheduler: 'schedule.name',
  lrschedulertype: 'schedule.name',
  lrschedule: 'schedule.name',
  sched: 'schedule.name',
  encoder: 'encoder.name',
  backbone: 'encoder.name',
  backbonename: 'encoder.name',
  arch: 'encoder.name',
  basemodel: 'encoder.name',
  method: 'method',
  precision: 'precision',
  mixedprecision: 'precision',
  queuesize: 'queueSize',
  queuelength: 'queueSize',
  mocok: 'queueSize',
  mocom: 'targetMomentum',
  mocomomentum: 'targetMomentum',
  emamomentum: 'targetMomentum',
  emadecay: 'targetMomentum',
  projdim: 'projection.output',
  projectiondim: 'projection.output',
  projoutputdim: 'projection.output',
  projhiddendim: 'projection.hidden',
  predhiddendim: 'predictorHidden',
  augmentation: 'augmentation',
  augmentations: 'augmentation',
  aug: 'augmentation',
};

/** What a table has under a name, and not what every object has. */
const entry = <T>(table: Record<string, T>, name: string): T | undefined =>
  Object.hasOwn(table, name) ? table[name] : undefined;
const plain = (name: string): string => name.toLowerCase().replaceAll(/[^a-z0-9]/g, '');

/** Groups of settings that are of no training: `log.steps` is not how long one takes. */
const OF_OTHERS = new Set(
  (
    'log logs logging logger wandb tensorboard checkpoint checkpoints ckpt save saving callback callbacks hydra ' +
    'eval evaluation evaluator validation val test'
  ).split(' '),
);
/** More parts than a name has that means a field. */
const MOST_PARTS = 12;

/**
 * The field of a kind of run that a name means: one by its path or by a synonym, of the whole name or of what it ends
 * with (`model.optimizer.lr`). Undefined where there is none.
 */
export function fieldNamed(name: string, kind: RunKind): string | undefined {
  const parts = name.split(/[./]/).map((part) => part.replaceAll('+', ''));
  if (parts.length > MOST_PARTS) return undefined;
  const ends = OF_OTHERS.has(plain(parts[0]!)) ? [parts] : parts.map((_, i) => parts.slice(i));
  // `optimizer.name` is the field itself; `optimizer` alone means its name, `optimizer.lr` is one by its last word.
  return ends
    .flatMap((end) => {
      const camel = end
        .map((part) => part.replaceAll(/[-_]([a-z])/g, (_, letter: string) => letter.toUpperCase()))
        .join('.');
      return [entry(FIELDS, plain(end.join(''))), camel];
    })
    .find((field) => field !== undefined && fieldAt(kind, field));
}

/** Words of fields by what people call them, in small letters and digits alone. */
const WORDS: Record<string, Record<string, string>> = {
  method: {
    moco: 'moco-v2',
    mocov2plus: 'moco-v2',
    barlow: 'barlow-twins',
    decoupled: 'dcl',
    supervisedcontrastive: 'supcon',
    supcontrast: 'supcon',
  },
  'optimizer.name': { adamw: 'adam' },
  precision: { bf16: 'bfloat16', bf16mixed: 'bfloat16', fp32: 'float32' },
  'schedule.name': { cosineannealing: 'cosine', cosineannealinglr: 'cosine', warmupcosine: 'cosine', none: 'constant' },
};

/** The word that a field chooses among which a text means, however it is written; undefined where there is none. */
export function wordNamed(field: string, words: readonly string[], text: string): string | undefined {
  const meant = entry(entry(WORDS, field) ?? {}, plain(text));
  return words.find((word) => word === meant || plain(word) === plain(text));
}

/** Metrics by the names that people give them; what is an accuracy depends on the kind of stage. */
const METRICS: Record<string, Partial<Record<RunKind, string>>> = {
  accuracy: {
    pretrain: 'eval/probe_accuracy',
    evaluate: 'eval/probe_accuracy',
    finetune: 'eval/accuracy',
    distill: 'eval/accuracy',
  },
  top5: { evaluate: 'eval/probe_top5_accuracy', finetune: 'eval/top5_accuracy', distill: 'eval/top5_accuracy' },
  trainaccuracy: { finetune: 'train/accuracy' },
  knn: { pretrain: 'eval/knn', evaluate: 'eval/knn', autoencode: 'eval/knn' },
  trainloss: {
    pretrain: 'train/loss',
    finetune: 'train/loss',
    distill: 'train/loss',
    autoencode: 'train/loss',
  },
  loss: { pretrain: 'train/loss', finetune: 'eval/loss', distill: 'train/loss', autoencode: 'train/loss' },
  valloss: { finetune: 'eval/loss' },
};
const METRIC_NAMES: [RegExp, keyof typeof METRICS][] = [
  [/knn/, 'knn'],
  [/^((train|training)loss|loss(train|training))$/, 'trainloss'],
  [/^loss$/, 'loss'],
  [/^((val|valid|validation|eval|test)loss|loss(val|valid|validation|eval|test))$/, 'valloss'],
  [/top5|acc(uracy)?5$/, 'top5'],
  [/^(train|training)(top1)?acc(uracy)?1?$|^(acc|accuracy)1?(train|training)$/, 'trainaccuracy'],
  [/(acc1?|accuracy1?|top1)$/, 'accuracy'],
];

/** What says how a metric was summed up, and not which one it is. */
const QUALIFIERS = new Set('epoch step best final last mean avg average min max score'.split(' '));

/** The metric that a name means in a sweep of these stages, the last one first; undefined for a name of its own. */
export function metricNamed(name: string, kinds: readonly RunKind[]): string | undefined {
  const words = name
    .toLowerCase()
    .split(/[^a-z0-9]/)
    .filter((each) => !QUALIFIERS.has(each));
  const word = METRIC_NAMES.find(([pattern]) => pattern.test(words.join('')))?.[1];
  return word && kinds.toReversed().flatMap((kind) => entry(METRICS[word]!, kind) ?? [])[0];
}

const AUGMENTATION_NAMES: Record<string, keyof Augmentation> = {
  ...Object.fromEntries(AUGMENTATIONS.map((name) => [plain(name), name])),
  randomresizedcrop: 'crop',
  randomcrop: 'crop',
  horizontalflip: 'flip',
  randomhorizontalflip: 'flip',
  hflip: 'flip',
  rotation: 'rotate',
  jitter: 'colorJitter',
  color: 'colorJitter',
  colorjitter: 'colorJitter',
  gray: 'grayscale',
  randomgrayscale: 'grayscale',
  gaussianblur: 'blur',
  solarization: 'solarize',
  randomsolarize: 'solarize',
  randomadjustsharpness: 'sharpness',
  randomautocontrast: 'autocontrast',
  randomequalize: 'equalize',
  randomposterize: 'posterize',
  randomperspective: 'perspective',
  randomerasing: 'erasing',
  trivialaugmentwide: 'trivialAugment',
};

/** `crop+jitter` as the augmentations that it names, each in its default strength; undefined where one is none. */
export function augmentationNamed(text: string): Record<string, object> | undefined {
  if (plain(text) === 'none') return {};
  const names = text.split(/[+,|&]/).map((name) => entry(AUGMENTATION_NAMES, plain(name)));
  return names.includes(undefined) ? undefined : Object.fromEntries(names.map((name) => [name!, {}]));
}
