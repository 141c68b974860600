import { describe, expect, test } from 'vitest';
import { Augmentation } from './augmentation.js';

const USUAL = { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1, p: 0.8 };

describe("SimCLR's one number for colour jitter", () => {
  test('stands for the four that it means, and a run keeps those', () => {
    expect(Augmentation.parse({ colorJitter: { strength: 1, p: 0.5 } }).colorJitter).toEqual({
      brightness: 0.8,
      contrast: 0.8,
      saturation: 0.8,
      hue: 0.2,
      p: 0.5,
    });
    // The usual strength is half of SimCLR's on ImageNet, as it is for CIFAR.
    expect(Augmentation.parse({ colorJitter: { strength: 0.5 } }).colorJitter).toEqual(USUAL);
  });

  test('is refused beside one of the four, and where that would be beyond what it may be', () => {
    expect(Augmentation.safeParse({ colorJitter: { strength: 1, hue: 0.3 } }).error?.issues).toMatchObject([
      { path: ['colorJitter', 'hue'], message: 'expected no hue beside strength, which says what it is' },
    ]);
    expect(Augmentation.safeParse({ colorJitter: { strength: 1.3 } }).success).toBe(false);
  });
});

test('augmentations of before have the fields of before, so that their runs are found again', () => {
  expect(
    Augmentation.parse({
      crop: {},
      flip: {},
      rotate: {},
      colorJitter: {},
      grayscale: {},
      blur: {},
      solarize: {},
      cutout: {},
    }),
  ).toEqual({
    crop: { minArea: 0.08, maxArea: 1, minAspect: 3 / 4, maxAspect: 4 / 3, p: 1 },
    flip: { p: 0.5 },
    rotate: { maxDegrees: 15, p: 1 },
    colorJitter: USUAL,
    grayscale: { p: 0.2 },
    blur: { minSigma: 0.1, maxSigma: 2, p: 0.5 },
    solarize: { threshold: 0.5, p: 0.2 },
    cutout: { size: 0.25, p: 1 },
  });
});
