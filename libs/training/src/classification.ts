/** How well each class is found, and what is taken for what. */
import type { Split } from '#libs/contracts';
import type { SampleSplit } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { accuracy } from './evaluation.js';
import { crossEntropy } from './objectives.js';
import type { TrainContext } from './train-context.js';

/** Answers among which the right one counts for `top5`. */
const TOP = 5;
/** Classes of which the matrix is stored whole. */
const MOST_CLASSES = 1000;

export interface ClassJudgement {
  loss: number;
  accuracy: number;
  /** Part of the samples whose class is among the five likeliest; null where there are five classes or fewer. */
  top5: number | null;
  predictions: ArrayLike<number>;
  labels: ArrayLike<number>;
}

/** logits: [N, C] */
export function judgeClasses(logits: tf.Tensor2D, labels: Int32Array): ClassJudgement {
  const [loss, predictions] = tf.tidy(
    () => [crossEntropy(logits, labels).dataSync()[0]!, tf.argMax(logits, 1).dataSync()] as const,
  );
  return { loss, accuracy: accuracy(predictions, labels), top5: top5Of(logits, labels), predictions, labels };
}

function top5Of(logits: tf.Tensor2D, labels: Int32Array): number | null {
  if (logits.shape[1] <= TOP) return null;
  const likeliest = tf.tidy(() => tf.topk(logits, TOP).indices.dataSync());
  let found = 0;
  for (let i = 0; i < labels.length; i++) if (likeliest.subarray(i * TOP, (i + 1) * TOP).includes(labels[i]!)) found++;
  return found / labels.length;
}

/** How often samples of each class (rows) were taken for each (columns). */
export function confusionOf(
  { predictions, labels }: Pick<ClassJudgement, 'predictions' | 'labels'>,
  classes: number,
): number[][] {
  const confusion = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  for (let i = 0; i < labels.length; i++) confusion[labels[i]!]![predictions[i]!]!++;
  return confusion;
}

/**
 * Stores `classification.json`: scores by class, the confusion matrix where it is not too large, and what else is told
 * of the classifier.
 */
export async function storeClassification(
  { classes }: Pick<SampleSplit, 'classes'>,
  split: Split,
  judgement: ClassJudgement,
  step: number,
  context: TrainContext,
  told: object = {},
): Promise<void> {
  const confusion = confusionOf(judgement, classes.length);
  const report = {
    split,
    loss: judgement.loss,
    accuracy: judgement.accuracy,
    ...(judgement.top5 !== null && { top5: judgement.top5 }),
    classes: classes.map((name, c) => {
      const samples = confusion[c]!.reduce((sum, count) => sum + count, 0);
      const predicted = confusion.reduce((sum, row) => sum + row[c]!, 0);
      return { name, samples, predicted, accuracy: samples > 0 ? confusion[c]![c]! / samples : null };
    }),
    ...(classes.length <= MOST_CLASSES && { confusion }),
    ...told,
  };
  const file = path.join(context.workDir, 'classification.json');
  await writeFile(file, `${JSON.stringify(report)}\n`);
  await context.store({ name: 'classification.json', kind: 'report', mime: 'application/json', path: file, step });
}
