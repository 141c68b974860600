import { Random } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import { beforeAll, describe, expect, test } from 'vitest';
import { buildBottleneck, buildDecoder } from './decoder.js';
import { buildEncoder, encode, featureWidth } from './encoder.js';
import { buildClassifier, buildProjectionHead } from './heads.js';
import { buildSegmenter, pyramidOf } from './segmenter.js';
import { forward, initialise, weightsOf } from './weights.js';

beforeAll(async () => {
  await loadTensorFlow({ threads: 1 });
});

const trainable = (...models: layers.LayersModel[]) => weightsOf(...models).filter((weight) => weight.trainable);
const parameters = (...models: layers.LayersModel[]) =>
  trainable(...models).reduce((sum, { variable }) => sum + variable.size, 0);
const images = (count: number, size: number, channels = 3) => {
  const random = Random.seeded(5, 'images');
  return tf.tensor4d(
    Float32Array.from({ length: count * size * size * channels }, () => random.uniform()),
    [count, size, size, channels],
  );
};

describe('encoders', () => {
  // Counted by hand: 3·3·in·out a convolution, in·out a shortcut, 2·out a normalisation.
  test('small-resnet', () => {
    const encoder = buildEncoder({ name: 'small-resnet', width: 32 }, [32, 32, 3]);
    const stem = 9 * 3 * 32 + 64;
    const block = (from: number, to: number) =>
      9 * from * to + 9 * to * to + 4 * to + (from === to ? 0 : from * to + 2 * to);
    expect(parameters(encoder)).toBe(stem + block(32, 32) + block(32, 64) + block(64, 128));
    expect(encoder.outputs.map(({ shape }) => shape)).toEqual([
      [null, 4, 4, 128],
      [null, 128],
    ]);
    expect(featureWidth(encoder)).toBe(128);
  });

  test('resnet18 has the parameters of the published one without its classifier, but for the smaller stem', () => {
    const encoder = buildEncoder({ name: 'resnet18', width: 64 }, [32, 32, 3]);
    // torchvision: 11,689,512 with a 7x7 stem and 512 · 1000 + 1000 for the classes.
    expect(parameters(encoder)).toBe(11_689_512 - 513_000 - (49 - 9) * 3 * 64);
    expect(encoder.outputs.map(({ shape }) => shape)).toEqual([
      [null, 4, 4, 512],
      [null, 512],
    ]);
    encoder.dispose();
  });

  test('features are the mean of the map over places', () => {
    const encoder = buildEncoder({ name: 'small-resnet', width: 4 }, [16, 16, 1]);
    initialise([encoder], Random.seeded(0));
    const { map, features } = encode(encoder, images(3, 16, 1), false);
    expect(tf.max(tf.abs(tf.sub(tf.mean(map, [1, 2]), features))).dataSync()[0]).toBeLessThan(1e-6);
  });

  test.each(['small-resnet', 'resnet18'] as const)(
    "%s saved as a layers model gives the same features by tfjs's own layers",
    async (name) => {
      const encoder = buildEncoder({ name, width: 4 }, [16, 16, 3]);
      initialise([encoder], Random.seeded(0));
      const x = images(6, 16);
      // Running averages other than those at the start.
      tf.dispose({ ...encode(encoder, x, true) });
      const own = encode(encoder, x, false).features;
      let saved: tf.io.ModelArtifacts | undefined;
      await encoder.save(
        tf.io.withSaveHandler((artifacts) => {
          saved = artifacts;
          return Promise.resolve({ modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } });
        }),
      );
      const loaded = await layers.loadLayersModel(
        tf.io.fromMemory({ ...saved!, modelTopology: JSON.parse(JSON.stringify(saved!.modelTopology)) as object }),
      );
      const [, stock] = loaded.predict(x) as [tf.Tensor, tf.Tensor];
      expect(loaded.layers.map(({ constructor }) => constructor)).not.toContain(encoder.layers[2]!.constructor);
      expect(tf.max(tf.abs(tf.sub(stock, own))).dataSync()[0]).toBeLessThan(1e-4);
    },
  );
});

test('He initialisation: variance 2 / fan-in from the seed, the rest constant, named layers at zero', () => {
  const encoder = buildEncoder({ name: 'small-resnet', width: 16 }, [16, 16, 3]);
  const classifier = buildClassifier(featureWidth(encoder), 5);
  initialise([encoder, classifier], Random.seeded(3), ['logits']);
  const weights = new Map(weightsOf(encoder, classifier).map(({ key, variable }) => [key, variable]));
  const kernel = weights.get('encoder/block3_conv2/kernel')!;
  const { mean, variance } = tf.moments(kernel);
  expect(Math.abs(mean.dataSync()[0]!)).toBeLessThan(1e-3);
  expect((variance.dataSync()[0]! * 9 * 64) / 2).toBeCloseTo(1, 1);
  expect([...weights.get('classifier/logits/kernel')!.dataSync()].every((value) => value === 0)).toBe(true);
  expect([...weights.get('encoder/stem_bn/gamma')!.dataSync()].every((value) => value === 1)).toBe(true);
  const again = buildEncoder({ name: 'small-resnet', width: 16 }, [16, 16, 3]);
  initialise([again], Random.seeded(3));
  expect(
    weightsOf(again)
      .find(({ key }) => key === 'encoder/block3_conv2/kernel')!
      .variable.dataSync(),
  ).toEqual(kernel.dataSync());
});

test('a projection head has a normalisation after each dense layer and no ReLU after the last', () => {
  const head = buildProjectionHead(6, { layers: 3, hidden: 8, output: 10 });
  initialise([head], Random.seeded(1));
  const z = forward<tf.Tensor2D>(head, tf.reshape(images(20, 3, 1), [-1, 6]), true);
  expect(z.shape).toEqual([30, 10]);
  const { mean, variance } = tf.moments(z, 0);
  expect(tf.max(tf.abs(mean)).dataSync()[0]).toBeLessThan(1e-4);
  expect(tf.max(tf.abs(tf.sub(variance, 1))).dataSync()[0]).toBeLessThan(1e-2);
  expect(head.layers.map(({ name }) => name)).toEqual([
    'features',
    'dense1',
    'bn1',
    'relu1',
    'dense2',
    'bn2',
    'relu2',
    'dense3',
    'bn3',
  ]);
});

test.each([
  [32, 3],
  [28, 1],
  [9, 3],
])('a decoder gives images of %i pixels and %i channels, in [0, 1]', (size, channels) => {
  const encoder = buildEncoder({ name: 'small-resnet', width: 4 }, [size, size, channels]);
  const [bottleneck, decoder] = [buildBottleneck(encoder, 5), buildDecoder(encoder, 5, 4)];
  initialise([encoder, bottleneck, decoder], Random.seeded(2));
  const x = images(3, size, channels);
  const code = forward(bottleneck, encode(encoder, x, false).map, false);
  const pixels = forward<tf.Tensor4D>(decoder, code, false);
  expect(code.shape).toEqual([3, 5]);
  expect(pixels.shape).toEqual(x.shape);
  expect(tf.min(pixels).dataSync()[0]).toBeGreaterThanOrEqual(0);
  expect(tf.max(pixels).dataSync()[0]).toBeLessThanOrEqual(1);
});

describe('a segmenter', () => {
  test.each([
    [
      'small-resnet',
      120,
      160,
      [
        [60, 80, 4],
        [30, 40, 8],
        [15, 20, 16],
      ],
    ],
    [
      'small-resnet',
      33,
      20,
      [
        [17, 10, 4],
        [9, 5, 8],
        [5, 3, 16],
      ],
    ],
    [
      'resnet18',
      33,
      20,
      [
        [33, 20, 4],
        [17, 10, 8],
        [9, 5, 16],
        [5, 3, 32],
      ],
    ],
    [
      'small-resnet',
      1,
      3,
      [
        [1, 2, 4],
        [1, 1, 8],
        [1, 1, 16],
      ],
    ],
  ] as const)('on %s gives logits for each of %i x %i pixels', (name, height, width, maps) => {
    const encoder = buildEncoder({ name, width: 4 }, [height, width, 3]);
    const pyramid = pyramidOf(encoder, { name, width: 4 });
    const segmenter = buildSegmenter(pyramid, 5);
    initialise([encoder, segmenter], Random.seeded(6));
    expect(pyramid.outputs.map(({ shape }) => shape.slice(1))).toEqual(maps);
    const x = tf.randomUniform<tf.Rank.R4>([2, height, width, 3], 0, 1, 'float32', 4);
    const found = forward<tf.Tensor[]>(pyramid, x, false);
    expect(forward<tf.Tensor>(segmenter, found, false).shape).toEqual([2, height, width, 5]);
    // The last map is the one that the features are the mean of.
    expect(found.at(-1)!.dataSync()).toEqual(encode(encoder, x, false).map.dataSync());
  });

  test("trains the encoder's weights under their names, each of its maps and its own", () => {
    const encoder = buildEncoder({ name: 'small-resnet', width: 4 }, [9, 12, 3]);
    const pyramid = pyramidOf(encoder, { name: 'small-resnet', width: 4 });
    expect(
      weightsOf(pyramid)
        .map(({ variable }) => variable.id)
        .toSorted(),
    ).toEqual(
      weightsOf(encoder)
        .map(({ variable }) => variable.id)
        .toSorted(),
    );
    const segmenter = buildSegmenter(pyramid, 3);
    initialise([encoder, segmenter], Random.seeded(6));
    const weights = trainable(encoder, segmenter);
    const [x, target] = [
      tf.randomUniform([3, 9, 12, 3], 0, 1, 'float32', 4),
      tf.randomUniform([3, 9, 12, 3], 0, 1, 'float32', 5),
    ];
    const { grads } = tf.variableGrads(
      () => tf.sum(tf.mul(target, forward<tf.Tensor>(segmenter, forward<tf.Tensor[]>(pyramid, x, true), true))),
      weights.map(({ variable }) => variable),
    );
    for (const { key, variable } of weights)
      expect(tf.max(tf.abs(grads[variable.name]!)).dataSync()[0], key).toBeGreaterThan(0);
    expect(weights.map(({ key }) => key)).toEqual(
      expect.arrayContaining([
        'encoder/stem_conv/kernel',
        'encoder/block3_bn2/gamma',
        'segmenter/up1_conv/kernel',
        'segmenter/logits/bias',
      ]),
    );
  });

  test('is disposed of with its encoder', () => {
    const before = tf.memory().numTensors;
    const encoder = buildEncoder({ name: 'small-resnet', width: 4 }, [8, 8, 1]);
    const segmenter = buildSegmenter(pyramidOf(encoder, { name: 'small-resnet', width: 4 }), 3);
    for (const model of [encoder, segmenter]) model.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});

test('gradients reach every weight that is trained, and evaluation changes none', () => {
  const encoder = buildEncoder({ name: 'small-resnet', width: 4 }, [8, 8, 3]);
  const head = buildProjectionHead(featureWidth(encoder), { layers: 2, hidden: 8, output: 8 });
  initialise([encoder, head], Random.seeded(4));
  const weights = weightsOf(encoder, head);
  const values = () => weights.map(({ variable }) => [...variable.dataSync()]);
  const before = values();
  tf.tidy(() => forward(head, encode(encoder, images(4, 8), false).features, false));
  expect(values()).toEqual(before);
  const target = images(4, 8).slice([0, 0, 0, 0], [4, 1, 8, 1]).reshape([4, 8]);
  const { grads } = tf.variableGrads(
    () => tf.sum(tf.mul(target, forward(head, encode(encoder, images(4, 8), true).features, true))),
    weights.filter((weight) => weight.trainable).map(({ variable }) => variable),
  );
  for (const { key, variable } of trainable(encoder, head))
    expect(tf.max(tf.abs(grads[variable.name]!)).dataSync()[0], key).toBeGreaterThan(0);
  // The batch has moved the running averages, and nothing else.
  const after = values();
  weights.forEach(({ key }, i) =>
    key.includes('/moving_') ? expect(after[i], key).not.toEqual(before[i]) : expect(after[i], key).toEqual(before[i]),
  );
});
