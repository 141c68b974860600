/** What is wrong with a spec, as its dataset, its parent and the data root show it; see `admission.ts`. */
import {
  AUGMENTATIONS,
  labelsPerClass,
  PARENT_KINDS,
  sampleText,
  isOfSounds,
  isOwnNetwork,
  strataOf,
  transformerOf,
  type Augmentation,
  type DatasetManifest,
  type Encoder,
  type Fault,
  type RunSpec,
  type SampleShape,
} from '#libs/contracts';
import path from 'node:path';
import type { Transaction } from '../machine/database.js';
import { leadsOut } from './data-root.js';

/** A dataset version, and how it is called in full. */
export interface KnownDataset {
  manifest: DatasetManifest;
  reference: string;
}

/** Where a field of the spec stands in the request. */
export type At = (...field: string[]) => (string | number)[];
type Trained = Extract<RunSpec, { dataset: string }>;

/** Faults that only the dataset can show. */
export function datasetFaults(spec: Trained, dataset: KnownDataset, at: At): Fault[] {
  const { manifest } = dataset;
  const { train } = manifest.splits;
  const faults = [...splitFaults(spec, dataset, at), ...supervisionFaults(spec, dataset, at)];
  if ('encoder' in spec && spec.encoder) faults.push(...encoderFaults(spec.encoder, manifest.sample, at));
  if ('augmentation' in spec && spec.augmentation)
    faults.push(...augmentationFaults(spec.augmentation, manifest.sample, (...field) => at('augmentation', ...field)));
  if (spec.kind === 'pretrain' && typeof spec.views === 'object')
    spec.views.forEach(({ augmentation, size }, i) =>
      faults.push(
        ...sizeFaults(size, manifest.sample, at('views', String(i), 'size')),
        ...augmentationFaults(augmentation, manifest.sample, (...field) =>
          at('views', String(i), 'augmentation', ...field),
        ),
      ),
    );
  if ('knn' in spec && train.labels && spec.knn.k > Math.min(spec.knn.bankSize, train.count)) {
    faults.push({
      path: at('knn', 'k'),
      message: `expected at most the ${Math.min(spec.knn.bankSize, train.count)} samples that vote, got ${spec.knn.k}`,
    });
  }
  return faults;
}

/** An encoder that normalises channels has as many as a sample, or one for all; a spectrogram has one. */
function encoderFaults({ normalisation }: Encoder, sample: SampleShape, at: At): Fault[] {
  const channels = sample.modality === 'image' ? sample.channels : 1;
  if (!normalisation || [1, channels].includes(normalisation.mean.length)) return [];
  return [
    {
      path: at('encoder', 'normalisation'),
      message: `expected a mean and a deviation for each of ${channels} channels, got ${normalisation.mean.length}`,
    },
  ];
}

/** The split that the run is measured on, or reads, has to be there. */
function splitFaults(spec: Trained, { manifest, reference }: KnownDataset, at: At): Fault[] {
  const evaluated = 'evalSplit' in spec;
  const needed = evaluated ? spec.evalSplit : spec.split;
  if (manifest.splits[needed]?.count) return [];
  const present = Object.keys(manifest.splits).filter((split) => split !== 'train' || !evaluated);
  return [
    {
      path: at(evaluated ? 'evalSplit' : 'split'),
      message:
        `expected a split of ${reference}${evaluated ? ' other than train' : ''} ` +
        `(${present.join(', ') || 'it has none'}), got ${needed}`,
    },
  ];
}

/** What the run learns from has to be there, and a batch can be no larger than that. */
function supervisionFaults(spec: Trained, dataset: KnownDataset, at: At): Fault[] {
  const { manifest, reference } = dataset;
  const { train } = manifest.splits;
  const supervision = supervisionOf(spec);
  const isUnlabelled = !train.labels && !train.masks;
  if (isUnlabelled && spec.kind === 'interpolate' && 'classes' in spec.between)
    return [
      { path: at('between', 'classes'), message: `expected rows: ${reference} has no labels, and so no classes` },
    ];
  if (isUnlabelled && (supervision || spec.kind === 'distill'))
    return [
      {
        path: at('dataset'),
        message:
          `expected a dataset with ${supervision === 'masks' ? 'masks' : 'a class for each sample'}, ${reference} ` +
          'has no labels: pretrain on it' +
          (spec.kind === 'pretrain'
            ? ' by another method, which needs none'
            : ', then evaluate and fine-tune on one that has some'),
      },
    ];
  if (!supervision) return batchFaults(spec, dataset, at);
  if (!train[supervision])
    return [
      {
        path: at(spec.kind === 'finetune' ? 'task' : 'dataset'),
        message:
          supervision === 'masks'
            ? `expected a dataset with masks for segmentation, ${reference} has a class for each sample: expected ` +
              'classification'
            : `expected a dataset with a class for each sample, ${reference} has masks`,
      },
    ];
  return 'labelFraction' in spec ? labelFaults(spec, dataset, at) : batchFaults(spec, dataset, at);
}

function batchFaults(spec: Trained, { manifest, reference }: KnownDataset, at: At): Fault[] {
  const { count } = manifest.splits.train;
  if (!('batchSize' in spec) || spec.batchSize <= count) return [];
  return [
    {
      path: at('batchSize'),
      message: `expected at most the ${count} training samples of ${reference}, got ${spec.batchSize}`,
    },
  ];
}

/** Each class keeps an example of the label fraction, and a batch is no larger than what is kept. */
function labelFaults(
  spec: Extract<Trained, { labelFraction: number }>,
  { manifest, reference }: KnownDataset,
  at: At,
): Fault[] {
  const { train } = manifest.splits;
  const strata = strataOf(train);
  const kept = labelsPerClass(strata, spec.labelFraction);
  const without = kept.findIndex((count) => count === 0);
  if (without >= 0) {
    const whose = train.labels
      ? `class ${manifest.classes[without]} has ${strata[without]} samples`
      : `there are ${train.count} masks`;
    return [
      {
        path: at('labelFraction'),
        message:
          'expected a fraction that leaves each class an example (at least ' +
          `${(0.5 / Math.min(...strata)).toPrecision(3)} for ${reference}), got ${spec.labelFraction}: ${whose}`,
      },
    ];
  }
  const labelled = kept.reduce((sum, count) => sum + count, 0);
  if (!('batchSize' in spec) || spec.batchSize <= labelled) return [];
  const enough = leastFraction(strata, spec.batchSize);
  return [
    {
      path: isVaried(at, 'labelFraction') ? at('labelFraction') : at('batchSize'),
      message:
        `expected at most the ${labelled} labelled samples of ${reference} at label fraction ` +
        `${spec.labelFraction}, got ${spec.batchSize}` +
        (enough === undefined ? '' : `: take a smaller batchSize, or a labelFraction of at least ${enough}`),
    },
  ];
}

/** The least fraction, of three digits, that leaves so many labels; undefined where there are not so many. */
function leastFraction(strata: readonly number[], labels: number): number | undefined {
  const left = (fraction: number) => labelsPerClass(strata, fraction).reduce((sum, count) => sum + count, 0);
  if (left(1) < labels) return undefined;
  const near = labels / strata.reduce((sum, count) => sum + count, 0);
  const unit = 10 ** (Math.floor(Math.log10(near)) - 2);
  for (let steps = Math.floor((0.9 * near) / unit); ; steps++) {
    const fraction = Number((steps * unit).toPrecision(3));
    if (fraction >= 1) return 1;
    if (left(fraction) >= labels) return fraction;
  }
}

/** True where the field is set by a parameter of a sweep, not where its run is described. */
const isVaried = (at: At, field: string): boolean => at(field).at(-1) !== field;

/** What the run learns from, beside the samples. */
function supervisionOf(spec: RunSpec): 'labels' | 'masks' | null {
  if (spec.kind === 'finetune') return spec.task === 'segmentation' ? 'masks' : 'labels';
  if (spec.kind === 'pretrain') return spec.method === 'supcon' ? 'labels' : null;
  return spec.kind === 'evaluate' || (spec.kind === 'distill' && spec.labelWeight > 0) ? 'labels' : null;
}

/** Views have to suit what a sample is, and colour operations need colours. */
function augmentationFaults(augmentation: Augmentation, sample: SampleShape, at: At): Fault[] {
  const faults: Fault[] = AUGMENTATIONS.filter(
    (name) => augmentation[name] !== undefined && isOfSounds(name) !== (sample.modality === 'audio'),
  ).map((name) => ({
    path: at(name),
    message: `expected no ${name}: the dataset is of ${sample.modality === 'audio' ? 'sounds' : 'images'}`,
  }));
  if (sample.modality === 'audio' || sample.channels === 3) return faults;
  if (augmentation.grayscale)
    faults.push({ path: at('grayscale'), message: 'expected no grayscale: the dataset has one channel' });
  for (const key of ['saturation', 'hue'] as const) {
    const strength = augmentation.colorJitter?.[key] ?? 0;
    if (strength > 0)
      faults.push({
        path: at('colorJitter', key),
        message: `expected 0 for a dataset of one channel, got ${strength}`,
      });
  }
  return faults;
}

/** Spectrograms are of the size that their sounds have. */
const sizeFaults = (size: number | undefined, sample: SampleShape, place: (string | number)[]): Fault[] =>
  size !== undefined && sample.modality === 'audio'
    ? [{ path: place, message: 'expected no size: the dataset is of sounds' }]
    : [];

/** Whether it has maps of several resolutions, of which it is known where they are. */
const hasResolutions = (encoder: Encoder): boolean => !transformerOf(encoder) && !isOwnNetwork(encoder);

/** A run that another begins with, or a model that was taken in. */
interface Parent {
  spec: RunSpec;
  sample: SampleShape | undefined;
  /** Of its networks: its own, a model's, or an ancestor's. */
  encoder: Encoder | undefined;
}

/** What a parent's networks can't be used for. */
function networkFaults(spec: RunSpec, parent: Parent, at: At): Fault[] {
  if (spec.kind === 'interpolate' && parent.spec.kind === 'autoencode' && parent.spec.variant === 'masked')
    return [
      {
        path: at('from'),
        message: 'expected an autoencoder with a latent vector, got a masked one, which has none',
      },
    ];
  const { encoder } = parent;
  if (spec.kind !== 'finetune' || !encoder) return [];
  const isOwn = isOwnNetwork(encoder);
  const faults: Fault[] = [];
  if (spec.task === 'segmentation' && !hasResolutions(encoder))
    faults.push({
      path: at('from'),
      message:
        'expected a parent with maps of several resolutions for segmentation, got one of ' +
        (isOwn ? 'layers of a model, of which it is not known where those are: take a ResNet' : encoder.name),
    });
  for (const field of ['layerDecay', 'fineTuneAfterBlock'] as const)
    if (isOwn && spec[field] !== undefined)
      faults.push({
        path: at(field),
        message: 'expected none, got a parent of layers of a model, which have no blocks: take `backbone.rate`',
      });
  return faults;
}

/** Faults that only the parent in `from` can show. */
export function parentFaults(spec: RunSpec, sample: SampleShape | undefined, parent: Parent, at: At): Fault[] {
  const faults: Fault[] = [];
  const kinds = PARENT_KINDS[spec.kind];
  if (!kinds.includes(parent.spec.kind))
    return [
      { path: at('from'), message: `expected a run of kind ${kinds.join(', ')}, got one of kind ${parent.spec.kind}` },
    ];
  if (spec.kind === 'finetune') {
    const layers = parent.spec.kind === 'pretrain' ? parent.spec.projection.layers : 0;
    if (spec.fromHeadLayer > layers)
      faults.push({
        path: at('fromHeadLayer'),
        message: `expected at most ${layers}, the layers of the parent's projection head, got ${spec.fromHeadLayer}`,
      });
  }
  if (spec.kind === 'distill' && parent.spec.kind === 'finetune' && parent.spec.task !== 'classification')
    faults.push({ path: at('from'), message: 'expected a teacher that classifies, got one that segments' });
  faults.push(...networkFaults(spec, parent, at));
  if (sample && parent.sample) {
    const essence = (shape: SampleShape) => {
      if (spec.kind === 'interpolate') return sampleText(shape);
      return shape.modality === 'image' ? `images of ${shape.channels} channels` : `sounds at ${shape.sampleRate} Hz`;
    };
    if (essence(sample) !== essence(parent.sample))
      faults.push({
        path: at('dataset'),
        message: `expected ${essence(parent.sample)} like those the parent was trained on, got ${essence(sample)}`,
      });
  }
  return faults;
}

/**
 * A checkpoint is named by its step. What stays of the run `from` at submission stays as long as the run that names it
 * (`Recorder.addArtifact`).
 */
export async function checkpointFaults(
  tx: Transaction,
  from: string | undefined,
  checkpoint: number,
  at: At,
): Promise<Fault[]> {
  const kept =
    from === undefined
      ? []
      : await tx.artifact.findMany({
          where: { runId: from, kind: 'checkpoint' },
          distinct: ['step'],
          orderBy: { step: 'asc' },
          select: { step: true },
        });
  if (kept.some(({ step }) => step === checkpoint)) return [];
  return [
    {
      path: at('checkpoint'),
      message:
        'expected a step at which the run in `from` has a checkpoint ' +
        `(${kept.map(({ step }) => step).join(', ') || 'it has none'}; its \`checkpoints\` say which are written ` +
        `and kept), got ${checkpoint}`,
    },
  ];
}

/** The path stays below the data root as far as its text says; the worker looks at links. */
export function pathFaults(spec: RunSpec, dataRoot: string, at: At): Fault[] {
  if (spec.kind !== 'prepare-dataset' && spec.kind !== 'import-model') return [];
  if (!leadsOut(dataRoot, path.resolve(dataRoot, spec.path))) return [];
  return [{ path: at('path'), message: `expected a path inside the data root, got ${spec.path}` }];
}
