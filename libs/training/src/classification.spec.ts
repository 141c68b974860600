import * as tf from '@tensorflow/tfjs-core';
import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { run, useTinyDataset } from '../../../tests/support/training-runs.js';
import { confusionOf, judgeClasses } from './classification.js';

useTinyDataset();

test('the right class counts where it is likeliest, and for top-5 where it is among the five likeliest', () => {
  // The likeliest class of row i is i, the next i + 1 and so on, round about.
  const logits = tf.tensor2d(
    Array.from({ length: 7 }, (_, i) => Array.from({ length: 7 }, (__, c) => -((c - i + 7) % 7))),
  );
  const judged = judgeClasses(logits, Int32Array.of(0, 1, 6, 0, 4, 3, 5));
  expect(judged.accuracy).toBeCloseTo(3 / 7);
  // Places of the right class: 0, 0, 4, 4, 0, 5, 6.
  expect(judged.top5).toBeCloseTo(5 / 7);
  expect(judgeClasses(tf.slice2d(logits, [0, 0], [5, 5]), Int32Array.of(0, 1, 2, 3, 4)).top5).toBeNull();
  expect(confusionOf({ labels: [0, 0, 1, 2], predictions: [0, 1, 1, 0] }, 3)).toEqual([
    [1, 1, 0],
    [0, 1, 0],
    [1, 0, 0],
  ]);
});

test('a finetuning stores accuracies by class and what is taken for what', async () => {
  const { metrics, files } = await run({
    kind: 'finetune',
    dataset: 'tiny',
    from: null,
    encoder: { width: 4 },
    batchSize: 9,
    steps: 20,
  });
  const report = JSON.parse(await readFile(files.get('report')!, 'utf8')) as {
    accuracy: number;
    split: string;
    classes: { samples: number; predicted: number; accuracy: number }[];
    confusion: number[][];
  };
  expect(report.split).toBe('val');
  expect(report.accuracy).toBe(metrics['eval/accuracy']);
  const total = report.classes.reduce((sum, { samples }) => sum + samples, 0);
  expect(report.confusion.flat().reduce((sum, count) => sum + count, 0)).toBe(total);
  expect(report.classes.reduce((sum, { samples, accuracy }) => sum + samples * accuracy, 0) / total).toBeCloseTo(
    report.accuracy,
  );
  expect(metrics).not.toHaveProperty('eval/top5_accuracy');
}, 60_000);
