/** Masks as published datasets and tools have them. */
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { pngOf } from '../../../tests/support/png.js';
import { colour, DataRoot, refusal, type Files } from '../../../tests/support/sources.js';
import { PrepareDataset } from '#libs/contracts';

let data: DataRoot;
beforeAll(async () => {
  data = await DataRoot.create();
});
afterAll(() => data.remove());

const SIDE = 8;
const filled = (...values: number[]) =>
  Array.from({ length: SIDE }, (_, y) => Array.from({ length: SIDE }, () => values[y % values.length]!));
const image = () => colour(1, 2, 3).png().toBuffer();
const pair = (mask: Buffer): Files => ({ 'images/x.png': image(), 'masks/x.png': mask });
let made = 0;
const prepared = async (files: Files, masks: NonNullable<Parameters<DataRoot['prepare']>[1]>['masks']) =>
  data.prepare(await data.folder(`masks-${made++}`, files), { masks });
const rows = ({ arrays }: Awaited<ReturnType<typeof prepared>>, split = 'train') =>
  arrays[`${split}-masks`]!.data.filter((_, i) => i % SIDE === 0);

describe('values of masks', () => {
  const classes = ['background', 'cell'];

  test('mean what the spec says: 255 a class, several one, null none', async () => {
    const values = { 0: 'background', 7: null, 254: 'cell', 255: 'cell' };
    const binary = await prepared(pair(pngOf(filled(0, 255, 7, 254))), { classes, values });
    expect(rows(binary)).toEqual([0, 1, 255, 1, 0, 1, 255, 1]);
    expect(binary.summary.splits.train).toEqual({ count: 1, pixelsPerClass: [16, 32], unlabelledPixels: 16 });
  });

  test('can have 16 bits', async () => {
    const deep = pngOf(filled(0, 1, 65_535), { depth: 16 });
    expect(rows(await prepared(pair(deep), { classes, unlabelled: 65_535 }))).toEqual([0, 1, 255, 0, 1, 255, 0, 1]);
    const mapped = { classes, values: { 0: 'background', 1: 'background', 65_535: 'cell' } };
    expect(rows(await prepared(pair(deep), mapped))).toEqual([0, 0, 1, 0, 0, 1, 0, 0]);
  });

  test('can be colours, of RGB, with alpha or of a palette', async () => {
    const pixels = Buffer.from(
      filled(0, 1, 2).flatMap((row) =>
        row.flatMap(
          (id) =>
            [
              [0, 0, 0],
              [128, 0, 0],
              [250, 128, 7],
            ][id]!,
        ),
      ),
    );
    const rgb = sharp(pixels, { raw: { width: SIDE, height: SIDE, channels: 3 } });
    const colours = { '#000000': 'background', '#800000': 'cell', '#FA8007': null };
    const files = {
      rgb: rgb.clone().png().toBuffer(),
      rgba: rgb.clone().ensureAlpha(0.5).png().toBuffer(),
      palette: pngOf(filled(0, 1, 2), { palette: [0, 0, 0, 128, 0, 0, 250, 128, 7] }),
    };
    for (const bytes of Object.values(files))
      expect(rows(await prepared(pair(await bytes), { classes, colours }))).toEqual([0, 1, 255, 0, 1, 255, 0, 1]);
    expect(await refusal(prepared(pair(await files.rgb), { classes, colours: { '#000000': 'cell' } }))).toMatch(
      /mask: expected the colours of masks\.colours, got #800000, #fa8007/,
    );
  });

  test('that mean nothing are told with those that do, and what would help', async () => {
    const bytes = pngOf(filled(0, 255, 128));
    expect(await refusal(prepared(pair(bytes), { classes }))).toMatch(
      /expected class ids of 0 to 1, got 128, 255: masks\.values says which class a value means/,
    );
    expect(await refusal(prepared(pair(bytes), { classes, values: { 0: 'cell', 255: 'cell' } }))).toMatch(
      /expected the values of masks\.values \(0, 255\), got 128/,
    );
  });

  test('of classes that there are not, or by two tables, are refused in the spec', () => {
    const parse = (masks: object) =>
      PrepareDataset.safeParse({ kind: 'prepare-dataset', name: 'x', path: 'x', masks: { classes, ...masks } });
    expect(parse({ values: { 1: 'cell' } }).success).toBe(true);
    expect(parse({ values: { 1: 'nucleus' } }).error?.issues[0]).toMatchObject({ path: ['masks', 'values', '1'] });
    expect(parse({ values: { x: 'cell' } }).success).toBe(false);
    expect(parse({ values: {}, colours: {} }).success).toBe(false);
  });
});

describe('images and masks are paired', () => {
  const mask = (value: number) => pngOf(filled(value));
  const masks = { classes: ['a', 'b', 'c'] };

  test('of Cityscapes, whose other masks are named', async () => {
    const of = (split: string, town: string, value: number): Files => ({
      [`leftImg8bit/${split}/${town}/${town}_000_leftImg8bit.png`]: image(),
      [`gtFine/${split}/${town}/${town}_000_gtFine_labelIds.png`]: mask(value),
      [`gtFine/${split}/${town}/${town}_000_gtFine_color.png`]: image(),
      [`gtFine/${split}/${town}/${town}_000_gtFine_instanceIds.png`]: image(),
      [`gtFine/${split}/${town}/${town}_000_gtFine_polygons.json`]: Buffer.from('{}'),
    });
    const files = { ...of('train', 'aachen', 1), ...of('val', 'ulm', 2) };
    const found = await prepared(files, masks);
    expect([rows(found)[0], rows(found, 'val')[0]]).toEqual([1, 2]);
    expect(found.summary.leftOut).toContainEqual(
      expect.objectContaining({ reason: 'are of an image that another mask is taken of', count: 4 }),
    );
    const better = { [`gtFine/train/aachen/aachen_000_gtFine_labelTrainIds.png`]: mask(0) };
    expect(rows(await prepared({ ...files, ...better }, masks))[0]).toBe(0);
    const chosen = { ...masks, suffix: '_gtFine_labelIds' };
    expect(rows(await prepared({ ...files, ...better }, chosen))[0]).toBe(1);
  });

  test.each<[string, Files]>([
    [
      'VOC',
      {
        'VOC2012/JPEGImages/2007_1.jpg': colour(1, 2, 3).jpeg().toBuffer(),
        'VOC2012/SegmentationClass/2007_1.png': mask(1),
        'VOC2012/SegmentationObject/2007_1.png': mask(2),
        'VOC2012/Annotations/2007_1.xml': Buffer.from('x'),
      },
    ],
    [
      'ADE20K for scene parsing',
      { 'ade/images/training/ADE_1.png': image(), 'ade/annotations/training/ADE_1.png': mask(1) },
    ],
    [
      'the whole ADE20K',
      { 'images/training/a/abbey/ADE_1.png': image(), 'images/training/a/abbey/ADE_1_seg.png': mask(1) },
    ],
    ['CamVid', { 'CamVid/images/0001TP_1.png': image(), 'CamVid/labels/0001TP_1_L.png': mask(1) }],
    [
      'CamVid as SegNet has it',
      {
        'CamVid/train/1.png': image(),
        'CamVid/trainannot/1.png': mask(1),
        'CamVid/test/2.png': image(),
        'CamVid/testannot/2.png': mask(1),
      },
    ],
    [
      'tools that write masks beside images',
      { 'all/1.png': image(), 'all/1_mask.png': mask(1), 'all/1_other.png': image() },
    ],
    [
      'scenes in folders of their own',
      {
        'one/images/1.png': image(),
        'one/masks/1.png': mask(1),
        'two/images/1.png': image(),
        'two/masks/1.png': mask(1),
      },
    ],
    [
      'CamVid as it is downloaded',
      {
        'CamVid/train/1.png': image(),
        'CamVid/train_labels/1_L.png': mask(1),
        'CamVid/val/2.png': image(),
        'CamVid/val_labels/2_L.png': mask(2),
      },
    ],
    [
      'splits in the names of both folders',
      {
        'train_images/1.png': image(),
        'train_masks/1.png': mask(1),
        'imagesVal/2.png': image(),
        'MasksVal/2.png': mask(2),
      },
    ],
    [
      'splits in names within the folders',
      { 'images/train_images/1.png': image(), 'masks/train_masks/1.png': mask(1) },
    ],
    [
      'MMSegmentation',
      {
        'img_dir/train/1.png': image(),
        'ann_dir/train/1.png': mask(1),
        'img_dir/val/2.png': image(),
        'ann_dir/val/2.png': mask(2),
      },
    ],
    [
      'Cityscapes as its two archives unpack side by side',
      {
        'leftImg8bit_trainvaltest/leftImg8bit/train/ulm/ulm_1_leftImg8bit.png': image(),
        'gtFine_trainvaltest/gtFine/train/ulm/ulm_1_gtFine_labelIds.png': mask(1),
        'gtFine_trainvaltest/gtFine/train/ulm/ulm_1_gtFine_color.png': image(),
        'leftImg8bit_trainvaltest/README': Buffer.from('x'),
      },
    ],
    [
      'BDD100K',
      {
        'bdd100k/images/10k/train/1-a.jpg': colour(1, 2, 3).jpeg().toBuffer(),
        'bdd100k/images/10k/val/2-b.jpg': colour(1, 2, 3).jpeg().toBuffer(),
        'bdd100k/images/10k/test/3-c.jpg': colour(1, 2, 3).jpeg().toBuffer(),
        'bdd100k/labels/sem_seg/masks/train/1-a.png': mask(1),
        'bdd100k/labels/sem_seg/masks/val/2-b.png': mask(1),
        'bdd100k/labels/sem_seg/colormaps/train/1-a.png': image(),
        'bdd100k/labels/sem_seg/polygons/sem_seg_train.json': Buffer.from('[]'),
      },
    ],
    ["Oxford's pets", { 'images/pug_1.png': image(), 'annotations/trimaps/pug_1.png': mask(1) }],
    ['archives of folders', { 'images/images/1.png': image(), 'masks/Masks/1.png': mask(1) }],
    ['names that say what is an image and what a mask', { 'images/img_1.png': image(), 'masks/mask_1.png': mask(1) }],
    ['names that begin like masks', { 'all/1.png': image(), 'all/mask_1.png': mask(1) }],
    ['names that begin otherwise', { 'all/image_1.png': image(), 'all/mask_1.png': mask(1) }],
    ['names that begin otherwise, in short', { 'img1.png': image(), 'mask1.png': mask(1), 'logo.png': image() }],
    ['names that begin like labels', { 'all/img-1.png': image(), 'all/label-1.png': mask(1) }],
    ['names that begin like both', { 'all/img_1.png': image(), 'all/seg_img_1.png': mask(1) }],
    ['DeepGlobe', { 'train/1_sat.jpg': colour(1, 2, 3).jpeg().toBuffer(), 'train/1_mask.png': mask(1) }],
    [
      'nnU-Net',
      {
        'imagesTr/a_0000.png': image(),
        'imagesTr/a_0001.png': image(),
        'labelsTr/a.png': mask(1),
        'imagesTs/b_0000.png': image(),
      },
    ],
    [
      'folders of several words',
      {
        'cat_images/1.png': image(),
        'cat_masks/1.png': mask(1),
        'dog_images/1.png': image(),
        'dog_masks/1.png': mask(1),
      },
    ],
    [
      'ISIC',
      {
        'ISIC_Task1-2_Training_Input/ISIC_1.jpg': colour(1, 2, 3).jpeg().toBuffer(),
        'ISIC_Task1_Training_GroundTruth/ISIC_1_segmentation.png': mask(1),
        'ISIC_Task1-2_Validation_Input/ISIC_2.jpg': colour(1, 2, 3).jpeg().toBuffer(),
        'ISIC_Task1_Validation_GroundTruth/ISIC_2_segmentation.png': mask(1),
      },
    ],
    ['LoveDA', { 'Train/Urban/images_png/1.png': image(), 'Train/Urban/masks_png/1.png': mask(1) }],
    ['folders of less usual words', { 'rgb/1.png': image(), 'msks/1.png': mask(1) }],
    ['folders of letters', { 'train/X/1.png': image(), 'train/y/1.png': mask(1) }],
    ['folders around that are called like images', { 'rgb/images/1.png': image(), 'rgb/segs/1.png': mask(1) }],
    ['names that end like masks on both sides', { 'images/1_mask.png': image(), 'masks/1_mask.png': mask(1) }],
  ])('of %s', async (_, files) => {
    const found = await prepared(files, masks);
    expect(new Set(rows(found))).toEqual(new Set([1]));
  });

  test('beside files that only begin like notes, which count as damaged', async () => {
    const files = { ...pair(mask(1)), 'images/NOTICE': Buffer.from('x'), 'images/version1.dcm': Buffer.from('x') };
    expect(await refusal(prepared(files, masks))).toMatch(/1 of 2 files could not be decoded: images\/version1\.dcm/);
  });

  test('not by names alone where several are called alike', async () => {
    const files = {
      'images/raw/one/1.png': image(),
      'images/raw/two/1.png': image(),
      'masks/drawn/fine/one/1.png': mask(1),
    };
    expect(await refusal(prepared(files, masks))).toMatch(/expected .*masks/);
  });

  test('by what is equal before what is alike', async () => {
    const found = await prepared(
      {
        'images/img_1.png': image(),
        'images/1.png': image(),
        'images/image_2.png': image(),
        'masks/1.png': mask(1),
        'masks/mask_2.png': mask(2),
      },
      masks,
    );
    expect(rows(found).filter((_, i) => i % SIDE === 0)).toEqual([1, 2]);
    expect(found.paths['train']).toEqual(['1.png', 'image_2.png']);
    expect(found.summary.leftOut).toContainEqual(expect.objectContaining({ count: 1, examples: ['images/img_1.png'] }));
  });
});

describe('masks beside images that are asked for without them', () => {
  test.each<[string, string[], string[], string[]]>([
    [
      'in class folders, as of ultrasound',
      ['benign/a (1).png', 'malignant/a (1).png', 'malignant/a (2).png'],
      ['benign/a (1)_mask.png', 'malignant/a (1)_mask.png', 'malignant/a (2)_mask.png'],
      ['benign', 'malignant'],
    ],
    ['by what they begin with', ['image_1.png', 'image_2.png'], ['mask_1.png', 'mask_2.png'], []],
    [
      'of half of the images',
      ['a/1.png', 'a/2.png', 'b/3.png', 'b/4.png'],
      ['a/mask_1.png', 'b/seg_3.png'],
      ['a', 'b'],
    ],
    [
      'in folders that say columns',
      ['label=a/1.png', 'label=b/2.png'],
      ['label=a/1_seg.png', 'label=b/2_seg.png'],
      ['a', 'b'],
    ],
  ])('are no samples, which is said: %s', async (_, images, masks, classes) => {
    const files = Object.fromEntries([...images, ...masks].map((name) => [name, image()]));
    const { manifest, summary } = await data.prepare(await data.folder(`beside-${made++}`, files));
    expect([manifest.classes, manifest.splits.train.count]).toEqual([classes, images.length]);
    expect(summary.leftOut).toEqual([
      {
        reason: expect.stringMatching(/are masks of the images beside them.*`masks`/) as string,
        count: masks.length,
        examples: masks,
      },
    ]);
  });

  test('are samples where few names are so by chance', async () => {
    const names = ['a/1.png', 'a/1_mask.png', 'a/2.png', 'b/3.png', 'b/4.png'];
    const files = Object.fromEntries(names.map((name) => [name, image()]));
    const { manifest } = await data.prepare(await data.folder(`beside-${made++}`, files));
    expect(manifest.splits.train.count).toBe(5);
  });
});
