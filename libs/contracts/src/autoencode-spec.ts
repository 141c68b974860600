/** Runs that train a network to reproduce its input. */
import { z } from 'zod';
import { transformerOf } from './architectures.js';
import { Checkpoints, DatasetReference, Ema, Encoder, Knn, Optimizer, Precision, Schedule } from './run-settings.js';
import { batchSize, epochs, evalSplit, seed } from './spec-fields.js';

/** How a masked autoencoder masks, where a spec says nothing else. */
export const MASKING = { ratio: 0.75, blocks: 4, heads: 4, headWidth: 32, normalise: false };

export const Autoencode = z
  .strictObject({
    kind: z.literal('autoencode'),
    dataset: DatasetReference,
    variant: z
      .enum(['plain', 'denoising', 'variational', 'masked'])
      .default('plain')
      .describe(
        '`denoising` reproduces the clean sample from a noisy one; `variational` makes the latent space one to ' +
          'sample from; `masked` reproduces squares of a sample from the others, for transformers (MAE, He et al. ' +
          '2022), and has no latent vector.',
      ),
    masking: z
      .strictObject({
        ratio: z.number().min(0.05).max(0.95).default(0.75).describe('The part of the squares that is left out.'),
        blocks: z.int().min(1).max(12).default(4),
        heads: z.int().min(1).max(16).default(4),
        headWidth: z.int().min(4).max(256).default(32),
        normalise: z
          .boolean()
          .default(false)
          .describe('What is reproduced is each square less its mean and divided by its standard deviation.'),
      })
      .optional()
      .describe(
        'Masked: how much is left out, and the decoder, a transformer of so many `blocks` and `heads`, each ' +
          '`headWidth` wide. Published: 8 blocks of 16 heads of 32.',
      ),
    noise: z
      .number()
      .gt(0)
      .max(2)
      .default(0.1)
      .describe('Denoising: standard deviation of the noise, where samples lie in [0, 1] (sounds in [-1, 1]).'),
    beta: z
      .number()
      .min(0)
      .max(1000)
      .default(1)
      .describe('Variational: weight of the KL term against the squared error summed over a sample.'),
    klWarmupSteps: z
      .int()
      .min(0)
      .max(1_000_000)
      .default(0)
      .describe('Variational: how many steps the weight of the KL term takes to get to `beta`.'),
    domain: z
      .enum(['spectrogram', 'waveform'])
      .default('spectrogram')
      .describe(
        'Sounds: what is encoded and reproduced. A spectrogram is turned into sound by Griffin-Lim. Networks of ' +
          'waveforms have a shape of their own: of `encoder` only the width counts.',
      ),
    latent: z.int().min(2).max(4096).default(64).describe('Width of the bottleneck, in numbers per sample.'),
    encoder: Encoder.prefault({}),
    epochs: epochs.default(5),
    batchSize: batchSize.default(128),
    optimizer: Optimizer.prefault({ name: 'adam', learningRate: 1e-3 }),
    schedule: Schedule.prefault({}),
    gridImages: z
      .int()
      .min(1)
      .max(64)
      .default(16)
      .describe('How many samples of the evaluation split are shown next to their reconstructions.'),
    knn: Knn.prefault({}),
    checkpoints: Checkpoints.optional(),
    ema: Ema.optional(),
    precision: Precision.optional(),
    evalSplit,
    seed: seed.default(0),
  })
  .superRefine(({ variant, encoder, domain, masking }, context) => {
    const told = (path: string[], message: string) => context.addIssue({ code: 'custom', path, message });
    if (variant !== 'masked') {
      if (masking) told(['masking'], `expected the variant masked with \`masking\`, got ${variant}`);
      return;
    }
    if (!transformerOf(encoder))
      told(
        ['encoder', 'name'],
        `expected a transformer, such as vit-tiny, for the variant masked, got ${encoder.name}`,
      );
    if (domain === 'waveform') told(['domain'], 'expected spectrograms for the variant masked, got waveform');
  })
  .meta({ id: 'Autoencode' });
export type Autoencode = z.infer<typeof Autoencode>;
export type Masking = Required<Autoencode>['masking'];
