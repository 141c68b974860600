/** What one can begin with: a sweep, a run of each common kind, and what follows a run. */
import { labelsPerClass, METHODS, strataOf, type DatasetManifest, type Run } from '#libs/contracts';
import { stringify } from 'yaml';

/** A run, and the dataset that it was trained on. */
export interface Trained {
  id: string;
  dataset: string;
}

/** Names of this stack's that the examples are filled with. */
export interface Names {
  dataset: string;
  /** Its training samples, which the examples are fitted to; absent where there is no dataset yet. */
  train?: DatasetManifest['splits']['train'] | undefined;
  encoder: Trained;
  autoencoder: Trained;
}

/** Settings of a run that follows another, beside its dataset and `from`. */
const FOLLOWING: Record<string, object> = {
  finetune: { labelFraction: 1, steps: 200 },
  embed: { split: 'train', maxSamples: 5000, maps: ['pca', 'tsne', 'umap'] },
  interpolate: { between: { rows: [0, 1] }, points: 11, samples: 8 },
};
/** Kinds that need no data. */
const WITHOUT_DATASET = ['export'];
/** Kinds that are judged on a split, which is the one that the run before was judged on. */
const JUDGED = ['finetune', 'evaluate', 'distill'];

/**
 * The draft of a run of a kind that takes the result of `run`: of the same dataset, judged on the same split. Where the
 * run is of none, as one that has taken a model in, of `dataset`.
 */
export function nextText(kind: string, run: Pick<Run, 'id' | 'spec'>, dataset?: string): string {
  const { spec, id } = run;
  if (spec.kind === 'prepare-dataset') return stringify({ kind, dataset: spec.name, epochs: 8 });
  return stringify({
    kind,
    ...(!WITHOUT_DATASET.includes(kind) && { dataset: 'dataset' in spec ? spec.dataset : dataset }),
    from: id,
    ...(JUDGED.includes(kind) && 'evalSplit' in spec && { evalSplit: spec.evalSplit }),
    ...FOLLOWING[kind],
  });
}

const FRACTIONS = [0.01, 0.1, 0.5, 1];

/** The two smallest label fractions that leave each class an example, and how many samples the first one is. */
function labelsOf(train: Names['train']): { fractions: number[]; fewest: number } {
  if (!train) return { fractions: FRACTIONS.slice(0, 2), fewest: Infinity };
  const kept = (fraction: number) => labelsPerClass(strataOf(train), fraction);
  const fractions = FRACTIONS.filter((fraction) => kept(fraction).every((count) => count > 0)).slice(0, 2);
  return { fractions, fewest: kept(fractions[0] ?? 1).reduce((sum, count) => sum + count, 0) };
}

/** A batch as large as it usually is, or of all samples where they are fewer. */
const batchOf = (usual: number, samples = Infinity): number => Math.min(usual, samples);
/** Of a flow mapping: nothing where the batch is the usual one. */
const batchIn = (usual: number, samples = Infinity): string => (samples < usual ? `, batchSize: ${samples}` : '');

/** What one begins with on a stack with such a dataset: a sweep asks for classes. */
export const firstExample = ({ train }: Names): string => (train && !train.countPerClass ? 'pretrain' : 'sweep');

export const EXAMPLES: Record<string, { title: string; text: (names: Names) => string }> = {
  sweep: {
    title: 'Sweep over views',
    text: ({ dataset, train }) => {
      const { fractions, fewest } = labelsOf(train);
      return `# Which views need the fewest labels? Each alone and each two together, with the control.
name: views
stages:
  pretrain: {kind: pretrain, dataset: ${dataset}, epochs: 8${batchIn(256, train?.count)}, encoder: {width: 16}}
  # \`from\` names the stage whose encoder is tuned.
  finetune: {kind: finetune, dataset: ${dataset}, from: pretrain, steps: 200${batchIn(64, fewest)}}
augmentations:
  pairs: {of: {crop: {minArea: 0.2}, rotate: {}, blur: {}}}
label_fractions: [${fractions.join(', ')}]
seeds: 3
controls: [scratch]
`;
    },
  },
  pretrain: {
    title: 'Pretraining',
    text: ({ dataset, train }) => `kind: pretrain
dataset: ${dataset}
method: simclr        # or ${METHODS.slice(1).join(', ')}
epochs: 8
batchSize: ${batchOf(256, train?.count)}
encoder: {name: small-resnet, width: 16}
augmentation: {crop: {minArea: 0.2}, rotate: {}}
`,
  },
  autoencode: {
    title: 'Autoencoder',
    text: ({ dataset, train }) => `kind: autoencode
dataset: ${dataset}
variant: plain      # or denoising, variational: one to draw samples from
latent: 64
epochs: 20
batchSize: ${batchOf(128, train?.count)}
encoder: {width: 32}
`,
  },
  transformer: {
    title: 'Transformer',
    text: ({ dataset, train }) => `kind: pretrain
dataset: ${dataset}
method: dino
epochs: 8
batchSize: ${batchOf(128, train?.count)}
# Squares of 4 tell more of images of 32 than of 16, which is usual for 224.
encoder: {name: vit-tiny, width: 16, patch: 4}
views:
  - {augmentation: {crop: {minArea: 0.4}, flip: {}}, count: 2, size: 32}
  - {augmentation: {crop: {minArea: 0.1, maxArea: 0.4}, flip: {}}, count: 2, size: 16}
`,
  },
  masked: {
    title: 'Masked autoencoder',
    text: ({ dataset, train }) => `kind: autoencode
variant: masked       # MAE: what is left out of a picture is made of what is seen
dataset: ${dataset}
epochs: 8
batchSize: ${batchOf(128, train?.count)}
encoder: {name: vit-tiny, width: 16, patch: 4}
masking: {ratio: 0.75, blocks: 2}
`,
  },
  own: {
    title: 'A network of your own',
    text: ({
      dataset,
      train,
    }) => `# loom models add network model.json takes in a layers model, such as a converted Keras model.
kind: pretrain
dataset: ${dataset}
epochs: 8
batchSize: ${batchOf(128, train?.count)}
encoder: {model: network}   # features: LAYER names the layer that gives them
`,
  },
  embed: {
    title: 'Latent map',
    text: ({ encoder }) => `kind: embed
dataset: ${encoder.dataset}
from: ${encoder.id}   # the run whose encoder gives the features
split: train
maxSamples: 5000
maps: [pca, tsne, umap]
`,
  },
  interpolate: {
    title: 'Walk',
    text: ({ autoencoder }) => `kind: interpolate
dataset: ${autoencoder.dataset}
from: ${autoencoder.id}   # an autoencoder
between: {rows: [0, 1]}
points: 11
samples: 8
`,
  },
};
