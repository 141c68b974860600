/** The views of a sample that a pretraining compares, each made by augmentations of its own. */
import { z } from 'zod';
import { Augmentation, augmentationName, defaultAugmentation } from './augmentation.js';
import type { SampleShape } from './dataset.js';

export const View = z
  .strictObject({
    augmentation: Augmentation,
    count: z.int().min(1).max(16).default(1).describe('So many views by these augmentations.'),
    size: z
      .int()
      .min(8)
      .max(1024)
      .optional()
      .describe(
        'Images: height and width of the view. Crops come straight from the stored picture, antialiased where it ' +
          "shrinks, as torchvision's. Left out: those of the stored samples.",
      ),
  })
  .superRefine(({ augmentation, size }, context) => {
    if (size !== undefined && augmentation.crop?.grid === 'corners')
      context.addIssue({
        code: 'custom',
        path: ['augmentation', 'crop', 'grid'],
        message: 'expected no `corners` beside size: views of another size are resampled by the centres of pixels',
      });
  })
  .meta({ id: 'View', description: 'How one view of a sample is made, or several alike.' });
export type View = z.infer<typeof View>;

/** What both views of BYOL have (Grill et al. 2020, table 6; Barlow Twins takes them over). */
const BYOL = {
  crop: {},
  flip: {},
  colorJitter: { brightness: 0.4, contrast: 0.4, saturation: 0.2, hue: 0.1, order: 'random' as const, p: 0.8 },
  grayscale: { p: 0.2 },
};
const byol = z
  .array(View)
  .parse([
    { augmentation: { ...BYOL, blur: { p: 1 } } },
    { augmentation: { ...BYOL, blur: { p: 0.1 }, solarize: { p: 0.2 } } },
  ]);
/** Published pairs whose two views differ, by name: blur always on one and rarely on the other, which is solarized. */
const PUBLISHED_VIEWS = { byol, 'barlow-twins': byol };

export const Views = z
  .union([z.enum(Object.keys(PUBLISHED_VIEWS) as (keyof typeof PUBLISHED_VIEWS)[]), z.array(View).min(1).max(16)])
  .overwrite((views) => (typeof views === 'string' ? PUBLISHED_VIEWS[views] : views))
  .describe(
    'The two views of a sample, where they are not made alike: `[{augmentation: …}, {augmentation: …}]`, or a ' +
      'published pair by name, which the run keeps written out. In place of `augmentation`, which makes both. ' +
      'SwAV and DINO take more than two, and small ones beside the large ones, which come first; EMP-SSL takes ' +
      'many of one size.',
  );

/** `crop+flip+blur | crop+flip+solarize`: what makes each view. */
export const viewsName = (views: readonly View[]): string =>
  views
    .map(
      ({ augmentation, count, size }) =>
        `${count > 1 ? `${count} × ` : ''}${augmentationName(augmentation)}${size === undefined ? '' : ` at ${size}`}`,
    )
    .join(' | ');

/** How many views there are of each sample. */
export const viewCount = (views: readonly View[]): number => views.reduce((sum, { count }) => sum + count, 0);

/** The views of each size, those of the first one's size first. */
export const groupedBySize = (views: readonly View[]): View[][] => [...Map.groupBy(views, ({ size }) => size).values()];

/** Which sizes the views have, in words. */
export const viewSizes = (views: readonly View[]): string[] => [
  ...new Set(views.map(({ size }) => (size === undefined ? "the samples' own" : String(size)))),
];

/** Height and width of what a pretraining's network sees: of its first view. Undefined: those of the stored samples. */
export const viewSizeOf = ({ views }: { views?: z.infer<typeof Views> | undefined }): number | undefined =>
  Array.isArray(views) ? views[0]!.size : undefined;

/** The views of a pretraining: those that it names, or two alike by its augmentation or the usual one. */
export function viewsOfSpec(
  spec: { augmentation?: Augmentation | undefined; views?: z.infer<typeof Views> | undefined },
  sample: SampleShape,
): readonly View[] {
  if (spec.views !== undefined) return typeof spec.views === 'string' ? PUBLISHED_VIEWS[spec.views] : spec.views;
  return [{ augmentation: spec.augmentation ?? defaultAugmentation('pretrain', sample), count: 2 }];
}

/** What a value of `augmentation` or `views` is called; undefined for another field, or what is neither. */
export function combinationName(path: string, value: unknown): string | undefined {
  if (path.endsWith('.augmentation')) {
    const augmentation = Augmentation.safeParse(value);
    return augmentation.success ? augmentationName(augmentation.data) : undefined;
  }
  const views = path.endsWith('.views') && typeof value !== 'string' ? Views.safeParse(value) : undefined;
  return views?.success && typeof views.data !== 'string' ? viewsName(views.data) : undefined;
}
