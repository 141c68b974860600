import { Encoder, RunSpec, type DatasetManifest, type SampleShape } from '#libs/contracts';
import { describe, expect, test } from 'vitest';
import { datasetFaults, parentFaults } from './faults.js';

const sum = '0'.repeat(64);
const unlabelled: DatasetManifest = {
  name: 'photos',
  digest: sum,
  sample: { modality: 'image', height: 8, width: 8, channels: 3 },
  classes: [],
  splits: { train: { count: 1000, samples: sum }, val: { count: 100, samples: sum } },
};
const from = '00000000-0000-4000-8000-000000000000';
const faultsOf = (given: object) => {
  const spec = RunSpec.parse({ dataset: 'photos', ...given }) as Extract<RunSpec, { dataset: string }>;
  return datasetFaults(spec, { manifest: unlabelled, reference: 'photos@0' }, (...field) => field);
};

describe('a dataset without labels', () => {
  test.each([[{ kind: 'pretrain' }], [{ kind: 'autoencode' }], [{ kind: 'embed', from, split: 'val' }]])(
    'does for %j',
    (spec) => {
      expect(faultsOf(spec)).toEqual([]);
    },
  );

  test.each([
    [{ kind: 'finetune', from }, 'dataset', /a class for each sample, photos@0 has no labels: pretrain on it/],
    [{ kind: 'finetune', from, task: 'segmentation' }, 'dataset', /with masks, photos@0 has no labels/],
    [
      { kind: 'pretrain', method: 'supcon' },
      'dataset',
      /a class for each sample, photos@0 has no labels: pretrain on it by another/,
    ],
    [{ kind: 'evaluate', from }, 'dataset', /a class for each sample, photos@0 has no labels/],
    [{ kind: 'distill', from, labelWeight: 0 }, 'dataset', /photos@0 has no labels/],
    [{ kind: 'interpolate', from, between: { classes: ['a', 'b'] } }, 'between.classes', /expected rows: photos@0/],
  ])('is refused for %j before anything is trained', (spec, path, message) => {
    const [fault] = faultsOf(spec);
    expect(fault?.path.join('.')).toBe(path);
    expect(fault?.message).toMatch(message);
  });
});

const IMPORT = { kind: 'import-model', name: 'own', path: 'own/model.json' };

describe('a parent whose networks do not suit is refused in `from`', () => {
  const told = (spec: object, given: object, encoder?: Encoder) => {
    const parent = RunSpec.parse(given === IMPORT ? given : { dataset: 'photos', ...given });
    return parentFaults(
      RunSpec.parse({ dataset: 'photos', from, ...spec }),
      undefined,
      { spec: parent, sample: undefined, encoder: encoder ?? ('encoder' in parent ? parent.encoder : undefined) },
      (...field) => field,
    ).map(({ path, message }) => `${path.join('.')}: ${message}`);
  };
  const encoder = { name: 'vit-tiny' };

  test('a masked autoencoder, to walk in its latent space', () => {
    expect(told({ kind: 'interpolate' }, { kind: 'autoencode', variant: 'masked', encoder })).toEqual([
      'from: expected an autoencoder with a latent vector, got a masked one, which has none',
    ]);
    expect(told({ kind: 'interpolate' }, { kind: 'autoencode', encoder })).toEqual([]);
  });

  test('a transformer, to segment by', () => {
    const segmenting = { kind: 'finetune', task: 'segmentation' };
    expect(told(segmenting, { kind: 'pretrain', encoder })).toEqual([
      'from: expected a parent with maps of several resolutions for segmentation, got one of vit-tiny',
    ]);
    expect(told(segmenting, { kind: 'pretrain' })).toEqual([]);
    expect(told({ kind: 'finetune' }, { kind: 'pretrain', encoder })).toEqual([]);
    expect(told(segmenting, IMPORT, Encoder.parse(encoder))).toEqual([
      'from: expected a parent with maps of several resolutions for segmentation, got one of vit-tiny',
    ]);
    expect(told(segmenting, IMPORT, Encoder.parse({ name: 'resnet50' }))).toEqual([]);
  });

  test('layers of a model, trained or as they were taken in, to segment by or where blocks are meant', () => {
    const own = { name: 'layers', model: from, features: 'pool' };
    const asking = { kind: 'finetune', task: 'segmentation', layerDecay: 0.7, fineTuneAfterBlock: 1 };
    const faults = [
      'from: expected a parent with maps of several resolutions for segmentation, got one of layers of a model, of ' +
        'which it is not known where those are: take a ResNet',
      'layerDecay: expected none, got a parent of layers of a model, which have no blocks: take `backbone.rate`',
      'fineTuneAfterBlock: expected none, got a parent of layers of a model, which have no blocks: take ' +
        '`backbone.rate`',
    ];
    expect(told(asking, { kind: 'pretrain', encoder: own })).toEqual(faults);
    expect(told(asking, IMPORT, Encoder.parse({ name: 'layers' }))).toEqual(faults);
    expect(told({ kind: 'finetune' }, IMPORT, Encoder.parse({ name: 'layers' }))).toEqual([]);
  });
});

describe('views that do not suit the samples are refused where they are named', () => {
  const told = (sample: SampleShape, given: object) => {
    const spec = RunSpec.parse({ kind: 'pretrain', dataset: 'x', ...given }) as Extract<RunSpec, { dataset: string }>;
    const manifest = { ...unlabelled, sample };
    return datasetFaults(spec, { manifest, reference: 'x@0' }, (...field) => field).map(
      ({ path, message }) => `${path.join('.')}: ${message}`,
    );
  };
  const sounds: SampleShape = { modality: 'audio', sampleRate: 8000, length: 800 };
  const gray: SampleShape = { modality: 'image', height: 8, width: 8, channels: 1 };

  test('operations on images, of sounds', () => {
    const augmentation = { randAugment: {}, sharpness: {}, perspective: {}, erasing: {} };
    expect(told(sounds, { augmentation })).toEqual(
      ['perspective', 'randAugment', 'sharpness', 'erasing'].map(
        (name) => `augmentation.${name}: expected no ${name}: the dataset is of sounds`,
      ),
    );
  });

  test('a size of views, of sounds', () => {
    const views = [{ augmentation: { shift: {} }, count: 2, size: 32 }];
    expect(told(sounds, { views })).toEqual(['views.0.size: expected no size: the dataset is of sounds']);
    expect(told(gray, { views: [{ augmentation: { flip: {} }, count: 2, size: 32 }] })).toEqual([]);
  });

  test('colours of each view, of gray images', () => {
    const views = [{ augmentation: { equalize: {}, trivialAugment: {} } }, { augmentation: { grayscale: {} } }];
    expect(told(gray, { views })).toEqual([
      'views.1.augmentation.grayscale: expected no grayscale: the dataset has one channel',
    ]);
  });
});
