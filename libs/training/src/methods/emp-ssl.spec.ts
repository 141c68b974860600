/** EMP-SSL's loss against its main.py and loss.py (torch 2.15.0, doubles), and the mean over patches. */
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { representationByPatches } from '../evaluation.js';
import { buildEncoder, encode } from '../networks/encoder.js';
import { initialise } from '../networks/weights.js';
import { Random } from '#libs/data';
import { patchesLoss } from './emp-ssl.js';

beforeAll(() => loadTensorFlow({ threads: 1 }));

const [N, K] = [4, 6];
const rows = (wave: (x: number) => number, down: number, across: number, start: number): number[][] =>
  Array.from({ length: N }, (_, i) => Array.from({ length: K }, (_unused, j) => wave(down * i + across * j + start)));
const VIEWS = [
  ...rows(Math.sin, 0.7, 1.3, 0.1),
  ...rows(Math.cos, 0.5, 0.9, 0.2),
  ...rows(Math.sin, 1.1, 0.4, 0.3),
  ...rows(Math.cos, 0.3, 1.7, 0.5),
];

test('loss, terms and gradients of four patches', () => {
  const settings = { similarity: 200, epsilon: 0.2 };
  const x = tf.tensor2d(VIEWS);
  const { loss, similarity, rate } = patchesLoss(x, N, settings);
  const within = (found: number, expected: number) =>
    expect(Math.abs(found - expected)).toBeLessThan(2e-5 * Math.max(1, Math.abs(expected)));
  within(loss.dataSync()[0]!, -102.741820469);
  within(similarity.dataSync()[0]!, 0.5005833140434381);
  within(rate.dataSync()[0]!, 2.6251576606790645);
  const gradient = tf
    .grad((at) => patchesLoss(at as tf.Tensor2D, N, settings).loss)(x)
    .arraySync() as number[][];
  [
    [-6.06287581, -1.88959769, 0.67135009, -1.45939923, -1.12735929, 0.44205432],
    [-2.95108271, -2.81878889, -1.68168172, -2.43515706, -1.39311749, -0.3774522],
    [-4.94529225, -3.12237414, 0.40110113, 1.29147508, 1.67528692, 0.32438298],
    [-5.22867614, -4.12461334, -0.59158804, 0.75245344, 1.044577, -0.65709253],
  ].forEach((expected, view) => expected.forEach((each, i) => within(gradient[view * N]![i]!, each)));
});

test('the mean over patches is that of their features, the same for one seed; a patch of all is the image', () => {
  const encoder = buildEncoder({ name: 'small-resnet', width: 4 }, [8, 8, 3]);
  initialise([encoder], Random.seeded(3));
  const x = tf.randomUniform<tf.Rank.R4>([3, 8, 8, 3], 0, 1, 'float32', 1);
  const by = (patches: { count: number; area: number }, seed: number) =>
    tf.tidy(() => representationByPatches(encoder, patches, seed)(x).arraySync());
  const before = tf.memory().numTensors;
  const whole = tf.tidy(() => encode(encoder, x, false).features.arraySync());
  by({ count: 3, area: 1 }, 1).forEach((row, i) =>
    row.forEach((value, c) => expect(value).toBeCloseTo(whole[i]![c]!, 4)),
  );
  const some = { count: 4, area: 0.25 };
  expect(by(some, 1)).toEqual(by(some, 1));
  expect(by(some, 1)).not.toEqual(by(some, 2));
  expect(tf.memory().numTensors).toBe(before);
  encoder.dispose();
});
