import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { colour, DataRoot, refusal, wavOf, type Files } from '../../../tests/support/sources.js';

let data: DataRoot;
beforeAll(async () => {
  data = await DataRoot.create();
});
afterAll(() => data.remove());

/** Files of these names: small images, each of another red; all else as text. */
const files = (...names: string[]): Files =>
  Object.fromEntries(
    names.map((name, i) => [
      name,
      /\.(png|jpe|jfif|JPEG)$/.test(name)
        ? colour(i + 1, 0, 0)
            .toFormat(name.endsWith('png') ? 'png' : 'jpeg')
            .toBuffer()
        : Buffer.from('x'),
    ]),
  );

const classFolders = (...splits: string[]): string[] =>
  splits.flatMap((split) => [`${split}/cat/1.png`, `${split}/dog/1.png`]);

let made = 0;
const prepared = async (...names: string[]) => data.prepare(await data.folder(`layout-${made++}`, files(...names)));
const counts = ({ splits }: Awaited<ReturnType<typeof prepared>>['manifest']) =>
  Object.fromEntries(Object.entries(splits).map(([split, { count }]) => [split, count]));

describe('a split word is never a class', () => {
  test.each([
    ['Train', 'VAL', 'Test'],
    ['training', 'valid', 'testing'],
    ['training_set', 'dev', 'test_set'],
    ['trainset', 'validation_2', 'test_images'],
    ['train2017', 'val2017', 'test2017'],
    ['seg_train', 'seg_val', 'seg_test'],
    ['cats-v2-train', 'cats-v2-valid', 'cats-v2-test'],
    ['train1', 'valid1', 'test1'],
    ['TrainSet', 'ValidationData', 'TestImages'],
    ['trainval', 'dev', 'test'],
    ['labeled', 'val', 'test'],
  ])('%s, %s and %s are splits', async (train, val, test) => {
    const { manifest, warnings } = await prepared(...classFolders(train, val, test), 'preview.png');
    expect(manifest.classes).toEqual(['cat', 'dog']);
    expect(Object.values(counts(manifest)).every((count) => count === 2)).toBe(true);
    expect(warnings.join()).toMatch(/1 files were left out: preview\.png/);
  });

  test.each<[string, string[], object]>([
    [
      'corpora as LibriSpeech is laid out',
      ['train-clean-100', 'train-clean-360', 'dev-clean', 'test-other'].flatMap((part) => [
        `Speech/${part}/19/198/1.png`,
        `Speech/${part}/26/495/2.png`,
      ]),
      { train: 4, val: 2, test: 2 },
    ],
    ['what is trained on and what is not', classFolders('train_full', 'test'), { train: 2, test: 2 }],
    ['versions', classFolders('train_v2', 'test_v1'), { train: 2, test: 2 }],
    [
      'a small part to train on, and a test without classes',
      [...classFolders('train_mini', 'val'), 'public_test/1.png'],
      { train: 2, val: 2 },
    ],
    ['train and val in one', classFolders('train_val', 'test'), { train: 2, test: 2 }],
    ['train and val in one, of a year', classFolders('TrainVal2012', 'test'), { train: 2, test: 2 }],
  ])('nor in %s', async (_, names, expected) => {
    const { manifest, warnings } = await prepared(...names);
    expect(manifest.classes).toHaveLength(2);
    expect([counts(manifest), warnings.filter((each) => !/all taken for|public_test/.test(each))]).toEqual([
      expected,
      [],
    ]);
  });

  test('and classes that are called like splits are named', async () => {
    const { warnings } = await prepared('train-clean-100/1.png', 'dev-clean/2.png');
    expect(warnings.join('\n')).toMatch(/the classes dev-clean, train-clean-100 have words of splits .* call the/);
  });

  test('a folder of images around the classes of a split says nothing', async () => {
    const names = classFolders('train/images', 'val/images');
    const { manifest, warnings } = await prepared(...names, 'train/images/fish/notes.txt');
    expect([manifest.classes, counts(manifest)]).toEqual([['cat', 'dog'], { train: 2, val: 2 }]);
    expect(warnings.join('\n')).toMatch(/1 folders give no class, .*: fish \(only notes\.txt\)/);
  });

  test('and folders that are one split are named', async () => {
    const { manifest, warnings } = await prepared(...classFolders('train', 'dev', 'eval'));
    expect(counts(manifest)).toEqual({ train: 2, val: 4 });
    expect(warnings.join()).toMatch(/the folders dev and eval are all taken for val/);
  });

  test('but words that only begin like one are no splits', async () => {
    const { manifest } = await prepared('train_station/1.png', 'test tube/1.png', 'validity/1.png');
    expect(manifest.classes).toEqual(['test tube', 'train_station', 'validity']);
  });

  test.each([
    ['trainA', 'testA', 'trainB', 'testB', 'A', 'B'],
    ['cat_train', 'cat_test', 'dog_train', 'dog_test', 'cat', 'dog'],
  ])('%s, %s, %s and %s are splits of classes', async (...names) => {
    const { manifest, warnings } = await prepared(...names.slice(0, 4).map((folder) => `${folder}/1.png`));
    expect([manifest.classes, counts(manifest)]).toEqual([names.slice(4), { train: 2, test: 2 }]);
    expect(warnings).toEqual([]);
  });

  test('and neither are folds and parts of a download, which is said', async () => {
    const { manifest, warnings } = await prepared('fold1/1.png', 'fold2/2.png', 'fold10/3.png');
    expect(manifest.classes).toHaveLength(3);
    expect(warnings.join()).toMatch(/the classes fold1, fold10, fold2 are called like parts of one whole .*`list`/);
  });

  test('and letters around the folders of classes are told, with what to write', async () => {
    const names = ['train/a/abbey/1.png', 'train/a/alley/2.png', 'train/b/barn/3.png', 'val/b/barn/4.png'];
    const { manifest, warnings } = await prepared(...names);
    expect(manifest.classes).toEqual(['a', 'b']);
    expect(warnings.join()).toMatch(/the classes a, b are letters with folders below: .*: \{label\}\/\{\}/);
    const told = await data.prepare(await data.folder('places', files(...names)), { fileName: '{label}/{}' });
    expect([told.manifest.classes, counts(told.manifest)]).toEqual([['abbey', 'alley', 'barn'], { train: 3, val: 1 }]);
  });

  test('and classes that have the same folders in them are told, with what to write', async () => {
    const names = ['photo/images/cat/1.png', 'photo/images/dog/1.png', 'sketch/cat/1.png', 'sketch/dog/2.png'];
    const { warnings } = await prepared(...names);
    expect(warnings.join()).toMatch(/the classes photo, sketch have the same folders in them \(cat, dog\)/);
    const told = await data.prepare(await data.folder('domains', files(...names)), { fileName: '{}/{label}/{}' });
    expect(told.manifest.classes).toEqual(['cat', 'dog']);
    expect((await prepared('photo/x/1.png', 'sketch/x/1.png')).warnings).toEqual([]);
  });

  test('a folder of a split in one of the same name is that split', async () => {
    const { manifest, warnings } = await prepared(
      ...classFolders('seg_train/seg_train', 'seg_test/seg_test'),
      'seg_pred/seg_pred/9.png',
    );
    expect([manifest.classes, counts(manifest)]).toEqual([['cat', 'dog'], { train: 2, test: 2 }]);
    expect(warnings.join()).toMatch(/1 files were left out: seg_pred\/seg_pred\/9\.png/);
  });

  test('what is labelled beside what is not is what there is to train on', async () => {
    const { manifest, warnings } = await prepared(...classFolders('labeled', 'unlabeled'));
    expect([manifest.classes, counts(manifest)]).toEqual([['cat', 'dog'], { train: 2 }]);
    expect(warnings.join()).toMatch(/2 files were left out: unlabeled/);
  });

  test('splits inside the folders of classes are splits', async () => {
    const { manifest } = await prepared('cat/train/1.png', 'cat/test/2.png', 'dog/train/1.png', 'dog/test/2.png');
    expect([manifest.classes, counts(manifest)]).toEqual([['cat', 'dog'], { train: 2, test: 2 }]);
  });

  test('what lies beside splits in the folder of a class is named', async () => {
    const { manifest, warnings } = await prepared(
      ...['bottle', 'cable'].flatMap((name) => [`${name}/train/good/1.png`, `${name}/test/broken/2.png`]),
      'bottle/ground_truth/broken/2_mask.png',
      'dog/3.png',
    );
    expect([manifest.classes, counts(manifest)]).toEqual([['bottle', 'cable', 'dog'], { train: 3, test: 2 }]);
    expect(warnings.join('\n')).toMatch(/1 files were left out: bottle\/ground_truth\/broken\/2_mask\.png lie beside/);
  });

  test.each<[string, string[], string[], RegExp]>([
    [
      'a flat test',
      classFolders('train', 'val'),
      ['test/1.png', 'test/2.png'],
      /2 files were left out: test\/1\.png, te/,
    ],
    [
      'unlabelled images',
      classFolders('train', 'val'),
      ['unlabeled/1.png', 'Unlabelled_set/x/2.png'],
      /2 files .*unlab/,
    ],
    ['a folder of no split', classFolders('train', 'val'), ['extra/cat/9.png'], /1 files were left out: extra\/cat\/9/],
    [
      'a test in one folder',
      classFolders('train', 'val'),
      ['test/images/1.png'],
      /1 files were left out: test\/images/,
    ],
    ['images around classes', classFolders('train', 'val'), ['train/1.png'], /1 files .* train\/1\.png/],
  ])('%s beside class folders is named', async (_, labelled, others, expected) => {
    const { manifest, warnings } = await prepared(...labelled, ...others);
    expect([manifest.classes, counts(manifest)]).toEqual([['cat', 'dog'], { train: 2, val: 2 }]);
    expect(warnings.join('\n')).toMatch(expected);
  });

  test.each<[string, string[], RegExp]>([
    [
      'a flat val',
      [...classFolders('train'), 'val/1.png'],
      /class folders in val .*\(train\/cat, .* found .*val\/1\.png/,
    ],
    [
      'a flat train',
      ['train/1.png', ...classFolders('val')],
      /class folders in train .*\(val\/cat, val\/dog\).*train\/1/,
    ],
    ['a class called train', ['plane/1.png', 'train/1.png'], /beside train the folders plane: .*Rename/],
    [
      'labels for detection',
      ['images/train/1.png', 'images/val/2.png', 'labels/train/1.txt', 'labels/val/2.txt'],
      /images and labels, which look like labels for detection \(labels\/train\/1\.txt/,
    ],
    [
      'labels for detection within splits',
      ['train/images/1.png', 'train/labels/1.txt', 'valid/images/2.png', 'valid/labels/2.txt'],
      /train\/images and train\/labels, which look like labels for detection/,
    ],
    [
      'objects',
      ['v/JPEGImages/1.png', 'v/SegmentationObject/1.png'],
      /v\/JPEGImages and v\/SegmentationObject, .*masks/,
    ],
    ['annotations', ['v/JPEGImages/1.png', 'v/Annotations/1.xml'], /v\/JPEGImages and v\/Annotations/],
    ...['img msk', 'images gt', 'input target', 'photos labels', 'img_dir ann_dir', 'x y'].map(
      (names): [string, string[], RegExp] => {
        const [images, labels] = names.split(' ') as [string, string];
        return [
          `masks, as ${names}`,
          [`${images}/1.png`, `${labels}/1.png`],
          new RegExp(`${names.replace(' ', ' and ')}, .*masks`),
        ];
      },
    ),
    [
      'masks, in folders of splits',
      ['train_images/1.png', 'train_labels/1.png', 'test_images/2.png', 'test_labels/2.png'],
      /(test|train)_images and \1_labels, which look like images and their masks: .*`masks`/,
    ],
    ...[
      'stage1_images stage1_masks',
      'X_train y_train',
      'imagesTr labelsTr',
      'ISIC_Training_Input ISIC_1_Training_GroundTruth',
    ].map((names): [string, string[], RegExp] => {
      const [images, labels] = names.split(' ') as [string, string];
      const files = [`d/${images}/1.png`, `d/${labels}/1.png`, 'd/imagesTs/2.png', 'd/notes/x.txt'];
      return [`masks by the last words of ${names}`, files, new RegExp(`d/${images} and d/${labels}, .*masks`)];
    }),
    [
      'masks of classes beside notes and other folders',
      ['b/images/1/1.png', 'b/segmentations/1/1.png', 'b/parts/1.txt', 'b/depth/1/1.png'],
      /b\/images and b\/segmentations, which look like images and their masks/,
    ],
    [
      'masks by less usual words, beside notes',
      ['photos/1.png', 'gt/1.png', 'splits/train.txt'],
      /photos and gt, which look like images and their masks/,
    ],
    ['masks', ['images/1.png', 'masks/1.png'], /images and masks, which look like images and their masks: .*`masks`/],
  ])('%s is told, with what to do', async (_, names, expected) => {
    expect(await refusal(prepared(...names))).toMatch(expected);
  });
});

describe('a dataset without labels', () => {
  test.each<[string, string[], object]>([
    ['a flat folder', ['1.png', '2.png', 'notes.txt'], { train: 2 }],
    ['one folder', ['photos/1.png', 'photos/2.png'], { train: 2 }],
    ['flat splits', ['train/1.png', 'train/2.png', 'test/3.png'], { train: 2, test: 1 }],
    ['unlabelled ones alone', ['unlabeled/a/1.png', 'unlabeled/b/2.png'], { train: 2 }],
    ['one class in splits', ['train/cat/1.png', 'val/cat/2.png'], { train: 1, val: 1 }],
  ])('is what %s makes', async (_, names, expected) => {
    const { manifest, arrays, warnings } = await prepared(...names);
    expect([manifest.classes, counts(manifest)]).toEqual([[], expected]);
    expect(manifest.splits.train.labels).toBeUndefined();
    expect(Object.keys(arrays).sort()).toEqual(
      Object.keys(expected)
        .sort()
        .map((split) => `${split}-samples`),
    );
    expect(warnings.join()).toMatch(/no classes, .* for pretraining .*fileName says how/);
  });

  test('gets its splits drawn, and is one dataset however it is packed', async () => {
    const flat = files(...Array.from({ length: 20 }, (_, i) => `${i}.png`));
    const digests = await Promise.all(
      [data.folder('flat', flat), data.archive('flat.tar', flat), data.archive('flat.zip', flat)].map(async (made) => {
        const { manifest } = await data.prepare(await made, { valFraction: 0.1, testFraction: 0.2 });
        expect(counts(manifest)).toEqual({ train: 14, val: 2, test: 4 });
        return manifest.digest;
      }),
    );
    expect(new Set(digests).size).toBe(1);
  });

  test('is not made of a picture beside shards', async () => {
    await data.archive('shards-and-logo/train-0.tar', {
      ...files('0.png', '1.png'),
      '0.cls': Buffer.from('cat'),
      '1.cls': Buffer.from('dog'),
    });
    await data.folder('shards-and-logo', files('logo.png'));
    expect((await data.prepare('shards-and-logo')).manifest.classes).toEqual(['cat', 'dog']);
  });

  test('is made of sounds, too', async () => {
    const source = await data.folder('birdsong', { '1.wav': wavOf([1, 2], 1000), '2.wav': wavOf([3, 4], 1000) });
    const { manifest, arrays } = await data.prepare(source, { audio: { sampleRate: 1000, seconds: 0.002 } });
    expect([manifest.classes, arrays['train-samples']!.data]).toEqual([[], [1, 2, 3, 4]]);
  });
});

test('classes that differ in nothing but how they are written are named', async () => {
  const { manifest, warnings } = await prepared(
    'Cat/1.png',
    'cat/2.png',
    'caf\u00e9/3.png',
    'cafe\u0301/4.png',
    'x/5.png',
  );
  expect(manifest.classes).toHaveLength(5);
  expect(warnings.join('\n')).toMatch(/the classes "Cat" and "cat" differ in nothing but .*renameClasses/);
  expect(warnings.join('\n')).toContain('"cafe\u0301" and "caf\u00e9"');
});

describe('what is lost is named', () => {
  test('classes without an image that is read', async () => {
    const { warnings } = await data.prepare(
      await data.folder(
        'lost',
        files(...classFolders('.').map((name) => name.slice(2)), 'bird/1.heic', 'fish/note.txt'),
      ),
      { maxCorruptFraction: 0.5 },
    );
    expect(warnings.join('\n')).toMatch(/2 folders give no class, .*: bird \(only 1\.heic\), fish \(only note\.txt\)/);
  });

  test('noise that is to be mixed in, which is no class', async () => {
    const wav = wavOf([1, 2], 1000);
    const source = await data.folder('commands', {
      'yes/1.wav': wav,
      'no/1.wav': wav,
      '_background_noise_/tap.wav': wav,
      '_background_noise_/README.md': Buffer.from('x'),
    });
    const { manifest, summary } = await data.prepare(source, { audio: { sampleRate: 1000, seconds: 0.002 } });
    expect(manifest.classes).toEqual(['no', 'yes']);
    expect(summary.leftOut.map(({ examples }) => examples)).toContainEqual(['_background_noise_/tap.wav']);
    expect(summary.warnings).toEqual([]);
  });

  test('empty folders, in whatever they are packed', async () => {
    const given = { ...files('cat/1.png', 'dog/1.png'), 'fish/': Buffer.alloc(0) };
    const zip = await data.archive('empty-class.zip', given);
    expect((await data.prepare(zip)).warnings.join()).toMatch(/1 folders give no class, .*: fish \(empty\)/);
  });

  test('files of a format that is not read count as damaged', async () => {
    const names = ['cat/0.png', 'dog/0.png', ...Array.from({ length: 9 }, (_, i) => `cat/${i + 1}.heic`)];
    expect(await refusal(prepared(...names))).toMatch(/at most 5 % .*9 of 11 files .*cat\/1\.heic \(expected JPEG/);
    // Notes, and what belongs to an image, are none.
    const notes = ['cat/0.json', 'cat/0.edited', 'dog/list.txt', 'dog/Thumbs.db'];
    expect((await prepared('cat/0.png', 'dog/0.png', ...notes)).manifest.splits.train.count).toBe(2);
  });

  test('classes without a sample in val or test', async () => {
    const names = [
      ...Array.from({ length: 20 }, (_, i) => `cat/${i}.png`),
      ...Array.from({ length: 4 }, (_, i) => `dog/${i}.png`),
    ];
    const source = await data.folder('rare', files(...names));
    const { warnings } = await data.prepare(source, { valFraction: 0.1, testFraction: 0.1 });
    for (const split of ['val', 'test'])
      expect(warnings.join()).toMatch(new RegExp(`${split} has no sample of 1 of 2 classes: dog`));
  });

  test('JPEG has more names than two', async () => {
    const { manifest } = await prepared('cat/1.jfif', 'dog/1.jpe', 'dog/2.JPEG');
    expect(manifest.splits.train.count).toBe(3);
  });
});
