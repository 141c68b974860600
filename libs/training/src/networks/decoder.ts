/** An autoencoder's way to its latent code and back to samples, for images and spectrograms. */
import * as layers from '@tensorflow/tfjs-layers';
import { apply, convolution, dense, normaliseAndRectify, rectify } from './layers.js';

/** Feature map [N, s, s, F] → latent [N, L] */
export function buildBottleneck(encoder: layers.LayersModel, latent: number): layers.LayersModel {
  const map = layers.input({ shape: encoder.outputs[0]!.shape.slice(1), name: 'map' });
  return layers.model({
    inputs: map,
    outputs: dense(apply(layers.layers.flatten({ name: 'flatten' }), map), 'latent', latent),
    name: 'bottleneck',
  });
}

/**
 * Latent [N, L] → sample [N, H, W, C] in [0, 1]: the encoder's way back by nearest-neighbour upsampling and
 * convolutions, cut to the size of the input.
 */
export function buildDecoder(encoder: layers.LayersModel, latent: number, width: number): layers.LayersModel {
  const [, height, columns, channels] = encoder.inputs[0]!.shape as [null, number, number, number];
  const [, mapHeight, mapWidth, depth] = encoder.outputs[0]!.shape as [null, number, number, number];
  const code = layers.input({ shape: [latent], name: 'latent' });
  let x = rectify(dense(code, 'unfold', mapHeight * mapWidth * depth), 'unfold_relu');
  x = apply(layers.layers.reshape({ targetShape: [mapHeight, mapWidth, depth], name: 'unfold_map' }), x);
  let scale = 1;
  for (let stage = 1; mapHeight * scale < height || mapWidth * scale < columns; stage++) {
    scale *= 2;
    x = apply(layers.layers.upSampling2d({ size: [2, 2], name: `up${stage}` }), x);
    x = normaliseAndRectify(
      convolution(x, `up${stage}_conv`, Math.max(width, depth / 2 ** stage), 3),
      `up${stage}_bn`,
      `up${stage}_relu`,
    );
  }
  const cut = [
    [mapHeight * scale, height],
    [mapWidth * scale, columns],
  ].map(([have, want]) => [Math.floor((have! - want!) / 2), Math.ceil((have! - want!) / 2)]) as [
    [number, number],
    [number, number],
  ];
  if (cut.flat().some((side) => side > 0)) x = apply(layers.layers.cropping2D({ cropping: cut, name: 'crop' }), x);
  const pixels = apply(
    layers.layers.activation({ activation: 'sigmoid', name: 'pixels' }),
    convolution(x, 'pixels_conv', channels, 3, { useBias: true }),
  );
  return layers.model({ inputs: code, outputs: pixels, name: 'decoder' });
}
