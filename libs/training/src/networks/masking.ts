/** What a masked autoencoder is made of, around a transformer (He et al. 2022). */
import { gridOf, transformerOf, visibleSquares, type Encoder, type Masking } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import { apply, type Symbolic } from './layers.js';
import { rowsAt } from './operations.js';
import { sineCosine } from './positions.js';
import { LAST_NORM, normaliseTokens, tokenDense, transformerBlock } from './transformer.js';

/** Orders of the squares of each sample, and the way back: int32 [N, L] each. */
export interface Orders {
  order: tf.Tensor2D;
  inverse: tf.Tensor2D;
}

/** Each sample's tokens in an order of its own. x: [N, L, D] */
export function permute(x: tf.Tensor3D, { order, inverse }: Orders): tf.Tensor3D {
  const [count, tokens, width] = x.shape;
  const taken = (from: tf.Tensor, by: tf.Tensor2D): tf.Tensor3D => {
    // Among the tokens of all samples, those of each begin where those of the one before end.
    const begins = tf.tensor2d(
      Int32Array.from({ length: count }, (_, i) => i * tokens),
      [count, 1],
      'int32',
    );
    const flat = tf.reshape<tf.Rank.R1>(tf.add(by, begins), [-1]);
    return tf.reshape(rowsAt(tf.reshape<tf.Rank.R2>(from, [-1, width]), flat), [count, tokens, width]);
  };
  // Of a gather, tfjs's gradient adds up what goes to one place; here each goes to a place of its own.
  const apply = tf.customGrad((input) => ({
    value: taken(input as tf.Tensor, order),
    gradFunc: (dy: tf.Tensor) => taken(dy, inverse),
  }));
  return apply(x) as tf.Tensor3D;
}

/** Images [N, H, W, C] → the pixels of each square, row by row [N, L, patch²·C]; filled up with zeros at the ends. */
export function squaresOf(images: tf.Tensor4D, patch: number): tf.Tensor3D {
  const [count, height, width, channels] = images.shape;
  const [rows, columns] = gridOf(patch, [height, width]);
  const padded = tf.pad4d(images, [[0, 0], endsOf(rows * patch - height), endsOf(columns * patch - width), [0, 0]]);
  const apart = tf.transpose(tf.reshape(padded, [count, rows, patch, columns, patch, channels]), [0, 1, 3, 2, 4, 5]);
  return tf.reshape(apart, [count, rows * columns, patch ** 2 * channels]);
}

/** Squares → images of this shape [height, width, channels]. */
export function imagesOf(
  squares: tf.Tensor3D,
  patch: number,
  [height, width, channels]: readonly [number, number, number],
): tf.Tensor4D {
  const [rows, columns] = gridOf(patch, [height, width]);
  const apart = tf.reshape(squares, [-1, rows, columns, patch, patch, channels]);
  const together = tf.transpose(apart, [0, 1, 3, 2, 4, 5]);
  const whole = tf.reshape<tf.Rank.R4>(together, [-1, rows * patch, columns * patch, channels]);
  const [top, left] = [endsOf(rows * patch - height)[0], endsOf(columns * patch - width)[0]];
  return tf.slice4d(whole, [0, top, left, 0], [-1, height, width, -1]);
}

/** Zeros before and after, as the layer that cuts squares has them (TensorFlow's SAME). */
const endsOf = (lacking: number): [number, number] => [Math.floor(lacking / 2), Math.ceil(lacking / 2)];

/**
 * Tokens of the visible squares, those of no square before them → tokens of all squares in the order `order`, masked
 * ones by a token that is learnt, with positions of sines and cosines once they are put back by `inverse`.
 */
class Unmask extends layers.layers.Layer {
  static className = 'Unmask';
  private token!: layers.LayerVariable;

  constructor(readonly settings: { name: string; before: number; grid: [number, number] }) {
    super({ name: settings.name });
  }

  private get squares(): number {
    return this.settings.grid[0] * this.settings.grid[1];
  }

  override build(inputShape: layers.Shape | layers.Shape[]): void {
    const width = (inputShape as layers.Shape[])[0]!.at(-1)!;
    this.token = this.addWeight('mask_token', [width], 'float32', layers.initializers.zeros());
    this.built = true;
  }

  override computeOutputShape(inputShape: layers.Shape | layers.Shape[]): layers.Shape {
    const [count, , width] = (inputShape as layers.Shape[])[0] as [null, number, number];
    return [count, this.settings.before + this.squares, width];
  }

  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
    return tf.tidy(() => {
      const [tokens, order, inverse] = inputs as [tf.Tensor3D, tf.Tensor2D, tf.Tensor2D];
      const { before, grid } = this.settings;
      const [count, seen, width] = tokens.shape;
      const masked = tf.tile(tf.reshape<tf.Rank.R3>(this.token.read(), [1, 1, width]), [
        count,
        this.squares + before - seen,
        1,
      ]);
      const visible = tf.slice3d(tokens, [0, before, 0], [-1, -1, -1]);
      const all = permute(tf.concat3d([visible, masked], 1), { order: inverse, inverse: order });
      const placed = tf.add<tf.Tensor3D>(all, tf.tensor2d(sineCosine(...grid, width), [this.squares, width]));
      return before > 0 ? tf.concat3d([tf.slice3d(tokens, [0, 0, 0], [-1, before, -1]), placed], 1) : placed;
    });
  }
}

/** Networks of a masked autoencoder beside its encoder. */
export interface Masked {
  decoder: layers.LayersModel;
  /** The encoder's own blocks. They count who uses them: it is to be disposed of with the encoder. */
  trunk: layers.LayersModel;
  /** How many squares of a sample the encoder sees. */
  visible: number;
  /** Images [N, H, W, C] → what the decoder makes of each square [N, L, patch²·C], from the first ones by `order`. */
  reproduce(images: tf.Tensor4D, orders: Orders, training: boolean): tf.Tensor3D;
}

/** A decoder for an encoder, and the encoder's way with some of the squares. */
export function buildMasked(
  encoder: layers.LayersModel,
  architecture: Encoder,
  { ratio, blocks, heads, headWidth }: Masking,
): Masked {
  const { patch, width, pooling } = transformerOf(architecture)!;
  const [, height, columns, channels] = encoder.inputs[0]!.shape as [null, number, number, number];
  const grid = gridOf(patch, [height, columns]);
  const squares = grid[0] * grid[1];
  const before = pooling === 'class' ? 1 : 0;
  const visible = visibleSquares(squares, ratio);
  const positions = encoder.getLayer('positions').output as Symbolic;
  const tokensOf = layers.model({ inputs: encoder.inputs, outputs: positions, name: 'tokens_of' });
  const some = layers.input({ shape: [before + visible, width], name: 'some_tokens' });
  const trunk = layers.model({ inputs: some, outputs: trunkOf(encoder, positions, some), name: 'trunk' });

  const seen = layers.input({ shape: [before + visible, width], name: 'seen' });
  const [order, inverse] = ['order', 'inverse'].map((name) =>
    layers.input({ shape: [squares], name, dtype: 'int32' }),
  ) as [Symbolic, Symbolic];
  const inner = heads * headWidth;
  const unmask = new Unmask({ name: 'unmask', before, grid });
  let x = apply(unmask, [tokenDense(seen, 'tokens_in', inner), order, inverse]);
  for (let block = 1; block <= blocks; block++)
    x = transformerBlock(x, `block${block}`, { heads, hidden: 4 * inner, dropped: 0 });
  const decoder = layers.model({
    inputs: [seen, order, inverse],
    outputs: tokenDense(normaliseTokens(x, LAST_NORM), 'tokens_out', patch ** 2 * channels),
    name: 'decoder',
  });
  return {
    decoder,
    trunk,
    visible,
    reproduce: (images, orders, training) => {
      const tokens = tokensOf.apply(images, { training }) as tf.Tensor3D;
      const all = tf.slice3d(tokens, [0, before, 0], [-1, -1, -1]);
      const first = tf.slice3d(permute(all, orders), [0, 0, 0], [-1, visible, -1]);
      const given = before > 0 ? tf.concat3d([tf.slice3d(tokens, [0, 0, 0], [-1, before, -1]), first], 1) : first;
      const encoded = trunk.apply(given, { training }) as tf.Tensor3D;
      const made = decoder.apply([encoded, orders.order, orders.inverse], { training }) as tf.Tensor3D;
      return tf.slice3d(made, [0, before, 0], [-1, -1, -1]);
    },
  };
}

/** What the encoder's blocks, and its last normalisation, make of other tokens, by the same layers. */
function trunkOf(encoder: layers.LayersModel, from: Symbolic, to: Symbolic): Symbolic {
  const known = new Map([[from.id, to]]);
  const through = (tensor: Symbolic): Symbolic => {
    let result = known.get(tensor.id);
    if (!result) {
      const inputs = tensor.sourceLayer.inboundNodes[tensor.nodeIndex]!.inputTensors.map(through);
      result = apply(tensor.sourceLayer, inputs.length === 1 ? inputs[0]! : inputs);
      known.set(tensor.id, result);
    }
    return result;
  };
  const last = encoder.layers.findLast(({ name }) => /^block\d+_add2$/.test(name))!;
  return apply(encoder.getLayer(LAST_NORM), through(last.output as Symbolic));
}
