/** What one can begin with: a sweep, and a run of each common kind. */
import { METHODS } from '#libs/contracts';

/** Names of this stack's that the examples are filled with. */
export interface Names {
  dataset: string;
  encoder: string;
  autoencoder: string;
}

export const EXAMPLES: Record<string, { title: string; text: (names: Names) => string }> = {
  sweep: {
    title: 'Sweep over views',
    text: ({ dataset }) => `# Which views need the fewest labels? Each alone and each two together, with the control.
name: views
stages:
  pretrain: {kind: pretrain, dataset: ${dataset}, epochs: 8, encoder: {width: 16}}
  # \`from\` names the stage whose encoder is tuned.
  finetune: {kind: finetune, dataset: ${dataset}, from: pretrain, steps: 200}
augmentations:
  pairs: {of: {crop: {minArea: 0.2}, rotate: {}, blur: {}}}
label_fractions: [0.01, 0.1]
seeds: 3
controls: [scratch]
`,
  },
  pretrain: {
    title: 'Pretraining',
    text: ({ dataset }) => `kind: pretrain
dataset: ${dataset}
method: simclr        # or ${METHODS.slice(1).join(', ')}
epochs: 8
batchSize: 256
encoder: {name: small-resnet, width: 16}
augmentation: {crop: {minArea: 0.2}, rotate: {}}
`,
  },
  autoencode: {
    title: 'Autoencoder',
    text: ({ dataset }) => `kind: autoencode
dataset: ${dataset}
variant: plain      # or denoising, variational: one to draw samples from
latent: 64
epochs: 20
encoder: {width: 32}
`,
  },
  embed: {
    title: 'Latent map',
    text: ({ dataset, encoder }) => `kind: embed
dataset: ${dataset}
from: ${encoder}   # the run whose encoder gives the features
split: train
maxSamples: 5000
maps: [pca, tsne, umap]
`,
  },
  interpolate: {
    title: 'Walk',
    text: ({ dataset, autoencoder }) => `kind: interpolate
dataset: ${dataset}
from: ${autoencoder}   # an autoencoder
between: {rows: [0, 1]}
points: 11
samples: 8
`,
  },
};
