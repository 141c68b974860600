import { Encoder, transformerOf } from '#libs/contracts';
import { Random } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { resizedPositions, sineCosine } from './positions.js';
import { buildEncoder, encode } from './encoder.js';
import { withStepSeed } from './step-seed.js';
import { attend, gelu, layerNorm } from './token-operations.js';
import { initialise, weightsOf } from './weights.js';
import { restored, type ModelState } from '../run-inputs.js';

beforeAll(() => loadTensorFlow({ threads: 1 }));

const drawn = (shape: number[], seed: number): tf.Tensor => {
  const random = Random.seeded(seed, 'tokens');
  const size = shape.reduce((product, side) => product * side, 1);
  return tf.tensor(
    Float32Array.from({ length: size }, () => random.normal(0, 1)),
    shape,
  );
};

describe('the published networks', () => {
  test.each([
    ['vit-tiny', 5_717_416, 192],
    ['vit-small', 22_050_664, 384],
  ] as const)('%s has the parameters of timm’s, %i', (name, published, features) => {
    const encoder = buildEncoder({ name, width: 64, positions: 'learnt' }, [224, 224, 3]);
    const parameters = weightsOf(encoder).reduce((sum, { variable }) => sum + variable.size, 0);
    // Without the classifier of 1000 classes.
    expect(parameters).toBe(published - 1000 * features - 1000);
    expect(encoder.outputs.map(({ shape }) => shape)).toEqual([
      [null, 14, 14, features],
      [null, features],
    ]);
    encoder.dispose();
  });

  test('vit-base is 768 wide, with 12 heads; 16 is the side of its squares', () => {
    expect(transformerOf(Encoder.parse({ name: 'vit-base', width: 64 }))).toMatchObject({
      ...{ width: 768, hidden: 3072, heads: 12, depth: 12, patch: 16 },
      ...{ pooling: 'class', positions: 'sine-cosine', dropped: new Array(12).fill(0) },
    });
  });
});

test('settings of convolutions are refused of transformers, and the other way round', () => {
  const told = (encoder: object) =>
    Encoder.safeParse(encoder).error?.issues.map(({ path, message }) => [path, message]);
  expect(told({ name: 'vit-tiny', stem: 'cifar', seRatio: 0.5 })).toEqual([
    [['stem'], expect.stringContaining('expected no `stem` of a transformer')],
    [['seRatio'], expect.stringContaining('expected no `seRatio` of a transformer')],
  ]);
  expect(told({ name: 'resnet18', patch: 4 })).toEqual([
    [['patch'], 'expected a transformer (vit-tiny, vit-small, vit-base) for `patch`, got resnet18'],
  ]);
});

test('sines and cosines are those of MAE, column before row', () => {
  const width = 9;
  const found = sineCosine(2, 3, width);
  // Row 1, column 2; the last number of a width that is no multiple of four is 0.
  const expected = [2, 1].flatMap((place) =>
    [place, place / 100].map(Math.sin).concat([place, place / 100].map(Math.cos)),
  );
  [...expected, 0].forEach((value, i) => expect(found[5 * width + i]).toBeCloseTo(value, 6));
});

test('positions of another grid are interpolated, and what is before them stays', () => {
  const values = Float32Array.of(9, 0, 1, 2, 3);
  const { values: found, shape } = resizedPositions({ values, shape: [5, 1] }, { from: [2, 2], to: [4, 4], before: 1 });
  expect(shape).toEqual([17, 1]);
  const at = [0, 0.25, 0.75, 1];
  expect([...found]).toEqual([9, ...at.flatMap((row) => at.map((column) => 2 * row + column))]);
});

test('learnt positions of a parent fit images of another size', () => {
  const encoder: Encoder = { name: 'vit-tiny', width: 4, patch: 4, positions: 'learnt' };
  const built = buildEncoder(encoder, [8, 8, 3]);
  initialise([built], Random.seeded(4));
  const tensors = new Map(
    weightsOf(built).map(({ key, variable }) => [
      key,
      { shape: variable.shape, values: variable.dataSync<'float32'>() },
    ]),
  );
  const sample = { modality: 'image', height: 8, width: 8, channels: 3 } as const;
  const parent = { state: { kind: 'pretrain', sample, classes: [], range: [0, 1], encoder } as ModelState, tensors };
  const positionsOf = (model: typeof built) =>
    weightsOf(model).find(({ key }) => key === 'encoder/positions/positions')!.variable;
  const larger = restored(buildEncoder(encoder, [16, 8, 3]), parent);
  expect(positionsOf(larger).shape).toEqual([9, 12]);
  const rows = [positionsOf(built), positionsOf(larger)].map((each) => each.arraySync() as number[][]);
  expect(rows[1]!.slice(0, 3)).toEqual(rows[0]!.slice(0, 3));
  larger.dispose();
  built.dispose();
});

/** Gradients of the mean of what comes out, weighed, by differences of what goes in. */
function expectGradient(compute: (x: tf.Tensor) => tf.Tensor, x: tf.Tensor): void {
  const weights = drawn(compute(x).shape, 9);
  const loss = (at: tf.Tensor): tf.Scalar => tf.sum(tf.mul(compute(at), weights));
  const found = tf.grad(loss)(x).dataSync();
  const [step, values] = [1e-2, x.dataSync()];
  for (let i = 0; i < x.size; i += Math.ceil(x.size / 12)) {
    const [above, below] = [step, -step].map((by) => {
      const moved = values.slice();
      moved[i]! += by;
      return loss(tf.tensor(moved, x.shape)).dataSync()[0]!;
    }) as [number, number];
    expect(Math.abs((above - below) / (2 * step) - found[i]!)).toBeLessThan(5e-3 * (1 + Math.abs(found[i]!)));
  }
}

describe('operations of tokens', () => {
  test('a layer normalisation', () => {
    const [scale, offset] = [drawn([6], 1), drawn([6], 2)] as [tf.Tensor1D, tf.Tensor1D];
    const x = drawn([2, 3, 6], 3);
    const rows = x.arraySync() as number[][][];
    const found = layerNorm(x, scale, offset).arraySync() as number[][][];
    const row = rows[1]![2]!;
    const mean = row.reduce((sum, value) => sum + value, 0) / 6;
    const deviation = Math.sqrt(row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / 6 + 1e-6);
    row.forEach((value, i) =>
      expect(found[1]![2]![i]).toBeCloseTo(
        ((value - mean) / deviation) * scale.dataSync()[i]! + offset.dataSync()[i]!,
        5,
      ),
    );
    expectGradient((each) => layerNorm(each, scale, offset), x);
    expectGradient((each) => layerNorm(x, each as tf.Tensor1D, offset), scale);
    expectGradient((each) => layerNorm(x, scale, each as tf.Tensor1D), offset);
  });

  test('GELU is x · Φ(x), not an approximation of it', () => {
    const found = gelu(tf.tensor1d([-3, -1, 0, 0.5, 2])).dataSync();
    const expected = [-0.00404969, -0.15865525, 0, 0.34573123, 1.9544997];
    expected.forEach((value, i) => expect(found[i]).toBeCloseTo(value, 6));
    expectGradient(gelu, drawn([2, 9], 4));
  });

  test('attention has gradients of queries, keys and values', () => {
    expectGradient((each) => attend(each as tf.Tensor3D, 3), drawn([2, 4, 18], 5));
  });
});

describe('stochastic depth', () => {
  const encoder = (stochasticDepth: number) => {
    const built = buildEncoder({ name: 'vit-tiny', width: 4, patch: 4, stochasticDepth }, [8, 8, 3]);
    initialise([built], Random.seeded(4));
    return built;
  };
  const x = () => tf.randomUniform<tf.Rank.R4>([16, 8, 8, 3], 0, 1, 'float32', 1);
  const featuresBy = (built: ReturnType<typeof encoder>, seed: number | undefined, training = true) =>
    tf.tidy(() =>
      withStepSeed(seed === undefined ? undefined : tf.tensor1d([seed, 7], 'int32'), () =>
        encode(built, x(), training).features.arraySync(),
      ),
    );

  test('draws by the step’s seed while learning, and nothing otherwise', () => {
    const [dropping, whole] = [encoder(0.9), encoder(0)];
    const judged = featuresBy(whole, undefined, false);
    expect(featuresBy(dropping, 1, false)).toEqual(judged);
    expect(featuresBy(dropping, undefined)).toEqual(judged);
    const first = featuresBy(dropping, 1);
    expect(featuresBy(dropping, 1)).toEqual(first);
    expect(featuresBy(dropping, 2)).not.toEqual(first);
    expect(first).not.toEqual(judged);
    expect(featuresBy(whole, 1)).toEqual(judged);
    dropping.dispose();
    whole.dispose();
  });

  test('the last block is left out as often as is said, the first never', () => {
    const { dropped } = transformerOf(Encoder.parse({ name: 'vit-small', stochasticDepth: 0.22 }))!;
    dropped.forEach((rate, i) => expect(rate).toBeCloseTo(0.02 * i, 9));
  });
});
