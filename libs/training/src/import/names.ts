/** What weights of our encoders are called, and how they lie, in files of other programs. */
import { architectureOf, type Encoder } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';

/** Where a weight lies in a file. */
export interface Place {
  name: string;
  /** Shape there, of a weight that has this shape here. */
  shape(own: readonly number[]): number[];
  /** From how it lies there to how it lies here. */
  turned(values: tf.Tensor): tf.Tensor;
}

const PARAMETERS: Readonly<Record<string, string>> = {
  kernel: 'weight',
  gamma: 'weight',
  beta: 'bias',
  moving_mean: 'running_mean',
  moving_variance: 'running_var',
};
const SHORTCUT: Readonly<Record<string, string>> = { shortcut: 'downsample.0', shortcut_bn: 'downsample.1' };

/** Stage, from 1, and place in it, from 0, of a block: stages after the first begin with a stride. */
function stageOf(encoder: Encoder, block: number): [stage: number, at: number] {
  const strides = architectureOf(encoder)
    .blocks.slice(0, block)
    .map(({ stride }) => stride);
  const begins = strides.findLastIndex((stride, i) => i === 0 || stride > 1);
  return [1 + strides.slice(1).filter((stride) => stride > 1).length, block - 1 - begins];
}

/**
 * The place in torchvision's ResNets, and timm's of the same names, of a weight `block4_conv2/kernel`:
 * `layer2.0.conv2.weight`. Convolutions lie there as [out, in, height, width].
 */
export function placeInTorchvision(key: string, encoder: Encoder): Place {
  const [layer, parameter] = key.split('/') as [string, string];
  const [, block, part] = /^(stem|block\d+)_(.+)$/.exec(layer)!;
  const weight = PARAMETERS[parameter]!;
  const name =
    block === 'stem'
      ? `${part === 'conv' ? 'conv1' : 'bn1'}.${weight}`
      : (([stage, at]) => `layer${stage}.${at}.${SHORTCUT[part!] ?? part}.${weight}`)(
          stageOf(encoder, Number(block!.slice('block'.length))),
        );
  if (parameter !== 'kernel') return { name, shape: (own) => [...own], turned: (values) => values };
  return {
    name,
    shape: ([height, width, from, to]) => [to!, from!, height!, width!],
    turned: (values) => tf.transpose(values, [2, 3, 1, 0]),
  };
}

const BLOCK_PARTS: Readonly<Record<string, string>> = {
  norm1: 'norm1',
  qkv: 'attn.qkv',
  proj: 'attn.proj',
  norm2: 'norm2',
  mlp1: 'mlp.fc1',
  mlp2: 'mlp.fc2',
};

/**
 * The place in timm's vision transformers of a weight `block4_qkv/kernel`: `blocks.3.attn.qkv.weight`. Dense layers lie
 * there as [out, in], positions and the class's token with an axis of one before. `lastNorm`: what the last
 * normalisation is called, `fc_norm` where it follows the mean over tokens.
 */
export function placeInTimm(key: string, lastNorm: string): Place {
  const [layer, parameter] = key.split('/') as [string, string];
  if (layer === 'positions') {
    const before = parameter === 'class_token' ? [0, 1] : [0];
    return {
      name: parameter === 'class_token' ? 'cls_token' : 'pos_embed',
      shape: (own) => [...before.map(() => 1), ...own],
      turned: (values) => tf.squeeze(values, before),
    };
  }
  const weight = parameter === 'kernel' || parameter === 'gamma' ? 'weight' : 'bias';
  const turn = { shape: (own: readonly number[]) => [...own], turned: (values: tf.Tensor) => values };
  if (layer === 'patches')
    return parameter === 'kernel'
      ? {
          name: 'patch_embed.proj.weight',
          shape: ([height, width, from, to]) => [to!, from!, height!, width!],
          turned: (values) => tf.transpose(values, [2, 3, 1, 0]),
        }
      : { name: 'patch_embed.proj.bias', ...turn };
  const [, block, part] = /^block(\d+)_(.+)$/.exec(layer) ?? [];
  const name = block === undefined ? lastNorm : `blocks.${Number(block) - 1}.${BLOCK_PARTS[part!]!}`;
  if (parameter !== 'kernel') return { name: `${name}.${weight}`, ...turn };
  return {
    name: `${name}.weight`,
    shape: ([from, to]) => [to!, from!],
    turned: (values) => tf.transpose(values),
  };
}

/** What timm's files have beside the encoder: the classifier. */
export const isBesideTimm = (name: string): boolean => /^head\.(weight|bias)$/.test(name);

/** What such files have beside the encoder: the classifier, and how many batches a normalisation has seen. */
export const isBesideTorchvision = (name: string): boolean => /^fc\.(weight|bias)$|\.num_batches_tracked$/.test(name);

/** The place in a file of this program's own, which is called as here and lies as here. */
export const placeInOwn = (key: string): Place => ({
  name: key,
  shape: (own) => [...own],
  turned: (values) => values,
});
