import { InvalidDataError, Random } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import type { Encoder, ImportModel } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  drawnNumbers,
  drawnResNet,
  resNetShapes,
  writeTensorsTo,
  type Tensor,
} from '../../../../tests/support/safetensors.js';
import { writeSafetensors } from '../checkpoint.js';
import { buildEncoder, encode } from '../networks/encoder.js';
import { initialise, weightsOf } from '../networks/weights.js';
import { SafetensorsFile } from './safetensors.js';
import { encoderFrom } from './weights.js';

let dir: string;
beforeAll(async () => {
  await loadTensorFlow({ threads: 1 });
  dir = await mkdtemp(path.join(tmpdir(), 'loom-import-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

type As = Pick<ImportModel, 'as' | 'normalisation'>;
async function imported(file: string, as: As) {
  const opened = await SafetensorsFile.open(file, 'w.safetensors');
  try {
    return await encoderFrom(opened, { path: 'w.safetensors', ...as });
  } finally {
    await opened.close();
  }
}
const given = async (tensors: ReadonlyMap<string, Tensor>, as: As) =>
  imported(await writeTensorsTo(path.join(dir, 'w.safetensors'), tensors), as);

/** Features of two images in [0, 1], drawn as the reference drew them. */
function featuresOf(encoder: Awaited<ReturnType<typeof given>>, side: number): number[][] {
  // Built for the size of ImageNet, and applied to another: as runs do, the weights go to an encoder of that size.
  const own = buildEncoder(encoder.architecture, [side, side, 3]);
  weightsOf(own).forEach(({ variable }, i) => variable.assign(weightsOf(encoder.encoder)[i]!.variable));
  const found = tf.tidy(() =>
    encode(own, tf.tensor4d(drawnNumbers(2 * 3 * side * side, 1000), [2, side, side, 3]), false).features.arraySync(),
  );
  own.dispose();
  return found;
}

/** Features 0, d/4, d/2 and 3d/4 of d of each image, and the sum of all. */
function expectFeatures(
  found: Awaited<ReturnType<typeof given>>,
  side: number,
  expected: readonly (readonly number[])[],
  sum: number,
): void {
  const features = featuresOf(found, side);
  const most = Math.max(...features.flat());
  features.forEach((row, i) =>
    expected[i]!.forEach((value, c) => {
      expect(Math.abs(row[(c * row.length) / 4]! - value)).toBeLessThan(1e-4 * Math.max(1, most));
    }),
  );
  expect(Math.abs(features.flat().reduce((a, b) => a + b) / sum - 1)).toBeLessThan(1e-5);
  found.encoder.dispose();
}

describe('features are those of torch with the same weights', () => {
  // Features in double precision by torchvision 0.29.2 and timm 1.0.31 on torch 2.15.0, whose tensors and images were
  // drawn as `drawnNumbers` does, the images normalised by the mean and standard deviation of ImageNet.
  test('torchvision’s resnet18', async () => {
    const tensors = drawnResNet([2, 2, 2, 2], false);
    expect([...tensors.values()].filter(({ dtype }) => dtype === 'F32')).toHaveLength(102);
    const found = await given(tensors, { as: 'resnet18' });
    expect(found).toMatchObject({
      architecture: { name: 'resnet18', width: 64, stem: 'imagenet', normalisation: { mean: [0.485, 0.456, 0.406] } },
      sample: { modality: 'image', height: 224, width: 224, channels: 3 },
    });
    expect(found.beside.filter((name) => !name.endsWith('num_batches_tracked'))).toEqual(['fc.weight', 'fc.bias']);
    expectFeatures(
      found,
      48,
      [
        [0.574955, 0.571169, 1.660133, 0.311919],
        [0.531222, 1.076882, 1.797923, 0.356866],
      ],
      1984.9368810431922,
    );
  }, 60_000);

  test('timm’s resnet50', async () => {
    const tensors = drawnResNet([3, 4, 6, 3], true);
    expect([...tensors.values()].filter(({ dtype }) => dtype === 'F32')).toHaveLength(267);
    expectFeatures(
      await given(tensors, { as: 'resnet50' }),
      40,
      [
        [2.932815, 1.326188, 3.603328, 1.063588],
        [2.687538, 1.858798, 3.396826, 0.984256],
      ],
      17954.81907651008,
    );
  }, 60_000);
});

/** A ResNet-18 with torchvision's names, 8 channels wide, with a stem of 3 x 3. */
const small = (channels = 3): Map<string, Tensor> =>
  new Map(
    [...resNetShapes([2, 2, 2, 2], false, [8, channels, 3, 3])].map(([name, shape]): [string, Tensor] => {
      if (name.endsWith('num_batches_tracked')) return [name, { dtype: 'I64', shape, bytes: new Uint8Array(8) }];
      const size = shape.reduce((product, side) => product * side, 1);
      return [name, { dtype: 'F32', shape, bytes: new Uint8Array(new Float32Array(size).fill(0.5).buffer) }];
    }),
  );

test('width, stem and channels are those of the first convolution', async () => {
  const gray = { mean: [0.5], std: [0.25] };
  const found = await given(small(1), { as: 'resnet18', normalisation: gray });
  expect(found).toMatchObject({
    architecture: { name: 'resnet18', width: 8, stem: 'cifar', padding: 'symmetric', normalisation: gray },
    sample: { height: 32, width: 32, channels: 1 },
  });
  found.encoder.dispose();
  await expect(given(small(1), { as: 'resnet18' })).rejects.toThrow(
    /expected a `normalisation` .*1 channels, got none/,
  );
});

describe('what does not fit is named key by key, and nothing is taken', () => {
  const changed = (change: (tensors: Map<string, Tensor>) => void): Map<string, Tensor> => {
    const tensors = small();
    change(tensors);
    return tensors;
  };
  const value = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
  test.each<[string, () => Map<string, Tensor>, As, RegExp[]]>([
    [
      'missing, left over and of another shape',
      () =>
        changed((tensors) => {
          tensors.delete('layer1.0.bn1.running_mean');
          tensors.delete('layer4.1.conv2.weight');
          tensors.set('head.weight', { dtype: 'F32', shape: [1], bytes: value(1) });
          tensors.set('bn1.bias', { dtype: 'F32', shape: [2], bytes: value(1, 1) });
        }),
      { as: 'resnet18' },
      [
        /expected w\.safetensors to have the weights of resnet18, 8 wide/,
        /missing: layer1\.0\.bn1\.running_mean, layer4\.1\.conv2\.weight;/,
        /left over: head\.weight;/,
        /of another shape: bn1\.bias \[2\] for \[8\]$/,
      ],
    ],
    ['of a deeper network', small, { as: 'resnet34' }, [/missing: layer1\.2\.conv1\.weight/]],
    ['of a network of bottlenecks', small, { as: 'resnet50' }, [/conv1\.weight \[8, 8, 3, 3\] for \[8, 8, 1, 1\]/]],
    ['without a word what it is', small, {}, [/expected `as` \(--as\) with w\.safetensors/]],
    [
      'of something else',
      () => new Map([['blocks.0.weight', { dtype: 'F32', shape: [1], bytes: value(1) }]]),
      { as: 'resnet18' },
      [/expected a tensor conv1\.weight of resnet18 in w\.safetensors, found blocks\.0\.weight/],
    ],
    [
      'a variance below 0',
      () => changed((tensors) => (tensors.get('bn1.running_var')!.bytes = value(...Array<number>(8).fill(-1)))),
      { as: 'resnet18' },
      [/expected variances of at least 0 in bn1\.running_var/],
    ],
    [
      'a mean for two channels',
      small,
      { as: 'resnet18', normalisation: { mean: [0, 0], std: [1, 1] } },
      [/for 3 channels, got one for 2/],
    ],
  ])('%s', async (_, tensors, as, whys) => {
    const before = tf.memory().numTensors;
    const refusal = given(tensors(), as);
    await expect(refusal).rejects.toThrow(InvalidDataError);
    for (const why of whys) await expect(refusal).rejects.toThrow(why);
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('a file that this program exported', () => {
  const architecture: Encoder = { name: 'small-resnet', width: 4, normalisation: { mean: [0.2], std: [0.5] } };
  const sample = { modality: 'image', height: 8, width: 8, channels: 3 };
  const exported = async (metadata: Record<string, string>) => {
    const encoder = buildEncoder(architecture, [8, 8, 3]);
    initialise([encoder], Random.seeded(3));
    const file = path.join(dir, 'own.safetensors');
    const named = weightsOf(encoder).map(({ key, variable }) => ({ key: key.slice('encoder/'.length), variable }));
    await writeSafetensors(file, named, () => ({ format: 'latent-loom', ...metadata }));
    return { file, encoder };
  };
  const about = {
    network: 'encoder',
    architecture: JSON.stringify({ kind: 'pretrain', encoder: architecture }),
    preprocessing: JSON.stringify({ sample, divideBy: 255 }),
  };

  test('says itself what it is, and gives the same features', async () => {
    const { file, encoder } = await exported(about);
    const found = await imported(file, {});
    expect(found).toMatchObject({ architecture, sample, beside: [] });
    const x = tf.randomUniform<tf.Rank.R4>([2, 8, 8, 3]);
    expect(encode(found.encoder, x, false).features.arraySync()).toEqual(
      encode(encoder, x, false).features.arraySync(),
    );
    await expect(imported(file, { as: 'resnet18' })).rejects.toThrow('it says that it is of small-resnet');
    encoder.dispose();
    found.encoder.dispose();
  });

  test('is refused where it is another part of the export, or does not say what it is', async () => {
    for (const metadata of [
      { ...about, network: 'classifier' },
      { ...about, architecture: '{"encoder": {"name": "resnet19"}}' },
      { ...about, preprocessing: 'nothing' },
    ]) {
      const { file, encoder } = await exported(metadata);
      await expect(imported(file, {})).rejects.toThrow(/to be the encoder\.safetensors of an export/);
      encoder.dispose();
    }
  });
});

test('what is done to the input is the same while training, and none of it is learnt', () => {
  const normalisation = { mean: [0.5, 0.25, 0.1], std: [0.5, 0.2, 1] };
  const [plain, normalising] = [undefined, normalisation].map((each) =>
    buildEncoder({ name: 'small-resnet', width: 4, normalisation: each }, [8, 8, 3]),
  ) as [ReturnType<typeof buildEncoder>, ReturnType<typeof buildEncoder>];
  initialise([plain], Random.seeded(1));
  initialise([normalising], Random.seeded(1));
  const x = tf.randomUniform<tf.Rank.R4>([3, 8, 8, 3], 0, 1, 'float32', 7);
  const by = tf.div<tf.Tensor4D>(tf.sub(x, normalisation.mean), normalisation.std);
  for (const training of [true, false]) {
    const [found, expected] = [encode(normalising, x, training).features, encode(plain, by, training).features];
    expect(tf.max(tf.abs(tf.sub(found, expected))).dataSync()[0]).toBeLessThan(1e-5);
  }
  const own = weightsOf(normalising).filter(({ key }) => key.includes('/normalisation/'));
  expect(own.map(({ key, trainable }) => [key, trainable])).toEqual([
    ['encoder/normalisation/moving_mean', false],
    ['encoder/normalisation/moving_variance', false],
  ]);
  expect([...own[0]!.variable.dataSync()]).toEqual(normalisation.mean.map(Math.fround));
  plain.dispose();
  normalising.dispose();
});
