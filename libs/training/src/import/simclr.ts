/**
 * Checkpoints of SimCLR and SimCLRv2 (google-research/simclr, resnet.py): variables `base_model/conv2d_7/kernel`,
 * counted in the order in which the network makes its layers.
 */
import { architectureOf, Encoder, type ImportModel } from '#libs/contracts';
import { InvalidDataError, named } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import type { Place } from './names.js';
import type { TensorFile } from './tensor-file.js';

const ROOT = 'base_model/';
const FIRST = `${ROOT}conv2d/kernel`;
/** Part of a block's width that its selective kernels are mixed by, in the published networks. */
const SELECTIVE = 0.0625;

/** Whether a file has SimCLR's names. */
export const isOfSimclr = ({ tensors }: Pick<TensorFile, 'tensors'>): boolean => tensors.has(FIRST);

/** What such files have beside the encoder: heads, and what the optimiser remembers. */
export const isBesideSimclr = (name: string): boolean =>
  !name.startsWith(ROOT) || /\/(Momentum|LARS\w*|ExponentialMovingAverage)$/.test(name);

/** Where a layer lies in a file: one of its own, or half of the channels of one that two share. */
interface Layer {
  name: string;
  half?: 0 | 1;
}

/** Our layers by their names, each with SimCLR's. */
function layersOf(encoder: Encoder): Map<string, Layer> {
  const { stem, blocks, mixing } = architectureOf(encoder);
  const layers = new Map<string, Layer>();
  const made = { conv2d: 0, batch_normalization: 0 };
  const next = (kind: keyof typeof made): string => {
    const number = made[kind]++;
    return number === 0 ? kind : `${kind}_${number}`;
  };
  const add = (convolution: string, normalisation: string): void => {
    layers.set(convolution, { name: next('conv2d') });
    layers.set(normalisation, { name: next('batch_normalization') });
  };
  stem.forEach((_, i) => {
    const name = i === stem.length - 1 ? 'stem' : `stem${i + 1}`;
    add(`${name}_conv`, `${name}_bn`);
  });
  blocks.forEach(({ width }, i) => {
    const name = `block${i + 1}`;
    if (blocks[i - 1]?.width !== width) add(`${name}_shortcut`, `${name}_shortcut_bn`);
    add(`${name}_conv1`, `${name}_bn1`);
    if (mixing) {
      const [convolution, normalisation] = [next('conv2d'), next('batch_normalization')];
      (['2a', '2b'] as const).forEach((part, half) => {
        layers.set(`${name}_conv${part}`, { name: convolution, half: half as 0 | 1 });
        layers.set(`${name}_bn${part}`, { name: normalisation, half: half as 0 | 1 });
      });
      add(`${name}_sk_mix1`, `${name}_sk_bn`);
      layers.set(`${name}_sk_mix2`, { name: next('conv2d') });
    } else add(`${name}_conv2`, `${name}_bn2`);
    add(`${name}_conv3`, `${name}_bn3`);
  });
  return layers;
}

/**
 * The network of a file, by its first convolutions. Convolutions have as many zeros at both ends where they stride, the
 * pool has TensorFlow's; inputs in [0, 1] are taken as they are.
 * @throws InvalidDataError for another network, or one that is told in a file in no other way
 */
export function simclrNetwork(
  { tensors }: Pick<TensorFile, 'tensors'>,
  { path, as: name, normalisation }: Pick<ImportModel, 'path' | 'as' | 'normalisation'>,
): { architecture: Encoder; channels: number } {
  if (name === undefined || !['resnet50', 'resnet101', 'resnet152'].includes(name))
    throw new InvalidDataError(
      `expected resnet50, resnet101 or resnet152 in \`as\` (--as) for ${path}, whose names are SimCLR's, got ` +
        (name ?? 'none'),
    );
  const first = tensors.get(FIRST)!.shape;
  const [side, , channels] = first;
  const parsed = Encoder.safeParse({
    name,
    ...stemOf(first, tensors),
    padding: 'simclr',
    ...(normalisation && { normalisation }),
  });
  if (first.length !== 4 || ![3, 7].includes(side!) || ![1, 3].includes(channels!) || !parsed.success)
    throw new InvalidDataError(
      `expected ${FIRST} of ${path} of shape [7, 7, 3, width], or with 3 x 3, got [${named(first.map(String))}]`,
    );
  return { architecture: parsed.data, channels: channels! };
}

/** What the first convolution tells, and whether it is the first of three (ResNet-D). */
function stemOf(
  [side, , , out = 0]: readonly number[],
  tensors: TensorFile['tensors'],
): Pick<Encoder, 'width' | 'stem' | 'skRatio'> {
  const isOfThree = side === 3 && tensors.get(`${ROOT}conv2d_1/kernel`)?.shape[0] === 3;
  return {
    width: isOfThree ? 2 * out : out,
    stem: side === 7 || isOfThree ? 'imagenet' : 'cifar',
    ...((isOfThree || hasMixing(tensors)) && { skRatio: SELECTIVE }),
  };
}

/** Selective kernels behind the stem of CIFAR: a block's third convolution gives twice the channels of its second. */
function hasMixing(tensors: TensorFile['tensors']): boolean {
  const [narrow, wide] = [2, 3].map((number) => tensors.get(`${ROOT}conv2d_${number}/kernel`)?.shape);
  return narrow?.[0] === 1 && wide?.[0] === 3 && wide[3] === 2 * narrow[3]!;
}

/** Where each weight of an encoder lies, and how. */
export function placeInSimclr(encoder: Encoder): (key: string) => Place {
  const layers = layersOf(encoder);
  return (key) => {
    const [layer, parameter] = key.split('/') as [string, string];
    const { name, half } = layers.get(layer)!;
    // What mixes selective kernels is a layer of one place there.
    const isDense = /_sk_mix[12]$/.test(layer);
    return {
      name: `${ROOT}${name}/${parameter}`,
      shape: (own) => {
        const sides = isDense ? [1, 1, ...own] : [...own];
        return half === undefined ? sides : [...sides.slice(0, -1), 2 * sides.at(-1)!];
      },
      turned: (values) => {
        if (isDense) return tf.squeeze(values, [0, 1]);
        return half === undefined ? values : tf.split(values, 2, -1)[half]!;
      },
    };
  };
}
