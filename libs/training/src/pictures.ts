/** Tensors of images → PNG files that people look at. */
import { UNLABELLED, type Autoencode, type SampleShape } from '#libs/contracts';
import { CLASS_COLOURS, logMel } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import sharp from 'sharp';

const COLUMNS = 8;

/**
 * Encoder's inputs, or what a decoder made of them → images [N, H, W, C] for people. Spectrograms: time goes to the
 * right, low frequencies are at the bottom.
 */
export const pictureOf = (inputs: tf.Tensor4D, sample: SampleShape, domain: Autoencode['domain']): tf.Tensor4D =>
  tf.tidy(() => {
    if (sample.modality === 'image') return tf.clone(inputs);
    const spectrograms =
      domain === 'waveform' ? logMel(tf.reshape(inputs, [-1, sample.length]), sample.sampleRate) : inputs;
    return tf.reverse4d(tf.transpose(spectrograms, [0, 2, 1, 3]), 1);
  });

/** Images of one size side by side, `columns` in a row: bytes [height, width, C]. */
export interface Picture {
  pixels: Buffer;
  width: number;
  height: number;
  channels: 1 | 3;
}

/** [N, H, W, C] in [0, 1] → one picture with `columns` images in a row. */
export function tile(images: tf.Tensor4D, columns: number): Picture {
  const [count, height, width, channels] = images.shape;
  const rows = Math.ceil(count / columns);
  const bytes = tf.tidy(() => tf.cast(tf.round(tf.mul(tf.clipByValue(images, 0, 1), 255)), 'int32').dataSync());
  const pixels = Buffer.alloc(rows * height * columns * width * channels);
  for (let i = 0; i < count; i++) {
    const [top, left] = [Math.floor(i / columns) * height, (i % columns) * width];
    for (let y = 0; y < height; y++) {
      const from = (i * height + y) * width * channels;
      pixels.set(bytes.subarray(from, from + width * channels), ((top + y) * columns * width + left) * channels);
    }
  }
  return { pixels, width: columns * width, height: rows * height, channels: channels as 1 | 3 };
}

export const writePng = async ({ pixels, ...raw }: Picture, file: string): Promise<void> => {
  await sharp(pixels, { raw }).png().toFile(file);
};

/** Images of several sizes as those of the largest, white to the right and below. Each: [N, H, W, C] */
export function paddedAlike(images: readonly tf.Tensor4D[]): tf.Tensor4D[] {
  const [height, width] = [1, 2].map((axis) => Math.max(...images.map(({ shape }) => shape[axis]!))) as [
    number,
    number,
  ];
  return images.map((each) =>
    tf.pad4d(
      each,
      [
        [0, 0],
        [0, height - each.shape[1]],
        [0, width - each.shape[2]],
        [0, 0],
      ],
      1,
    ),
  );
}

const FRAME_MS = 120;

/**
 * The images one after the other, there and back, without end. images: [N, H, W, C] in [0, 1]; `file` ends in .webp or
 * .gif.
 */
export async function writeAnimation(images: tf.Tensor4D, file: string): Promise<void> {
  const there = images.shape[0];
  const order = Int32Array.from({ length: Math.max(1, 2 * there - 2) }, (_, i) => (i < there ? i : 2 * there - 2 - i));
  const frames = tf.tidy(() => {
    const ordered = tf.gather(images, tf.tensor1d(order, 'int32'));
    return tf.keep(images.shape[3] === 1 ? tf.tile(ordered, [1, 1, 1, 3]) : ordered);
  });
  try {
    const { pixels, ...raw } = tile(frames, 1);
    await sharp(pixels, { raw: { ...raw, pageHeight: images.shape[1] } })
      .webp({ lossless: true, loop: 0, delay: Array<number>(order.length).fill(FRAME_MS) })
      .toFile(file);
  } finally {
    frames.dispose();
  }
}

/**
 * Writes bands of images, eight in a row: for each band those of the first tensor over those of the second, and so on.
 * Each tensor: [N, H, W, C] in [0, 1].
 */
export async function writeGrid(file: string, layers: readonly tf.Tensor4D[]): Promise<void> {
  const count = layers[0]!.shape[0];
  const columns = Math.min(COLUMNS, count);
  const grid = tf.tidy(() => {
    const bands: tf.Tensor4D[] = [];
    for (let first = 0; first < count; first += columns) {
      const size = Math.min(columns, count - first);
      for (const layer of layers)
        bands.push(
          tf.pad4d(tf.slice4d(layer, [first, 0, 0, 0], [size, -1, -1, -1]), [
            [0, columns - size],
            [0, 0],
            [0, 0],
            [0, 0],
          ]),
        );
    }
    return tf.keep(tf.concat4d(bands, 0));
  });
  try {
    await writePng(tile(grid, columns), file);
  } finally {
    grid.dispose();
  }
}

const PALETTE = CLASS_COLOURS.map((colour) =>
  [colour >> 16, (colour >> 8) & 255, colour & 255].map((part) => part / 255),
);
const OVERLAY_OPACITY = 0.6;

/**
 * Images [N, H, W, 1 or 3] in [0, 1] under the colours of their classes; pixels that are `UNLABELLED` show the image.
 * masks: int32 [N, H, W] → [N, H, W, 3]
 */
export function overlay(images: tf.Tensor4D, masks: tf.Tensor3D): tf.Tensor4D {
  return tf.tidy(() => {
    const colours = tf.gather<tf.Tensor>(tf.tensor2d(PALETTE), tf.mod(masks, tf.scalar(PALETTE.length, 'int32')));
    const opacity = tf.mul(tf.expandDims(tf.cast(tf.notEqual(masks, UNLABELLED), 'float32'), 3), OVERLAY_OPACITY);
    return tf.add(tf.mul(images, tf.sub(1, opacity)), tf.mul(colours, opacity));
  });
}
