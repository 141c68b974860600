/** How well each pixel's class is found, in numbers and in pictures. */
import { UNLABELLED, type Split } from '#libs/contracts';
import {
  allRows,
  balancedRows,
  gatherMasks,
  gatherSamples,
  inputOf,
  InvalidDataError,
  overlayColour,
  type SampleSplit,
} from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { turn, type Pause } from './evaluation.js';
import { pixelCrossEntropy } from './objectives.js';
import { overlay, writeGrid } from './pictures.js';
import type { TrainContext } from './train-context.js';

/** Pixels that are judged at once: the decoder's maps have their size. */
const EVALUATION_PIXELS = 2 ** 18;
/** Samples of the evaluation split that are shown. */
const SHOWN = 8;

export interface SegmentationScores {
  /** Means over the classes that occur, among the labels or the predictions. */
  miou: number;
  dice: number;
  pixelAccuracy: number;
  /** Intersection over union of each class; null for one that is neither in the labels nor in the predictions. */
  iou: (number | null)[];
  dicePerClass: (number | null)[];
}

/**
 * Scores of a confusion matrix: how many pixels of the row's class are predicted as the column's. IoU = TP / (TP + FP +
 * FN), Dice (F1) = 2 TP / (2 TP + FP + FN). A class that is absent from labels and predictions is left out of the
 * means; one that is only predicted, or only missed, counts as 0 (scikit-learn's macro average). NaN where no pixel was
 * counted.
 */
export function segmentationScores(confusion: readonly (readonly number[])[]): SegmentationScores {
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const mean = (values: readonly (number | null)[]) => {
    const present = values.filter((value) => value !== null);
    return sum(present) / present.length;
  };
  const hits = confusion.map((row, c) => row[c]!);
  // TP + FN, and TP + FP.
  const [actual, predicted] = [confusion.map(sum), confusion.map((_, c) => sum(confusion.map((row) => row[c]!)))];
  const iou = hits.map((hit, c) =>
    actual[c]! + predicted[c]! === 0 ? null : hit / (actual[c]! + predicted[c]! - hit),
  );
  const dicePerClass = hits.map((hit, c) =>
    actual[c]! + predicted[c]! === 0 ? null : (2 * hit) / (actual[c]! + predicted[c]!),
  );
  return { miou: mean(iou), dice: mean(dicePerClass), pixelAccuracy: sum(hits) / sum(actual), iou, dicePerClass };
}

/** @throws InvalidDataError where samples have no masks, or none of these rows has a pixel with a class. */
export function requireLabelledPixels({ masks }: SampleSplit, rows: Int32Array, what: string): void {
  if (!masks) throw new InvalidDataError('expected a dataset with masks, this one has none');
  if (rows.every((row) => masks.read(row).every((label) => label === UNLABELLED)))
    throw new InvalidDataError(`expected a pixel with a class in ${what}, all are ${UNLABELLED} (unlabelled)`);
}

type PixelLogits = (inputs: tf.Tensor4D) => tf.Tensor4D;

export interface Judgement {
  confusion: number[][];
  scores: SegmentationScores;
  /** Mean over the labelled pixels of the split. */ loss: number;
}

/** Counts over all labelled pixels of a split, batch by batch. What `pause` throws goes through. */
export async function judgeSegmentation(
  split: SampleSplit,
  logits: PixelLogits,
  pause: Pause = turn,
): Promise<Judgement> {
  const rows = allRows(split);
  const confusion = split.classes.map(() => split.classes.map(() => 0));
  const [height, width] = split.sample.modality === 'image' ? [split.sample.height, split.sample.width] : [1, 1];
  const batch = Math.max(1, Math.floor(EVALUATION_PIXELS / (height * width)));
  let [total, counted] = [0, 0];
  for (let start = 0; start < rows.length; start += batch) {
    await pause();
    tf.tidy(() => {
      const some = rows.subarray(start, start + batch);
      const masks = gatherMasks(split, some);
      const found = logits(inputOf(split.sample, gatherSamples(split, some)));
      const [mean, labels, predictions] = [
        pixelCrossEntropy(found, masks).dataSync()[0]!,
        masks.dataSync(),
        tf.argMax(found, 3).dataSync(),
      ];
      let labelled = 0;
      for (let i = 0; i < labels.length; i++) {
        if (labels[i] === UNLABELLED) continue;
        labelled++;
        confusion[labels[i]!]![predictions[i]!]!++;
      }
      total += mean * labelled;
      counted += labelled;
    });
  }
  return { confusion, scores: segmentationScores(confusion), loss: total / counted };
}

/**
 * Stores `segmentation.json`, scores by class, and `segmentation.png`: images over their masks over what was predicted.
 */
export async function storeSegmentation(
  split: SampleSplit,
  name: Split,
  { confusion, scores, loss }: Judgement,
  logits: PixelLogits,
  step: number,
  context: TrainContext,
): Promise<void> {
  const { miou, dice, pixelAccuracy, iou, dicePerClass } = scores;
  const report = {
    split: name,
    loss,
    miou,
    dice,
    pixelAccuracy,
    classes: split.classes.map((label, c) => ({
      name: label,
      colour: overlayColour(c),
      pixels: confusion[c]!.reduce((sum, count) => sum + count, 0),
      iou: iou[c]!,
      dice: dicePerClass[c]!,
    })),
    confusion,
  };
  const json = path.join(context.workDir, 'segmentation.json');
  await writeFile(json, `${JSON.stringify(report, null, 2)}\n`);
  await context.store({ name: 'segmentation.json', kind: 'report', mime: 'application/json', path: json, step });
  const layers = tf.tidy(() => {
    const rows = balancedRows(split, SHOWN);
    const [images, masks] = [inputOf(split.sample, gatherSamples(split, rows)), gatherMasks(split, rows)];
    const colour: tf.Tensor4D = tf.broadcastTo(images, [...masks.shape, 3]);
    return [colour, overlay(images, masks), overlay(images, tf.argMax<tf.Tensor3D>(logits(images), 3))];
  });
  try {
    const png = path.join(context.workDir, 'segmentation.png');
    await writeGrid(png, layers);
    await context.store({ name: 'segmentation.png', kind: 'image', mime: 'image/png', path: png, step });
  } finally {
    tf.dispose(layers);
  }
}
