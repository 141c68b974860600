/** Encoder, bottleneck and decoder of an autoencoder of waveforms. */
import * as layers from '@tensorflow/tfjs-layers';
import { apply, averagePool, convolution, only, type Size, type Symbolic } from './layers.js';
import { leakyRelu } from './operations.js';

/** Stride of each of the encoder's two stages, in samples. */
const WAVE_STRIDE = 8;
/** Channels of the second stage, as a multiple of the first's. */
const WAVE_DEPTH = 4;
/** Kernels of the first stage and of all others: [1, samples]. */
const WAVE_STEM: Size = [1, 25];
const WAVE_KERNEL: Size = [1, 9];
/**
 * Slope of the leaky ReLU below 0. Batch normalisation and ReLU, as in the networks of images, leave a decoder of
 * waveforms at silence: measured on tones, 0 dB against 4.
 */
const WAVE_LEAK = 0.2;
function leak(x: Symbolic, name: string): Symbolic {
  const layer = layers.layers.leakyReLU({ alpha: WAVE_LEAK, name });
  layer.call = (inputs) => leakyRelu(only(inputs), WAVE_LEAK);
  return apply(layer, x);
}

/**
 * Waveforms [N, 1, length, 1] in [-1, 1] → feature map [N, 1, ⌈length / 64⌉, 4 · width]
 * and its mean over time [N, 4 · width].
 */
export function buildWaveformEncoder(width: number, length: number): layers.LayersModel {
  const sounds = layers.input({ shape: [1, length, 1], name: 'sounds' });
  const stem = leak(
    convolution(sounds, 'stem_conv', width, WAVE_STEM, { strides: [1, WAVE_STRIDE], useBias: true }),
    'stem_leak',
  );
  const map = leak(
    convolution(stem, 'stage_conv', WAVE_DEPTH * width, WAVE_KERNEL, { strides: [1, WAVE_STRIDE], useBias: true }),
    'stage_leak',
  );
  const features = averagePool(map, 'features');
  return layers.model({ inputs: sounds, outputs: [map, features], name: 'encoder' });
}

/** Fewest numbers of a code that describe one stretch of time. */
const NUMBERS_A_STRETCH = 8;

/**
 * Stretches of equal length into which a code of `latent` numbers divides the `steps` of a waveform's map: the most
 * that divide the code evenly.
 */
function stretchesOf(latent: number, steps: number): number {
  let stretches = Math.min(steps, Math.max(1, Math.floor(latent / NUMBERS_A_STRETCH)));
  while (latent % stretches !== 0) stretches--;
  return stretches;
}

/**
 * Feature map [N, 1, s, F] of waveforms → latent [N, codes · L], one code after the other. Each stretch of time gives
 * its part of a code, by the same weights: a dense layer over all of a sound learns sounds by heart.
 */
export function buildWaveformBottleneck(
  encoder: layers.LayersModel,
  latent: number,
  codes: number,
): layers.LayersModel {
  const [, , steps, depth] = encoder.outputs[0]!.shape as [null, 1, number, number];
  const stretches = stretchesOf(latent, steps);
  const length = Math.ceil(steps / stretches);
  const map = layers.input({ shape: [1, steps, depth], name: 'map' });
  const padded =
    stretches * length > steps
      ? apply(
          layers.layers.zeroPadding2d({
            padding: [
              [0, 0],
              [0, stretches * length - steps],
            ],
            name: 'fill',
          }),
          map,
        )
      : map;
  const parts = Array.from({ length: codes }, (_, i) =>
    apply(
      layers.layers.flatten({ name: `flatten${i + 1}` }),
      convolution(padded, `latent${i + 1}`, latent / stretches, [1, length], { strides: [1, length], useBias: true }),
    ),
  );
  return layers.model({
    inputs: map,
    outputs: codes > 1 ? apply(layers.layers.concatenate({ name: 'codes' }), parts) : parts[0]!,
    name: 'bottleneck',
  });
}

/**
 * Latent [N, L] → waveform [N, 1, length, 1] in [-1, 1]: the encoder's way back by nearest-neighbour upsampling and a
 * convolution, and one that gives all samples of a step at once (sub-pixel convolution, Shi et al. 2016), which beats
 * upsampling to single samples by 1.5 dB in half the time. Cut to the length of the input.
 */
export function buildWaveformDecoder(encoder: layers.LayersModel, latent: number, width: number): layers.LayersModel {
  const length = encoder.inputs[0]!.shape[2]!;
  const [, , steps, depth] = encoder.outputs[0]!.shape as [null, 1, number, number];
  const stretches = stretchesOf(latent, steps);
  const stretch = Math.ceil(steps / stretches);
  const code = layers.input({ shape: [latent], name: 'latent' });
  const places = apply(
    layers.layers.reshape({ targetShape: [1, stretches, latent / stretches], name: 'stretches' }),
    code,
  );
  const unfolded = apply(
    layers.layers.reshape({ targetShape: [1, stretches * stretch, depth], name: 'unfold_map' }),
    convolution(places, 'unfold', stretch * depth, 1, { useBias: true }),
  );
  const up = apply(layers.layers.upSampling2d({ size: [1, WAVE_STRIDE], name: 'up' }), unfolded);
  const blocks = convolution(
    leak(convolution(up, 'up_conv', width, WAVE_KERNEL, { useBias: true }), 'up_leak'),
    'samples_conv',
    WAVE_STRIDE,
    WAVE_KERNEL,
    { useBias: true },
  );
  const available = stretches * stretch * WAVE_STRIDE ** 2;
  let x = apply(layers.layers.reshape({ targetShape: [1, available, 1], name: 'samples_in_time' }), blocks);
  if (available > length)
    x = apply(
      layers.layers.cropping2D({
        cropping: [
          [0, 0],
          [0, available - length],
        ],
        name: 'crop',
      }),
      x,
    );
  return layers.model({
    inputs: code,
    outputs: apply(layers.layers.activation({ activation: 'tanh', name: 'samples' }), x),
    name: 'decoder',
  });
}
