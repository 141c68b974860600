import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { nextCentre, selfDistillation } from './dino.js';
import { entropyOf, unitColumns } from './prototypes.js';
import { sinkhorn, swappedAssignments } from './swav.js';

const [N, K] = [4, 6];
const rows = (wave: (x: number) => number, down: number, across: number, start: number): number[][] =>
  Array.from({ length: N }, (_, i) => Array.from({ length: K }, (_unused, j) => wave(down * i + across * j + start)));
/** Scores of four views, the first two large, and what a teacher gives for these two. */
const VIEWS = [
  rows(Math.sin, 0.7, 1.3, 0.1),
  rows(Math.cos, 0.5, 0.9, 0.2),
  rows(Math.sin, 1.1, 0.4, 0.3),
  rows(Math.cos, 0.3, 1.7, 0.5),
];
const TEACHER = [...rows(Math.sin, 0.6, 0.8, 0.4), ...rows(Math.cos, 0.9, 0.3, 0.7)];
const ASSIGNMENT = { epsilon: 0.05, iterations: 3 };
const SHARPENING = { temperature: 0.1, teacherTemperature: 0.04, centerMomentum: 0.9 };

beforeAll(async () => {
  await loadTensorFlow({ threads: 1 });
});

const value = (scalar: tf.Scalar) => scalar.dataSync()[0]!;
const expectWithin = (found: ArrayLike<number>, expected: readonly number[]) =>
  expected.forEach((each, i) => expect(Math.abs(found[i]! - each), `at ${i}`).toBeLessThan(2e-5));
/** The loss of the first so many views, and its gradient for the first row of each. */
function judged(count: number, loss: (scores: tf.Tensor2D) => tf.Scalar): { loss: number; gradients: number[][] } {
  const scores = tf.tensor2d(VIEWS.slice(0, count).flat());
  const gradient = tf
    .grad((x: tf.Tensor) => loss(x as tf.Tensor2D))(scores)
    .arraySync() as number[][];
  return { loss: value(loss(scores)), gradients: VIEWS.slice(0, count).map((_, view) => gradient[view * N]!) };
}

// lightly 1.6.0 (torch 2.15.0): SwaVLoss(temperature=0.1, sinkhorn_iterations=3, sinkhorn_epsilon=0.05).
describe('swapped assignments', () => {
  test('codes are those of Sinkhorn and Knopp, equally many to each prototype', () => {
    const codes = sinkhorn(tf.tensor2d(VIEWS[0]!), ASSIGNMENT);
    expectWithin(
      codes.dataSync(),
      [
        1e-8, 0.27436697, 0.72562176, 1.08e-5, 0, 4.3e-7, 0.05279806, 0.50576121, 1.804e-5, 1.77e-6, 0, 0.44142097,
        0.66832817, 6.1e-7, 0, 7.79e-6, 5.39e-5, 0.33160958, 0.00720987, 0, 0, 0.496292, 0.49626893, 0.0002292,
      ],
    );
    const even = sinkhorn(tf.tensor2d(VIEWS[0]!), { epsilon: 0.5, iterations: 50 });
    expectWithin(tf.sum(even, 1).dataSync(), [1, 1, 1, 1]);
    expectWithin(tf.sum(even, 0).dataSync(), new Array<number>(K).fill(N / K));
    // As sharp as a setting may be, nothing is divided by nothing.
    expect(sinkhorn(tf.tensor2d(VIEWS[0]!), { epsilon: 0.01, iterations: 3 }).dataSync().every(Number.isFinite)).toBe(
      true,
    );
  });

  test.each([
    [
      2,
      5.383749485,
      [
        [-0.0789122, 0.60318565, -0.52574438, -1.08e-6, 2e-8, 0.00147216],
        [1.24350786, -0.33652863, -0.90702617, -1.35e-5, 3e-8, 6.034e-5],
      ],
    ],
    [
      4,
      7.622712135,
      [
        [-0.02630407, 0.20106187, -0.17524815, -3.6e-7, 1e-8, 0.00049072],
        [0.41450265, -0.11217621, -0.30234203, -4.5e-6, 1e-8, 2.011e-5],
        [-0.02600069, -0.31596413, -0.33910027, 0.40540487, 0.24297261, 0.03268757],
        [0.57303572, -0.32781148, -0.47915328, 0.21609926, 0.0178299, -1.7e-7],
      ],
    ],
  ])('of %i views, with gradients', (count, loss, gradients) => {
    const found = judged(count, (scores) => swappedAssignments(scores, N, 0.1, ASSIGNMENT).loss);
    expect(Math.abs(found.loss - loss)).toBeLessThan(2e-5);
    gradients.forEach((each, view) => expectWithin(found.gradients[view]!, each));
  });
});

// SwAV's main_swav.py (torch 2.15.0, doubles) at the same settings, the queue before the scores of the batch.
describe('swapped assignments with a queue', () => {
  const queued = (wave: (x: number) => number, down: number, across: number, start: number) =>
    tf.tensor2d(
      Array.from({ length: 5 }, (_, i) =>
        Array.from({ length: K }, (_unused, j) => wave(down * i + across * j + start)),
      ),
    );
  const earlier = (count: number) => ({
    scores: [queued(Math.sin, 1.9, 0.6, 0.8), queued(Math.cos, 0.4, 2.1, 0.6)] as const,
    count: tf.scalar(count),
  });

  test.each([
    [
      2,
      2.773305313,
      [
        [-0.19344692, 0.18728619, 0.00468852, 3e-8, 2e-8, 0.00147216],
        [1.24350791, -1.24337371, -0.00019268, 0, 3e-8, 5.846e-5],
      ],
    ],
    [
      4,
      7.514617054,
      [
        [-0.06448231, 0.06242873, 0.00156284, 1e-8, 1e-8, 0.00049072],
        [0.41450264, -0.4144579, -6.423e-5, 0, 1e-8, 1.949e-5],
        [-0.06417893, -0.75687895, 0.13998855, 0.40540969, 0.24297271, 0.03268694],
        [0.53485754, -0.76872629, -6.452e-5, 0.21610417, 0.0178299, -8e-7],
      ],
    ],
  ])('of %i views, with gradients', (count, loss, gradients) => {
    const found = judged(count, (scores) => swappedAssignments(scores, N, 0.1, ASSIGNMENT, earlier(1)).loss);
    expect(Math.abs(found.loss - loss)).toBeLessThan(2e-5);
    gradients.forEach((each, view) => expectWithin(found.gradients[view]!, each));
    const [alone, uncounted] = [undefined, earlier(0)].map(
      (each) => judged(count, (scores) => swappedAssignments(scores, N, 0.1, ASSIGNMENT, each).loss).loss,
    );
    expect(uncounted).toBe(alone);
  });
});

// lightly 1.6.0: DINOLoss(output_dim=6, teacher_temp=0.04, warmup_teacher_temp=0.04, student_temp=0.1).
describe('self-distillation', () => {
  const centre = () => tf.zeros<tf.Rank.R2>([1, K]);

  test.each([
    [
      2,
      5.839602947,
      6.044051648,
      [
        [-1.24527407, 1.23911846, 0.00468356, 3e-8, 2e-8, 0.00147216],
        [1.24350691, -0.79160255, -0.45196491, -2.6e-7, 3e-8, 6.088e-5],
      ],
    ],
    [
      4,
      6.822956085,
      6.914801121,
      [
        [-0.41509137, 0.41303951, 0.00156119, 1e-8, 1e-8, 0.00049072],
        [0.41450229, -0.26386753, -0.15065499, -9e-8, 1e-8, 2.029e-5],
        [-0.41478831, -0.25567788, -0.0106039, 0.40540966, 0.24297263, 0.03268775],
        [0.18424815, -0.26752523, -0.15065692, 0.21610405, 0.0178299, 1e-8],
      ],
    ],
  ])('of %i views, with gradients, and then by another centre', (count, loss, next, gradients) => {
    const teacher = tf.tensor2d(TEACHER);
    const found = judged(count, (scores) => selfDistillation(scores, teacher, centre(), SHARPENING).loss);
    expect(Math.abs(found.loss - loss)).toBeLessThan(2e-5);
    gradients.forEach((each, view) => expectWithin(found.gradients[view]!, each));
    const moved = nextCentre(centre(), teacher, 0.9);
    expectWithin(moved.dataSync(), [0.02508326, 0.0143645, -0.01524018, -0.04836234, -0.06635988, -0.05849562]);
    const then = judged(count, (scores) => selfDistillation(scores, teacher, moved, SHARPENING).loss);
    expect(Math.abs(then.loss - next)).toBeLessThan(2e-5);
  });
});

test('prototypes are brought to length 1, and an entropy is 0 for one of them and log K for all', () => {
  const columns = unitColumns(tf.tensor2d(VIEWS[1]!));
  expectWithin(tf.sum(tf.square(columns), 0).dataSync(), new Array<number>(K).fill(1));
  expect(value(entropyOf(tf.tensor2d([[0, 1, 0]])))).toBeCloseTo(0, 6);
  expect(value(entropyOf(tf.fill([2, 4], 0.25)))).toBeCloseTo(Math.log(4), 6);
});
