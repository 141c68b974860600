import { describe, expect, test } from 'vitest';
import { canonicalJson } from './canonical-json.js';
import { combinationName, groupedBySize, viewSizeOf, viewsName, viewsOfSpec, type View } from './pretraining-views.js';
import { RunSpec } from './run-spec.js';
import type { Pretrain } from './training-spec.js';

const parse = (fields: object) => RunSpec.safeParse({ kind: 'pretrain', dataset: 'x', ...fields });
const image = { modality: 'image' as const, height: 32, width: 32, channels: 3 as const };

describe('views of a pretraining', () => {
  test('are two alike by its augmentation, and a spec without them is the spec that it was', () => {
    const spec = parse({ augmentation: { flip: {} } }).data as Pretrain;
    expect(Object.hasOwn(spec, 'views')).toBe(false);
    expect(viewsOfSpec(spec, image)).toEqual([{ augmentation: { flip: { p: 0.5 } }, count: 2 }]);
  });

  test.each(['byol', 'barlow-twins'])('%s by name are the published ones, written out', (views) => {
    const [first, second] = (parse({ views }).data as Pretrain).views as { augmentation: object }[];
    const both = {
      crop: { minArea: 0.08, maxArea: 1 },
      flip: { p: 0.5 },
      colorJitter: { brightness: 0.4, contrast: 0.4, saturation: 0.2, hue: 0.1, order: 'random', p: 0.8 },
      grayscale: { p: 0.2 },
    };
    expect(first).toMatchObject({ augmentation: { ...both, blur: { minSigma: 0.1, maxSigma: 2, p: 1 } }, count: 1 });
    expect(first!.augmentation).not.toHaveProperty('solarize');
    expect(second).toMatchObject({ augmentation: { ...both, blur: { p: 0.1 }, solarize: { threshold: 0.5, p: 0.2 } } });
    expect(parse({ views: [first, second] }).data).toEqual(parse({ views }).data);
  });

  test('are refused beside an augmentation, and unless they are two', () => {
    const crop = { augmentation: { crop: {} } };
    const faults = (fields: object) =>
      parse(fields).error?.issues.map(({ path, message }) => [path.join('.'), message]);
    expect(faults({ views: [crop, crop], augmentation: {} })).toEqual([
      ['views', 'expected no views beside augmentation, which makes both alike: name one of them'],
    ]);
    expect(faults({ method: 'byol', views: [crop] })).toEqual([
      ['views', 'expected two views of each sample for byol, got 1'],
    ]);
    expect(faults({ views: [crop, { ...crop, count: 2 }] })).toEqual([
      ['views', 'expected two views of each sample for simclr, got 3'],
    ]);
    expect(faults({ views: [{ ...crop, count: 2 }] })).toBeUndefined();
  });

  test('have a size only where one is given, one for both, and none with corners on corners', () => {
    const crop = { augmentation: { crop: {} } };
    const bare = parse({ views: [crop, crop] }).data as Pretrain;
    expect(canonicalJson(bare.views)).not.toContain('size');
    const sized = parse({ views: [{ ...crop, count: 2, size: 32 }] }).data as Pretrain;
    expect([bare, sized].map(viewSizeOf)).toEqual([undefined, 32]);
    expect(viewsName(viewsOfSpec(sized, image))).toBe('2 × crop at 32');
    const faults = (views: object[]) =>
      parse({ views }).error?.issues.map(({ path, message }) => [path.join('.'), message]);
    expect(faults([{ ...crop, size: 32 }, crop])).toEqual([
      ['views', "expected views of one size for simclr, got 32, the samples' own: swav and dino take several"],
    ]);
    const corners = { augmentation: { crop: { grid: 'corners' } } };
    expect(faults([corners, corners])).toBeUndefined();
    expect(faults([{ ...corners, count: 2, size: 16 }])).toEqual([
      [
        'views.0.augmentation.crop.grid',
        'expected no `corners` beside size: views of another size are resampled by the centres of pixels',
      ],
    ]);
  });

  test('are several, of several sizes, for methods that learn from them: large ones first', () => {
    const [large, small] = [
      { augmentation: { crop: {} }, count: 2, size: 32 },
      { augmentation: { crop: { maxArea: 0.3 } }, count: 4, size: 16 },
    ];
    for (const method of ['swav', 'dino']) {
      const faults = (views: object[]) =>
        parse({ method, views }).error?.issues.map(({ path, message }) => [path.join('.'), message]);
      expect(faults([large, small])).toBeUndefined();
      expect(faults([{ ...large, count: 1 }])).toEqual([
        ['views', `expected at least two views of each sample for ${method}, got 1`],
      ]);
      expect(faults([{ ...large, count: 1 }, small])).toEqual([
        ['views', `expected two views or more of the first one's size for ${method}, got one`],
      ]);
    }
    const { views } = parse({ method: 'dino', views: [large, small, { ...large, count: 1 }] }).data as Pretrain;
    expect(groupedBySize(views as View[]).map((alike) => alike.map(({ count }) => count))).toEqual([[2, 1], [4]]);
    expect(canonicalJson(parse({ method: 'swav' }).data)).not.toMatch(/prototypes|"swav":|"dino":/);
    expect(parse({ views: [large, small] }).error?.issues.map(({ message }) => message)).toEqual([
      'expected two views of each sample for simclr, got 6',
      'expected views of one size for simclr, got 32, 16: swav and dino take several',
    ]);
  });

  test('are called by what makes each', () => {
    const views = [{ augmentation: { crop: {}, blur: {} } }, { augmentation: { crop: {} } }];
    expect(combinationName('pretrain.views', views)).toBe('crop+blur | crop');
    expect(combinationName('pretrain.views', [{ augmentation: {}, count: 2 }])).toBe('2 × none');
    expect(combinationName('pretrain.augmentation', { crop: {} })).toBe('crop');
    expect(combinationName('pretrain.views', 'byol')).toBeUndefined();
    expect(combinationName('pretrain.epochs', 3)).toBeUndefined();
  });
});
