/** How many weights an encoder has, and how many numbers lie between its layers. */
import { architectureOf, gridOf, transformerOf, visibleSquares, type Transformer } from './architectures.js';
import type { Masking } from './autoencode-spec.js';
import type { ModelManifest } from './model.js';
import { OWN_NETWORK, type Encoder } from './run-settings.js';

/** What an encoder holds: weights, and numbers between its layers. */
export interface Size {
  parameters: number;
  /** Numbers in the outputs of all convolutions, for one sample. */
  maps: number;
  /** Numbers in the largest of those outputs. */
  largest: number;
  features: number;
  /** Numbers in the output of the last convolution. */
  last: number;
}

/** An encoder with what is known of the layers of a model of its users' own. */
export type KnownEncoder = Encoder & { made?: Pick<ModelManifest, 'layers' | 'sample'> | undefined };

/** What a model's layers hold beside their outputs while they learn, in parts of those. Fitted to what was measured. */
const OWN_NUMBERS = 2;

/** Of the layers up to the one that gives the features; of another input in the same proportion. */
function ownSize({ features, made }: KnownEncoder, [height, columns]: [number, number, number]): Size {
  const { layers = [], sample } = made ?? {};
  const end = layers.findIndex(({ name }) => name === features);
  const used = end < 0 ? layers : layers.slice(0, end + 1);
  const scale = sample?.modality === 'image' ? (height * columns) / (sample.height * sample.width) : 1;
  const numbers = used.map(({ shape }) => shape.reduce((product, side) => product * side, 1));
  const places = (used.at(-1)?.shape ?? []).slice(0, -1).reduce((product, side) => product * side, 1);
  return {
    parameters: used.reduce((sum, { parameters }) => sum + parameters, 0),
    maps: OWN_NUMBERS * scale * numbers.reduce((sum, each) => sum + each, 0),
    largest: scale * Math.max(0, ...numbers),
    features: used.at(-1)?.shape.at(-1) ?? 1,
    last: Math.ceil(scale * places) * (used.at(-1)?.shape.at(-1) ?? 1),
  };
}

export function encoderSize(encoder: KnownEncoder, input: [number, number, number]): Size {
  if (encoder.name === OWN_NETWORK) return ownSize(encoder, input);
  const transformer = transformerOf(encoder);
  return transformer ? transformerSize(transformer, input) : convolutionalSize(encoder, input);
}

/**
 * How many numbers a block counts for each number of its tokens, and for each pair of tokens of a head, where a
 * convolution counts 1 for each of its output. Fitted to what was measured.
 */
const BLOCK_NUMBERS = { tokens: 7.5, pairs: 0.9 };

function blocksSize(
  { depth, width, hidden, heads }: Pick<Transformer, 'depth' | 'width' | 'hidden' | 'heads'>,
  tokens: number,
): Pick<Size, 'parameters' | 'maps'> {
  return {
    parameters: depth * (width * (4 * width + 2 * hidden + 9) + hidden),
    maps: depth * (BLOCK_NUMBERS.tokens * tokens * width + BLOCK_NUMBERS.pairs * heads * tokens ** 2),
  };
}

/** Of a masked autoencoder while it learns: of its encoder, which sees some of the squares, and its decoder. */
export function maskedSize(
  encoder: Encoder,
  { ratio, blocks, heads, headWidth }: Masking,
  input: [number, number, number],
): { encoder: Pick<Size, 'parameters' | 'maps'>; decoder: Pick<Size, 'parameters' | 'maps'> } {
  const transformer = transformerOf(encoder)!;
  const { patch, width: outer } = transformer;
  const whole = transformerSize(transformer, input);
  const squares = whole.last / outer;
  const before = transformer.pooling === 'class' ? 1 : 0;
  const width = heads * headWidth;
  const size = blocksSize({ depth: blocks, width, hidden: 4 * width, heads }, before + squares);
  const pixels = patch ** 2 * input[2];
  return {
    encoder: {
      parameters: whole.parameters,
      maps: blocksSize(transformer, before + visibleSquares(squares, ratio)).maps + 4 * squares * outer,
    },
    decoder: {
      parameters: size.parameters + width * (outer + 3) + width * (pixels + 2) + pixels,
      maps: size.maps + 16 * squares * (width + pixels),
    },
  };
}

function transformerSize(
  { patch, width, hidden, heads, depth, pooling, positions }: Transformer,
  [height, columns, channels]: [number, number, number],
): Size {
  const [rows, across] = gridOf(patch, [height, columns]);
  const squares = rows * across;
  const tokens = squares + (pooling === 'class' ? 1 : 0);
  const pairs = heads * tokens ** 2;
  const blocks = blocksSize({ depth, width, hidden, heads }, tokens);
  return {
    parameters:
      width * (patch ** 2 * channels + 1) +
      width * (pooling === 'class' ? 1 : 0) +
      (positions === 'learnt' ? tokens * width : 0) +
      blocks.parameters +
      2 * width,
    maps: blocks.maps + squares * width,
    largest: Math.max(3 * tokens * hidden, 5 * tokens * width + 1.5 * pairs),
    features: width,
    last: squares * width,
  };
}

function convolutionalSize(encoder: Encoder, [height, columns, channels]: [number, number, number]): Size {
  const { stem, pool, blocks, bottleneck, padding, mixing, squeeze } = architectureOf(encoder);
  let [h, w, depth] = [height, columns, channels];
  let [parameters, maps, largest] = [0, 0, 0];
  const hold = (numbers: number): void => {
    maps += numbers;
    largest = Math.max(largest, numbers);
  };
  const convolve = (from: number, to: number, kernel: number): void => {
    parameters += kernel ** 2 * from * to + 4 * to;
    hold(h * w * to);
  };
  const shrink = (stride: number): void => {
    [h, w] = [Math.ceil(h / stride), Math.ceil(w / stride)];
  };
  /** What a window of `kernel` places slides over, where it is copied to be padded. */
  const pad = (from: number, kernel: number, stride: number): void => {
    if (stride > 1 && padding !== 'same') hold((h + kernel - 1) * (w + kernel - 1) * from);
  };
  for (const { kernel, stride, channels: out } of stem) {
    pad(depth, kernel, stride);
    shrink(stride);
    convolve(depth, out, kernel);
    depth = out;
  }
  if (pool) {
    pad(depth, 3, 2);
    shrink(2);
    hold(h * w * depth);
  }
  const shortcut = (from: number, to: number, stride: number): void => {
    if (stride === 1 && from === to) return;
    if (mixing) hold(h * w * from);
    convolve(from, to, 1);
  };
  for (const { width, stride, channels: out } of blocks) {
    if (bottleneck) convolve(depth, width, 1);
    const inner = bottleneck ? width : depth;
    // With selective kernels, the window's way twice, both added, both weighed, and those added.
    for (let way = 0; way < (mixing ? 2 : 1); way++) pad(inner, 3, stride);
    shrink(stride);
    convolve(inner, width, 3);
    if (mixing) {
      convolve(inner, width, 3);
      for (let each = 0; each < 4; each++) hold(h * w * width);
      parameters += mixing(width) * (3 * width + 4);
    }
    convolve(width, out, bottleneck ? 1 : 3);
    if (squeeze) {
      hold(h * w * out);
      parameters += squeeze(width) * (2 * out + 1) + out;
    }
    shortcut(depth, out, stride);
    // The sum of both ways.
    hold(h * w * out);
    depth = out;
  }
  return { parameters, maps, largest, features: depth, last: h * w * depth };
}
