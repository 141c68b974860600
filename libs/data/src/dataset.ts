import { UNLABELLED, type DatasetManifest, type SampleShape, type Split, type SplitFiles } from '#libs/contracts';
import { floats, floatsOfBytes, tensorOf, type HostTensor } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { resizedWhole } from './crops.js';
import { inOrder } from './drawn.js';
import { InvalidDataError } from './invalid-data.js';
import { MEMORY_LIMIT, readNpy, Rows } from './npy.js';
import { Random, type RandomState } from './random.js';

/** One split of a dataset version: in memory where it is small, otherwise read from its files row by row. */
export interface SampleSplit {
  count: number;
  /** What samples are when they are gathered: images may be stored at another size (`seenAt`). */
  sample: SampleShape;
  classes: readonly string[];
  /** Images: bytes [count, height, width, channels]. Sounds: int16 [count, length]. */
  samples: Rows<'|u1' | '<i2'>;
  /** [count], each an index of `classes`, where samples have a class. */
  labels: Int32Array | undefined;
  /** [count, height, width], each `UNLABELLED` or an index of `classes`, where pixels have a class. */
  masks: Rows<'|u1'> | undefined;
}

const numbersOf = (sample: SampleShape): number[] =>
  sample.modality === 'image' ? [sample.height, sample.width, sample.channels] : [sample.length];

/**
 * Arrays of more than `memoryLimit` bytes stay in their files, which are open until `closeSplit`; a trainer, which
 * lives for one run, leaves that to the end of its process.
 * @throws InvalidDataError when the arrays are not what the manifest says.
 */
export async function openSplit(
  manifest: DatasetManifest,
  split: Split,
  files: SplitFiles,
  memoryLimit = MEMORY_LIMIT,
): Promise<SampleSplit> {
  const described = manifest.splits[split];
  if (!described) throw new InvalidDataError(`expected dataset ${manifest.name} to have a ${split} split`);
  const { sample, classes } = manifest;
  const { count } = described;
  const require = (what: string, shape: readonly number[], expected: readonly number[]) => {
    if (shape.join() !== expected.join())
      throw new InvalidDataError(
        `expected ${split} ${what} of shape [${expected.join(', ')}], got [${shape.join(', ')}]`,
      );
  };
  const samples: Rows<'|u1' | '<i2'> = await Rows.open(
    files.samples,
    sample.modality === 'image' ? '|u1' : '<i2',
    memoryLimit,
  );
  let masks: Rows<'|u1'> | undefined;
  try {
    require('samples', samples.shape, [count, ...numbersOf(sample)]);
    const labels = files.labels === undefined ? undefined : await readNpy(files.labels, '<i4');
    if (labels) {
      require('labels', labels.shape, [count]);
      const wrong = labels.data.findIndex((label) => label < 0 || label >= classes.length);
      if (wrong >= 0)
        throw new InvalidDataError(
          `expected ${split} labels from 0 to ${classes.length - 1}, got ${labels.data[wrong]} at row ${wrong}`,
        );
    }
    masks = files.masks === undefined ? undefined : await Rows.open(files.masks, '|u1', memoryLimit);
    if (masks && sample.modality === 'image') {
      require('masks', masks.shape, [count, sample.height, sample.width]);
      for (let row = 0; row < count; row++) {
        const wrong = masks.read(row).find((label) => label >= classes.length && label !== UNLABELLED);
        if (wrong !== undefined)
          throw new InvalidDataError(
            `expected ${split} masks of 0 to ${classes.length - 1} and ${UNLABELLED}, got ${wrong} at row ${row}`,
          );
      }
    }
    return { count, sample, classes, samples, labels: labels?.data, masks };
  } catch (error) {
    closeSplit({ samples, masks });
    throw error;
  }
}

/** Closes the files of a split. Its samples can't be read any more. */
export function closeSplit({ samples, masks }: Pick<SampleSplit, 'samples' | 'masks'>): void {
  samples.close();
  masks?.close();
}

const FULL_SCALE = 32768;

/** What white is as a byte. */
const WHITE = 255;

/**
 * The samples of these rows as they are stored: images as bytes [rows, H, W, C] with what they are to be divided by,
 * sounds float32 [rows, length]. A division by a constant would in a graph become a product with its reciprocal, which
 * is rounded otherwise.
 */
export function gatherStored({ samples, sample }: SampleSplit, rows: ArrayLike<number>): HostTensor[] {
  const { size } = samples;
  const shape = [rows.length, ...samples.shape.slice(1)];
  if (sample.modality === 'image') {
    const values = new Uint8Array(rows.length * size);
    for (let i = 0; i < rows.length; i++) samples.readInto(rows[i]!, values, i * size);
    return [{ dtype: 'uint8', shape, values }, floats(Float32Array.of(WHITE), [])];
  }
  const values = new Float32Array(rows.length * size);
  for (let i = 0, to = 0; i < rows.length; i++) {
    const item = samples.read(rows[i]!);
    for (let from = 0; from < size; from++, to++) values[to] = item[from]! / FULL_SCALE;
  }
  return [floats(values, shape)];
}

/** Samples of what `gatherStored` gives, in order by `next`: as `gatherSamples` gives them, by tensor operations. */
export function samplesOf({ sample }: Pick<SampleSplit, 'sample'>, next: () => tf.Tensor): tf.Tensor {
  if (sample.modality !== 'image') return tf.clone(next());
  return tf.tidy(() => {
    const images = tf.div<tf.Tensor4D>(floatsOfBytes(next()), next());
    const [, height, width] = images.shape;
    return height === sample.height && width === sample.width ? images : resizedWhole(images, sample.height);
  });
}

/**
 * The samples of these rows, in their order: images float32 [rows, H, W, C] in [0, 1], resized where they are stored at
 * another size, sounds float32 [rows, length] in [-1, 1). The caller owns the tensor.
 */
export const gatherSamples = (split: SampleSplit, rows: ArrayLike<number>): tf.Tensor =>
  tf.tidy(() => samplesOf(split, inOrder(gatherStored(split, rows).map(tensorOf))));

/** @throws InvalidDataError where samples have no class. */
export function gatherLabels({ labels }: SampleSplit, rows: ArrayLike<number>): Int32Array {
  if (!labels) throw new InvalidDataError('expected a dataset with a class for each sample, this one has none');
  return Int32Array.from(rows, (row) => labels[row]!);
}

/**
 * Class of each pixel, `UNLABELLED` where there is none, as bytes [rows, H, W]. @throws InvalidDataError where there
 * are no masks.
 */
export function gatherStoredMasks({ masks, sample }: SampleSplit, rows: ArrayLike<number>): HostTensor {
  if (!masks || sample.modality !== 'image')
    throw new InvalidDataError('expected a dataset with masks, this one has none');
  const size = sample.height * sample.width;
  const values = new Uint8Array(rows.length * size);
  for (let i = 0; i < rows.length; i++) masks.readInto(rows[i]!, values, i * size);
  return { dtype: 'uint8', shape: [rows.length, sample.height, sample.width], values };
}

/** The same as int32. @throws InvalidDataError where there are no masks. */
export function gatherMasks(split: SampleSplit, rows: ArrayLike<number>): tf.Tensor3D {
  const { shape, values } = gatherStoredMasks(split, rows);
  return tf.tensor3d(Int32Array.from(values), shape as [number, number, number], 'int32');
}

export const allRows = ({ count }: SampleSplit): Int32Array => Int32Array.from({ length: count }, (_, row) => row);

/** Rows spread evenly over the classes, the first of each; every row where `count` is as large as the split. */
export function balancedRows({ count: available, labels, classes }: SampleSplit, count: number): Int32Array {
  if (!labels)
    return Int32Array.from({ length: Math.min(count, available) }, (_, i) =>
      Math.floor((i * available) / Math.min(count, available)),
    );
  const byClass: number[][] = classes.map(() => []);
  labels.forEach((label, row) => byClass[label]!.push(row));
  const rows: number[] = [];
  for (let place = 0; rows.length < Math.min(count, available); place++) {
    for (const members of byClass) if (place < members.length && rows.length < count) rows.push(members[place]!);
  }
  return Int32Array.from(rows).sort();
}

export interface BatchCursorState {
  random: RandomState;
  order: number[];
  position: number;
}

/** Batches of shuffled rows, epoch after epoch; what does not fill a batch at an epoch's end is left out. */
export class BatchCursor {
  readonly stepsPerEpoch: number;
  private order: Int32Array = new Int32Array();
  private position = 0;

  /** @throws RangeError for a batch larger than the rows there are. */
  constructor(
    private readonly rows: Int32Array,
    private readonly batchSize: number,
    private random: Random,
  ) {
    this.stepsPerEpoch = Math.floor(rows.length / batchSize);
    if (this.stepsPerEpoch === 0)
      throw new RangeError(`expected a batch of at most ${rows.length} images, got ${batchSize}`);
  }

  next(): Int32Array {
    if (this.position + this.batchSize > this.order.length) {
      this.order = this.random.permutation(this.rows.length);
      this.position = 0;
    }
    const batch = Int32Array.from(
      this.order.subarray(this.position, this.position + this.batchSize),
      (place) => this.rows[place]!,
    );
    this.position += this.batchSize;
    return batch;
  }

  state(): BatchCursorState {
    return this.snapshot()();
  }

  /** The state as it is now, written out when it is asked for: it is long. */
  snapshot(): () => BatchCursorState {
    const { order, position } = this;
    const random = this.random.state();
    return () => ({ random, order: [...order], position });
  }

  restore({ random, order, position }: BatchCursorState): void {
    this.random = Random.fromState(random);
    this.order = Int32Array.from(order);
    this.position = position;
  }
}
