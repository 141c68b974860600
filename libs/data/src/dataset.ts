import type { DatasetManifest, Split } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import { InvalidDataError, readNpy } from './npy.js';
import { Random, type RandomState } from './random.js';

/** One split of a dataset version, in memory as bytes. */
export interface ImageSplit {
  count: number;
  imageSize: number;
  channels: 1 | 3;
  classes: readonly string[];
  /** [count, imageSize, imageSize, channels] */
  images: Uint8Array;
  /** [count], each an index of `classes` */
  labels: Int32Array;
}

/** @throws InvalidDataError when the arrays are not what the manifest says. */
export async function openSplit(manifest: DatasetManifest, split: Split, files: { images: string; labels: string }): Promise<ImageSplit> {
  const described = manifest.splits[split];
  if (!described) throw new InvalidDataError(`expected dataset ${manifest.name} to have a ${split} split`);
  const { imageSize, channels, classes } = manifest;
  const [images, labels] = await Promise.all([readNpy(files.images, '|u1'), readNpy(files.labels, '<i4')]);
  const expected = [described.count, imageSize, imageSize, channels];
  if (images.shape.join() !== expected.join()) throw new InvalidDataError(`expected ${split} images of shape [${expected.join(', ')}], got [${images.shape.join(', ')}]`);
  if (labels.shape.join() !== `${described.count}`) throw new InvalidDataError(`expected ${split} labels of shape [${described.count}], got [${labels.shape.join(', ')}]`);
  const wrong = labels.data.findIndex((label) => label < 0 || label >= classes.length);
  if (wrong >= 0) throw new InvalidDataError(`expected ${split} labels from 0 to ${classes.length - 1}, got ${labels.data[wrong]} at row ${wrong}`);
  return { count: described.count, imageSize, channels, classes, images: images.data, labels: labels.data };
}

/** What a byte is as a number in [0, 1]. */
const UNIT = Float32Array.from({ length: 256 }, (_, byte) => byte / 255);

/** The images of these rows, in their order: float32 [rows, S, S, C] in [0, 1]. The caller owns the tensor. */
export function gatherImages({ images, imageSize, channels }: ImageSplit, rows: ArrayLike<number>): tf.Tensor4D {
  const size = imageSize * imageSize * channels;
  const pixels = new Float32Array(rows.length * size);
  for (let i = 0; i < rows.length; i++) {
    for (let from = rows[i]! * size, to = i * size, end = to + size; to < end; from++, to++) pixels[to] = UNIT[images[from]!]!;
  }
  return tf.tensor4d(pixels, [rows.length, imageSize, imageSize, channels]);
}

export const gatherLabels = ({ labels }: ImageSplit, rows: ArrayLike<number>): Int32Array => Int32Array.from(rows, (row) => labels[row]!);

/** Rows spread evenly over the classes, the first of each; every row where `count` is as large as the split. */
export function balancedRows({ count: available, labels, classes }: ImageSplit, count: number): Int32Array {
  const byClass: number[][] = classes.map(() => []);
  labels.forEach((label, row) => byClass[label]!.push(row));
  const rows: number[] = [];
  for (let place = 0; rows.length < Math.min(count, available); place++) {
    for (const members of byClass) if (place < members.length && rows.length < count) rows.push(members[place]!);
  }
  return Int32Array.from(rows).sort();
}

export interface BatchCursorState { random: RandomState; order: number[]; position: number }

/** Batches of shuffled rows, epoch after epoch; what does not fill a batch at an epoch's end is left out. */
export class BatchCursor {
  readonly stepsPerEpoch: number;
  private order: Int32Array = new Int32Array();
  private position = 0;

  /** @throws RangeError for a batch larger than the rows there are. */
  constructor(private readonly rows: Int32Array, private readonly batchSize: number, private random: Random) {
    this.stepsPerEpoch = Math.floor(rows.length / batchSize);
    if (this.stepsPerEpoch === 0) throw new RangeError(`expected a batch of at most ${rows.length} images, got ${batchSize}`);
  }

  next(): Int32Array {
    if (this.position + this.batchSize > this.order.length) {
      this.order = this.random.permutation(this.rows.length);
      this.position = 0;
    }
    const batch = Int32Array.from(this.order.subarray(this.position, this.position + this.batchSize), (place) => this.rows[place]!);
    this.position += this.batchSize;
    return batch;
  }

  state(): BatchCursorState {
    return { random: this.random.state(), order: [...this.order], position: this.position };
  }

  restore({ random, order, position }: BatchCursorState): void {
    this.random = Random.fromState(random);
    this.order = Int32Array.from(order);
    this.position = position;
  }
}
