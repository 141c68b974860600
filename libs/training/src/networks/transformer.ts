/** Vision transformers for images and spectrograms (Dosovitskiy et al. 2021), timm's with the same weights. */
import { gridOf, transformerOf, type Encoder, type Transformer } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import { apply, normaliseInputs, only, type Symbolic } from './layers.js';
import { sineCosine } from './positions.js';
import { drawInStep } from './step-seed.js';
import { attend, gelu, LAYER_NORM_EPSILON, layerNorm, mapTokens } from './token-operations.js';

/** Name of the normalisation that follows the last block. */
export const LAST_NORM = 'norm';

/** Layer normalisation. Config, weights and name are those of tfjs's own layer. */
class LayerNorm extends layers.layers.Layer {
  static className = 'LayerNormalization';
  private gamma!: layers.LayerVariable;
  private beta!: layers.LayerVariable;

  override build(inputShape: layers.Shape): void {
    const width = [inputShape.at(-1)!];
    this.gamma = this.addWeight('gamma', width, 'float32', layers.initializers.ones());
    this.beta = this.addWeight('beta', width, 'float32', layers.initializers.zeros());
    this.built = true;
  }

  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
    return tf.tidy(() => layerNorm(only(inputs), this.gamma.read() as tf.Tensor1D, this.beta.read() as tf.Tensor1D));
  }

  override getConfig() {
    return { ...super.getConfig(), axis: -1, epsilon: LAYER_NORM_EPSILON };
  }
}

/**
 * Tokens that know where they are: [N, T, D] plus the positions of each, behind a token of its own where there is one
 * (`class`), to [N, T (+ 1), D].
 */
export class Positions extends layers.layers.Layer {
  static className = 'Positions';
  private token: layers.LayerVariable | undefined;
  private learnt: layers.LayerVariable | undefined;
  private shared: Positions | undefined;

  constructor(
    readonly settings: { name: string; pooling: 'class' | 'mean'; positions: 'sine-cosine' | 'learnt'; grid: number[] },
  ) {
    super({ name: settings.name });
  }

  private get before(): number {
    return this.settings.pooling === 'class' ? 1 : 0;
  }

  override build(inputShape: layers.Shape): void {
    const [, tokens, width] = inputShape as [null, number, number];
    const { zeros } = layers.initializers;
    if (this.shared) this.token = this.shared.token;
    else if (this.before) this.token = this.addWeight('class_token', [width], 'float32', zeros());
    if (this.settings.positions === 'learnt')
      this.learnt = this.addWeight('positions', [this.before + tokens, width], 'float32', zeros());
    this.built = true;
  }

  /** The token for the class of others, with squares of another grid. Positions that are learnt are for one grid. */
  shareWeights(known: layers.layers.Layer): void {
    this.shared = known as Positions;
  }

  override computeOutputShape(inputShape: layers.Shape): layers.Shape {
    const [count, tokens, width] = inputShape as [null, number, number];
    return [count, this.before + tokens, width];
  }

  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
    return tf.tidy(() => {
      const x = only(inputs) as tf.Tensor3D;
      const [count, , width] = x.shape;
      const rows = this.rows(width);
      if (!this.token) return tf.add(x, rows);
      const token = tf.tile(tf.reshape<tf.Rank.R3>(this.token.read(), [1, 1, width]), [count, 1, 1]);
      return tf.add(tf.concat3d([token, x], 1), rows);
    });
  }

  /** What is added to each token, `before` squares that of the class. [T (+ 1), D] */
  private rows(width: number): tf.Tensor2D {
    if (this.learnt) return this.learnt.read() as tf.Tensor2D;
    const [rows, columns] = this.settings.grid as [number, number];
    const values = sineCosine(rows, columns, width);
    const all = new Float32Array((this.before + rows * columns) * width);
    all.set(values, this.before * width);
    return tf.tensor2d(all, [this.before + rows * columns, width]);
  }

  /** What an input of zeros becomes, [T (+ 1), D]: positions, and the class token in its place. */
  ofZeros(): tf.Tensor2D {
    return tf.tidy(() => {
      const [, tokens, width] = this.inboundNodes[0]!.inputShapes[0] as [null, number, number];
      return tf.squeeze(this.call(tf.zeros([1, tokens, width])), [0]);
    });
  }

  override getConfig() {
    return { ...super.getConfig(), ...this.settings };
  }
}

/** Queries, keys and values side by side [N, T, 3·D] → what each token takes from all [N, T, D]. */
export class Attention extends layers.layers.Layer {
  static className = 'SelfAttention';

  constructor(readonly settings: { name: string; heads: number }) {
    super({ name: settings.name });
  }

  override computeOutputShape(inputShape: layers.Shape): layers.Shape {
    const [count, tokens, thrice] = inputShape as [null, number, number];
    return [count, tokens, thrice / 3];
  }

  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
    return tf.tidy(() => attend(only(inputs) as tf.Tensor3D, this.settings.heads));
  }

  override getConfig() {
    return { ...super.getConfig(), ...this.settings };
  }
}

/**
 * While it learns, nothing of what a block adds to a sample, `rate` of the time, and otherwise as much more (stochastic
 * depth, Huang et al. 2016; timm's DropPath).
 */
export class StochasticDepth extends layers.layers.Layer {
  static className = 'StochasticDepth';
  readonly draws = true;

  constructor(readonly settings: { name: string; rate: number }) {
    super({ name: settings.name });
  }

  override call(inputs: tf.Tensor | tf.Tensor[], { training = false }: { training?: boolean }): tf.Tensor {
    return tf.tidy(() => {
      const x = only(inputs);
      const { rate } = this.settings;
      const drawn = training && this.trainable ? drawInStep([x.shape[0], 1, 1]) : undefined;
      return drawn ? tf.mul(x, tf.div(tf.cast(tf.greaterEqual(drawn, rate), 'float32'), 1 - rate)) : tf.clone(x);
    });
  }

  override getConfig() {
    return { ...super.getConfig(), ...this.settings };
  }
}

export const normaliseTokens = (x: Symbolic, name: string): Symbolic => apply(new LayerNorm({ name }), x);

/** A dense layer of each token. */
export function tokenDense(x: Symbolic, name: string, units: number): Symbolic {
  const layer = layers.layers.dense({ name, units, kernelInitializer: 'zeros' });
  layer.call = (inputs) =>
    tf.tidy(() => {
      const [kernel, bias] = layer.weights.map((weight) => weight.read()) as [tf.Tensor2D, tf.Tensor1D];
      return mapTokens(only(inputs) as tf.Tensor3D, kernel, bias);
    });
  return apply(layer, x);
}

function activate(x: Symbolic, name: string): Symbolic {
  const layer = layers.layers.activation({ name, activation: 'gelu' });
  layer.call = (inputs) => tf.tidy(() => gelu(only(inputs)));
  return apply(layer, x);
}

/** Attention and dense layers, each on normalised tokens and added to them (timm's `Block`). */
export function transformerBlock(
  x: Symbolic,
  name: string,
  { heads, hidden, dropped }: { heads: number; hidden: number; dropped: number },
): Symbolic {
  const width = x.shape.at(-1)!;
  const added = (to: Symbolic, what: Symbolic, part: string): Symbolic =>
    apply(layers.layers.add({ name: `${name}_add${part}` }), [
      to,
      dropped > 0 ? apply(new StochasticDepth({ name: `${name}_drop${part}`, rate: dropped }), what) : what,
    ]);
  const mixed = tokenDense(normaliseTokens(x, `${name}_norm1`), `${name}_qkv`, 3 * width);
  const taken = apply(new Attention({ name: `${name}_attention`, heads }), mixed);
  const between = added(x, tokenDense(taken, `${name}_proj`, width), '1');
  const wide = tokenDense(normaliseTokens(between, `${name}_norm2`), `${name}_mlp1`, hidden);
  return added(between, tokenDense(activate(wide, `${name}_gelu`), `${name}_mlp2`, width), '2');
}

/** Squares of an image [N, H, W, C] → their tokens [N, h, w, D]. */
function cutIntoSquares(x: Symbolic, { patch, width }: Transformer): Symbolic {
  const layer = layers.layers.conv2d({
    name: 'patches',
    filters: width,
    kernelSize: patch,
    strides: patch,
    padding: 'same',
    kernelInitializer: 'zeros',
  });
  // The layer's own call computes the gradient for its input too, which nobody asks for.
  layer.call = (inputs) =>
    tf.tidy(() => {
      const [kernel, bias] = layer.weights.map((weight) => weight.read()) as [tf.Tensor4D, tf.Tensor1D];
      return tf.add(tf.conv2d(only(inputs) as tf.Tensor4D, kernel, patch, 'same'), bias);
    });
  return apply(layer, x);
}

/** The mean over tokens [N, T, D] → [N, D]. */
function meanOfTokens(x: Symbolic): Symbolic {
  const layer = layers.layers.globalAveragePooling1d({ name: 'mean' });
  layer.call = (inputs) =>
    tf.tidy(() => {
      const tokens = only(inputs) as tf.Tensor3D;
      // As a product, whose gradient is one kernel; that of a mean multiplies by ones that are made in JavaScript.
      const share = tf.fill([tokens.shape[0], 1, tokens.shape[1]], 1 / tokens.shape[1]);
      return tf.squeeze(tf.matMul(share, tokens), [1]);
    });
  return apply(layer, x);
}

/** Tokens `from` to `to`, of T. */
function cutTokens(x: Symbolic, name: string, [from, to]: [number, number]): Symbolic {
  const [, tokens, width] = x.shape as [null, number, number];
  const column = apply(layers.layers.reshape({ name: `${name}_column`, targetShape: [tokens, width, 1] }), x);
  return apply(
    layers.layers.cropping2D({
      name: `${name}_cut`,
      cropping: [
        [from, tokens - to],
        [0, 0],
      ],
    }),
    column,
  );
}

/**
 * Inputs [N, H, W, C] about [0, 1] → what became of the squares as a map [N, h, w, D], and the features [N, D].
 */
export function buildTransformer(encoder: Encoder, inputShape: readonly [number, number, number]): layers.LayersModel {
  const transformer = transformerOf(encoder)!;
  const { patch, width, pooling, positions, dropped, ...block } = transformer;
  const grid = gridOf(patch, inputShape);
  const squares = grid[0] * grid[1];
  const images = layers.input({ shape: [...inputShape], name: 'images' });
  const seen = encoder.normalisation ? normaliseInputs(images, 'normalisation', encoder.normalisation) : images;
  const cut = cutIntoSquares(seen, transformer);
  const rows = apply(layers.layers.reshape({ name: 'tokens', targetShape: [squares, width] }), cut);
  let x = apply(new Positions({ name: 'positions', pooling, positions, grid }), rows);
  dropped.forEach((each, i) => {
    x = transformerBlock(x, `block${i + 1}`, { ...block, dropped: each });
  });
  const asMap = (tokens: Symbolic): Symbolic =>
    apply(layers.layers.reshape({ name: 'map', targetShape: [...grid, width] }), tokens);
  if (pooling === 'mean')
    return layers.model({
      inputs: images,
      outputs: [asMap(x), normaliseTokens(meanOfTokens(x), LAST_NORM)],
      name: 'encoder',
    });
  const normalised = normaliseTokens(x, LAST_NORM);
  const features = apply(
    layers.layers.reshape({ name: 'features', targetShape: [width] }),
    cutTokens(normalised, 'class', [0, 1]),
  );
  return layers.model({
    inputs: images,
    outputs: [asMap(cutTokens(normalised, 'squares', [1, 1 + squares])), features],
    name: 'encoder',
  });
}
