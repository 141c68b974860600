import { z } from 'zod';
import { Embed, Evaluate, ExportModel, Interpolate } from './evaluation-spec.js';
import { ImportModel } from './model.js';
import { PrepareDataset } from './prepare-spec.js';
import { Autoencode } from './autoencode-spec.js';
import { Distill, Finetune, Pretrain } from './training-spec.js';

/**
 * Part of every run's digest. Raise it when the same spec would train to a different result, so that an
 * older result is never reused for newer code.
 */
export const TRAINING_CODE_VERSION = 9;

/** One zod union is the validation, the type, the OpenAPI schema and the form. */
export const RunSpec = z
  .discriminatedUnion('kind', [
    PrepareDataset,
    ImportModel,
    Pretrain,
    Finetune,
    Distill,
    Autoencode,
    Evaluate,
    Interpolate,
    Embed,
    ExportModel,
  ])
  .meta({ id: 'RunSpec', description: 'What a run does.' });
export type RunSpec = z.infer<typeof RunSpec>;
export type RunKind = RunSpec['kind'];
export const RUN_KINDS = [
  'prepare-dataset',
  'import-model',
  'pretrain',
  'finetune',
  'distill',
  'autoencode',
  'evaluate',
  'interpolate',
  'embed',
  'export',
] as const satisfies readonly RunKind[];

const TRAINED = ['pretrain', 'finetune', 'distill', 'autoencode'] as const;
const WITH_ENCODER = [...TRAINED, 'import-model'] as const;
/** Which kinds the run in `from` may be of, by the kind of the run. */
export const PARENT_KINDS: Record<RunKind, readonly RunKind[]> = {
  'prepare-dataset': [],
  'import-model': [],
  pretrain: ['import-model'],
  autoencode: [],
  finetune: WITH_ENCODER,
  evaluate: WITH_ENCODER,
  embed: WITH_ENCODER,
  export: WITH_ENCODER,
  distill: ['finetune', 'distill'],
  interpolate: ['autoencode'],
};

/** What a spec says of the model that its encoder is of: once it is submitted, the run that took it in. */
export const encoderModelOf = (spec: RunSpec): string | undefined =>
  'encoder' in spec ? spec.encoder?.model : undefined;

/**
 * The runs that a run waits for and takes its input from, the one whose model it uses first. Of what is submitted
 * `from` and `encoder.model` may name a model instead, which is then the run that took it in.
 */
export const parentsOf = (spec: RunSpec): string[] => [
  ...('from' in spec && spec.from ? [spec.from] : []),
  ...[encoderModelOf(spec)].filter((model) => model !== undefined),
  ...('alignTo' in spec && spec.alignTo !== null ? [spec.alignTo] : []),
];

/** Kinds whose runs are never reused: what lies in the data root may have changed since. */
export const READS_DATA_ROOT: readonly RunKind[] = ['prepare-dataset', 'import-model'];

/** Settings that only some methods of pretraining, variants of autoencoders or kinds of maps read. */
const READ_BY: Record<string, readonly string[]> = {
  temperature: ['simclr', 'dcl', 'supcon', 'moco-v2', 'moco-v3', 'nnclr', 'swav', 'dino'],
  predictorHidden: ['byol', 'simsiam', 'moco-v3', 'nnclr'],
  targetMomentum: ['byol', 'moco-v2', 'moco-v3', 'dino'],
  queueSize: ['moco-v2', 'nnclr', 'swav'],
  prototypes: ['swav', 'dino'],
  swav: ['swav'],
  dino: ['dino'],
  emp: ['emp-ssl'],
  barlowTwins: ['barlow-twins'],
  vicreg: ['vicreg'],
  noise: ['denoising'],
  beta: ['variational'],
  klWarmupSteps: ['variational'],
  latent: ['plain', 'denoising', 'variational'],
  masking: ['masked'],
  tsne: ['tsne'],
  umap: ['umap'],
};

/** The method, variant or maps that say which settings of a run are read; undefined where all are. */
function readersOf(spec: RunSpec): readonly string[] | undefined {
  if (spec.kind === 'pretrain') return [spec.method];
  if (spec.kind === 'autoencode') return [spec.variant];
  return spec.kind === 'embed' ? spec.maps : undefined;
}

/**
 * A spec without the settings that the run's method, variant or maps do not read, and without a precision that it has
 * anyway: specs that differ in those only train to the same result.
 */
export function withoutUnread(spec: RunSpec): Record<string, unknown> {
  const chosen = readersOf(spec);
  const isRead = (key: string): boolean => !chosen || (READ_BY[key]?.some((reader) => chosen.includes(reader)) ?? true);
  return Object.fromEntries(
    Object.entries(spec).filter(([key, value]) => isRead(key) && !(key === 'precision' && value === 'float32')),
  );
}
