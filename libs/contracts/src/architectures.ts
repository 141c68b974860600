/** What the encoders of images and spectrograms are built of, by their settings. */
import { OWN_NETWORK, TRANSFORMERS, type Encoder } from './run-settings.js';

type TransformerName = (typeof TRANSFORMERS)[number];

type Stem = NonNullable<Encoder['stem']> | 'strided';

/** Blocks of a ResNet's stages as (width factor, stride): channels double and places halve from stage to stage. */
const stages = (...counts: number[]): [factor: number, stride: number][] =>
  counts.flatMap((count, stage) =>
    Array.from({ length: count }, (_, i): [number, number] => [2 ** stage, stage > 0 && i === 0 ? 2 : 1]),
  );

/** `stem` where the settings name none. A bottleneck's output is `expansion` times as wide as its 3x3 convolution. */
const ARCHITECTURES: Record<
  Exclude<Encoder['name'], TransformerName | typeof OWN_NETWORK>,
  { stem: Stem; expansion: 1 | 4; blocks: [number, number][] }
> = {
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

const isTransformer = (name: Encoder['name']): name is TransformerName => TRANSFORMERS.some((each) => each === name);

/** Whether it is a model of its users' own, of which the settings say no more. */
export const isOwnNetwork = ({ name }: Pick<Encoder, 'name'>): boolean => name === OWN_NETWORK;

/** @throws Error for a transformer, which `transformerOf` describes, and for a model of its users' own. */
export function architectureOf({ name, width, stem: given, padding, skRatio, seRatio }: Encoder): Architecture {
  if (isTransformer(name) || name === OWN_NETWORK) throw new Error(`expected one of the ResNets, got ${name}`);
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

const HEADS: Record<TransformerName, number> = { 'vit-tiny': 3, 'vit-small': 6, 'vit-base': 12 };
/** Blocks of a transformer, and how many of them are tuned or left together (`fineTuneAfterBlock`). */
const DEPTH = 12;
const GROUP = 3;
const PATCH = 16;
/** How much wider a block is inside than its tokens. */
const WIDENING = 4;

/** A vision transformer (Dosovitskiy et al. 2021): tokens of squares, through blocks of attention and dense layers. */
export interface Transformer {
  /** Height and width of a square. */
  patch: number;
  heads: number;
  /** Numbers in a token. */
  width: number;
  /** Numbers in a token inside a block's dense layers. */
  hidden: number;
  depth: number;
  pooling: NonNullable<Encoder['pooling']>;
  positions: NonNullable<Encoder['positions']>;
  /** For each block, how often it is left out. */
  dropped: number[];
}

/** What a transformer is built of; undefined for a network of convolutions. */
export function transformerOf(encoder: Encoder): Transformer | undefined {
  const { name, pooling = 'class', positions = 'sine-cosine', patch = PATCH, stochasticDepth = 0 } = encoder;
  if (!isTransformer(name)) return undefined;
  const heads = HEADS[name];
  const width = heads * encoder.width;
  const dropped = Array.from({ length: DEPTH }, (_, i) => (stochasticDepth * i) / (DEPTH - 1));
  return { patch, heads, width, hidden: WIDENING * width, depth: DEPTH, pooling, positions, dropped };
}

/** Rows and columns of squares in an input. */
export const gridOf = (patch: number, [height, width]: readonly [number, number, ...number[]]): [number, number] => [
  Math.ceil(height / patch),
  Math.ceil(width / patch),
];

/** The last block of each group that is tuned or left together, counted from 1: blocks of one width, or every three. */
export function groupsOfBlocks(encoder: Encoder): number[] {
  const transformer = transformerOf(encoder);
  if (transformer) return Array.from({ length: transformer.depth / GROUP }, (_, i) => GROUP * (i + 1));
  const { blocks } = architectureOf(encoder);
  return blocks.flatMap(({ width }, i) => (blocks[i + 1]?.width === width ? [] : [i + 1]));
}

export const depthOf = (encoder: Encoder): number =>
  transformerOf(encoder)?.depth ?? architectureOf(encoder).blocks.length;

/** How many squares a masked autoencoder's encoder sees: at least one, and not all. */
export const visibleSquares = (squares: number, ratio: number): number =>
  Math.max(1, Math.min(squares - 1, Math.floor(squares * (1 - ratio))));
