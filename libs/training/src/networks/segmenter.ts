/** A U-Net's way back from an encoder's maps to classes of pixels. */
import type { Encoder } from '#libs/contracts';
import * as layers from '@tensorflow/tfjs-layers';
import { lastOfEachResolution } from './encoder.js';
import { apply, convolution, normaliseAndRectify, type Symbolic } from './layers.js';

/** Channels of a segmenter's maps are half the encoder's at that resolution, but at least so many. */
const SEGMENTER_WIDTH = 16;

/**
 * A model over the encoder's layers that gives the last map of each resolution [N, h, w, C], finest first. It shares
 * the encoder's weights and is disposed of with it.
 */
export function pyramidOf(encoder: layers.LayersModel, architecture: Encoder): layers.LayersModel {
  return layers.model({
    inputs: encoder.inputs,
    outputs: lastOfEachResolution(architecture).map((layer) => encoder.getLayer(layer).output as Symbolic),
    name: 'pyramid',
  });
}

/**
 * Maps of a pyramid → logits of each pixel [N, H, W, classes]. As in a U-Net (Ronneberger et al. 2015), a map is
 * brought to the size of the next finer one, here by nearest-neighbour upsampling and a cut at the ends that halving
 * had rounded up, put beside it, and both go through a 3x3 convolution.
 */
export function buildSegmenter(pyramid: layers.LayersModel, classes: number): layers.LayersModel {
  const maps = pyramid.outputs.map(({ shape }, i) => layers.input({ shape: shape.slice(1), name: `map${i + 1}` }));
  const inputSize = pyramid.inputs[0]!.shape.slice(1, 3) as [number, number];
  const sizeOf = ({ shape }: Symbolic) => shape.slice(1, 3) as [number, number];
  let x = maps.at(-1)!;
  const stages: { skip?: Symbolic; size: [number, number] }[] = maps
    .slice(0, -1)
    .toReversed()
    .map((skip) => ({ skip, size: sizeOf(skip) }));
  if (sizeOf(maps[0]!).join() !== inputSize.join()) stages.push({ size: inputSize });
  stages.forEach(({ skip, size }, i) => {
    const name = `up${i + 1}`;
    x = apply(layers.layers.upSampling2d({ size: [2, 2], name }), x);
    const surplus = sizeOf(x).map((side, axis): [number, number] => [0, side - size[axis]!]) as [
      [number, number],
      [number, number],
    ];
    if (surplus.some(([, end]) => end > 0))
      x = apply(layers.layers.cropping2D({ cropping: surplus, name: `${name}_cut` }), x);
    const channels = Math.max(SEGMENTER_WIDTH, Math.floor((skip ?? x).shape.at(-1)! / 2));
    if (skip) x = apply(layers.layers.concatenate({ name: `${name}_join` }), [x, skip]);
    x = normaliseAndRectify(convolution(x, `${name}_conv`, channels, 3), `${name}_bn`, `${name}_relu`);
  });
  return layers.model({
    inputs: maps,
    outputs: convolution(x, 'logits', classes, 1, { useBias: true }),
    name: 'segmenter',
  });
}
