/** What the encoders of images and spectrograms are built of, by their settings. */
import type { Encoder } from './run-settings.js';

type Stem = NonNullable<Encoder['stem']> | 'strided';

/** Blocks of a ResNet's stages as (width factor, stride): channels double and places halve from stage to stage. */
const stages = (...counts: number[]): [factor: number, stride: number][] =>
  counts.flatMap((count, stage) =>
    Array.from({ length: count }, (_, i): [number, number] => [2 ** stage, stage > 0 && i === 0 ? 2 : 1]),
  );

/** `stem` where the settings name none. A bottleneck's output is `expansion` times as wide as its 3x3 convolution. */
const ARCHITECTURES: Record<Encoder['name'], { stem: Stem; expansion: 1 | 4; blocks: [number, number][] }> = {
  'small-resnet': { stem: 'strided', expansion: 1, blocks: stages(1, 1, 1) },
  resnet18: { stem: 'cifar', expansion: 1, blocks: stages(2, 2, 2, 2) },
  resnet34: { stem: 'cifar', expansion: 1, blocks: stages(3, 4, 6, 3) },
  resnet50: { stem: 'cifar', expansion: 4, blocks: stages(3, 4, 6, 3) },
  resnet101: { stem: 'cifar', expansion: 4, blocks: stages(3, 4, 23, 3) },
  resnet152: { stem: 'cifar', expansion: 4, blocks: stages(3, 8, 36, 3) },
};

export interface Architecture {
  /** Convolutions before the blocks. */
  stem: { kernel: number; stride: number; channels: number }[];
  /** Whether a 3x3 max pool of stride 2 follows the stem. */
  pool: boolean;
  /** Residual blocks. `width`: channels of their 3x3 convolutions; `channels`: of what they give. */
  blocks: { width: number; stride: number; channels: number }[];
  /** Blocks of a 1x1, a 3x3 and a 1x1 convolution, the stride in the 3x3 one; otherwise of two 3x3 convolutions. */
  bottleneck: boolean;
  padding: NonNullable<Encoder['padding']>;
  /** Width of the layer that mixes selective kernels, for a block of this width; undefined without them. */
  mixing: ((width: number) => number) | undefined;
  /** Width of the layer that squeezes a block of this width; undefined where no channel is weighed. */
  squeeze: ((width: number) => number) | undefined;
}

/** Narrowest layer that mixes selective kernels. */
const LEAST_MIXING = 32;

const stemOf = (stem: Stem, width: number, isSelective: boolean): Architecture['stem'] => {
  const half = Math.floor(width / 2);
  if (stem === 'imagenet' && isSelective)
    return [
      { kernel: 3, stride: 2, channels: half },
      { kernel: 3, stride: 1, channels: half },
      { kernel: 3, stride: 1, channels: width },
    ];
  if (stem === 'imagenet') return [{ kernel: 7, stride: 2, channels: width }];
  return [{ kernel: 3, stride: stem === 'strided' ? 2 : 1, channels: width }];
};

export function architectureOf({ name, width, stem: given, padding, skRatio, seRatio }: Encoder): Architecture {
  const { stem: usual, expansion, blocks } = ARCHITECTURES[name];
  const stem = given ?? usual;
  return {
    stem: stemOf(stem, width, skRatio !== undefined),
    pool: stem === 'imagenet',
    blocks: blocks.map(([factor, stride]) => ({
      width: factor * width,
      stride,
      channels: factor * width * expansion,
    })),
    bottleneck: expansion > 1,
    padding: padding ?? (stem === 'imagenet' ? 'symmetric' : 'same'),
    mixing: skRatio === undefined ? undefined : (inner) => Math.max(Math.floor(inner * skRatio), LEAST_MIXING),
    squeeze: seRatio === undefined ? undefined : (inner) => Math.max(Math.floor(inner * seRatio), 1),
  };
}
