import { expect, test } from 'vitest';
import { classesOf, NO_CLASS, OVERLAY_OPACITY, painted, rgbOf } from './mask-layers.js';

const COLOURS = ['#e6194b', '#3cb44b', '#ffe119'].map(rgbOf);

/** Gray pixels from dark to light, each under the colour of a class or of none, as the pictures are made. */
function made(labels: readonly number[]) {
  const image = new Uint8ClampedArray(4 * labels.length);
  const covered = new Uint8ClampedArray(4 * labels.length);
  labels.forEach((label, pixel) => {
    for (let part = 0; part < 3; part++) {
      const below = (pixel * 37 + part * 11) % 256;
      image[4 * pixel + part] = below;
      covered[4 * pixel + part] =
        label === NO_CLASS
          ? below
          : Math.round(below * (1 - OVERLAY_OPACITY) + COLOURS[label]![part]! * OVERLAY_OPACITY);
    }
    image[4 * pixel + 3] = covered[4 * pixel + 3] = 255;
  });
  return { image, covered };
}

const LABELS = Array.from({ length: 120 }, (_, i) => [0, 1, 2, NO_CLASS][i % 4]!);

test('the class of each pixel is read from its colour over the image', () => {
  const { image, covered } = made(LABELS);
  expect([...classesOf(image, covered, COLOURS)]).toEqual(LABELS);
});

test('classes are painted as strongly as asked for, the others not at all', () => {
  const { image, covered } = made(LABELS);
  const classes = classesOf(image, covered, COLOURS);
  const paint = (shown: number[], opacity: number) =>
    painted(image, classes, COLOURS, { shown: new Set(shown), opacity });
  expect(paint([0, 1, 2], 0)).toEqual(image);
  expect(paint([], 1)).toEqual(image);
  expect(paint([0, 1, 2], OVERLAY_OPACITY)).toEqual(covered);
  const one = paint([1], 1);
  LABELS.forEach((label, pixel) => {
    const wanted = label === 1 ? [...COLOURS[1]!] : [...image.slice(4 * pixel, 4 * pixel + 3)];
    expect([...one.slice(4 * pixel, 4 * pixel + 3)]).toEqual(wanted);
  });
});
