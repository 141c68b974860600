/** The networks of an autoencoder, of pictures, spectrograms or waveforms. */
import { isOwnNetwork, type Autoencode, type SampleShape } from '#libs/contracts';
import { inputShape } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { buildBottleneck, buildDecoder } from './networks/decoder.js';
import { buildEncoder, encode } from './networks/encoder.js';
import { buildWaveformBottleneck, buildWaveformDecoder, buildWaveformEncoder } from './networks/waveforms.js';
import { forward } from './networks/weights.js';
import { restored, type ModelState, type ParentModel } from './run-inputs.js';
import { TrainingError } from './train-context.js';

export type Architecture = Required<Pick<ModelState, 'encoder' | 'latent' | 'variant' | 'domain'>>;

/** Networks between samples and latent codes. */
export interface Autoencoder {
  models: LayersModel[];
  /** What the encoder sees of sounds: their spectrograms or their waveforms. */
  domain: Autoencode['domain'];
  /** x: the encoder's inputs → latent codes [N, L]; of a variational one their mean and the log of their variance. */
  code(x: tf.Tensor4D, training: boolean): { mean: tf.Tensor2D; logVariance?: tf.Tensor2D };
  /** Whether codes are drawn towards N(0, 1) in training, so that samples can be drawn from it. */
  hasPrior: boolean;
  /** Latent codes [N, L] → samples as the encoder sees them. */
  decode(code: tf.Tensor2D, training: boolean): tf.Tensor4D;
}

/** New networks. @throws TrainingError for waveforms of images */
export function buildAutoencoder(
  { encoder: architecture, latent, variant, domain }: Architecture,
  sample: SampleShape,
): Autoencoder {
  const isWaveform = domain === 'waveform';
  if (isWaveform && sample.modality === 'image')
    throw new TrainingError(
      'invalid_spec',
      'expected a dataset of sounds for an autoencoder of waveforms, got one of images',
    );
  if (isWaveform && isOwnNetwork(architecture))
    throw new TrainingError(
      'invalid_spec',
      'expected spectrograms for an encoder of layers of a model, got waveforms: take `domain: spectrogram`',
    );
  const encoder = isWaveform
    ? buildWaveformEncoder(architecture.width, inputShape(sample, domain)[1])
    : buildEncoder(architecture, inputShape(sample));
  const codes = variant === 'variational' ? 2 : 1;
  const bottleneck = isWaveform
    ? buildWaveformBottleneck(encoder, latent, codes)
    : buildBottleneck(encoder, codes * latent);
  const decoder = isWaveform
    ? buildWaveformDecoder(encoder, latent, architecture.width)
    : buildDecoder(encoder, latent, architecture.width);
  return {
    models: [encoder, bottleneck, decoder],
    domain,
    code: (x, training) => {
      const code = forward<tf.Tensor2D>(bottleneck, encode(encoder, x, training).map, training);
      if (variant !== 'variational') return { mean: code };
      const [mean, logVariance] = tf.split(code, 2, 1) as [tf.Tensor2D, tf.Tensor2D];
      return { mean, logVariance };
    },
    hasPrior: variant === 'variational',
    decode: (code, training) => forward<tf.Tensor4D>(decoder, code, training),
  };
}

/** The parent's networks with their trained weights. */
export function storedAutoencoder(parent: ParentModel, sample: SampleShape): Autoencoder {
  const { encoder, latent = 64, variant = 'plain', domain = 'spectrogram' } = parent.state;
  if (variant === 'masked')
    throw new TrainingError(
      'invalid_spec',
      'expected an autoencoder with a latent vector, got a masked one, which has none: train one of the variants ' +
        'plain, denoising or variational',
    );
  const autoencoder = buildAutoencoder({ encoder, latent, variant, domain }, sample);
  for (const model of autoencoder.models) restored(model, parent);
  return autoencoder;
}
