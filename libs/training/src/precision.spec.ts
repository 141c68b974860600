/** Steps in bfloat16: what is in it, what stays in float32, and where there are none. */
import type { Precision, RunSpec } from '#libs/contracts';
import { Random } from '#libs/data';
import { backend, lackOfBfloat16, processor } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test, type TestContext } from 'vitest';
import type { z } from 'zod';
import {
  curvesOf,
  expectSameModel,
  run,
  specs,
  useTinyDataset,
  type Outcome,
} from '../../../tests/support/training-runs.js';
import { readTensors } from './checkpoint.js';
import { CompiledStep } from './compiled-step.js';
import { exactProduct, inFloat32, sealed } from './precision.js';

useTinyDataset();
let lack: string | undefined;
beforeAll(() => {
  lack = lackOfBfloat16(processor());
});

/** Without such a processor TensorFlow may leave a graph as it is. */
const needsBfloat16 = (context: TestContext) => {
  if (lack !== undefined) context.skip(`this needs bfloat16, and here is ${lack}`);
};

type Spec = z.input<typeof RunSpec>;
const inBfloat16 = (spec: Spec | undefined) => ({ ...spec, precision: 'bfloat16' }) as Spec;
const lossesOf = ({ points }: Outcome) => points.filter(({ key }) => key === 'train/loss').map(({ value }) => value);

/** Of float32 a number has 24 significant bits, of bfloat16 8: the last 16 of its 32 are 0. */
const bitsBeyond = (values: Float32Array): number =>
  new Uint32Array(values.buffer, values.byteOffset, values.length).reduce((n, bits) => n + Number(bits % 65536 > 0), 0);

describe('a graph in bfloat16', () => {
  const random = Random.seeded(3, 'precision');
  const drawn = (shape: number[]) =>
    tf.tensor(
      Float32Array.from({ length: shape.reduce((product, side) => product * side, 1) }, () => random.normal(0, 1)),
      shape,
    );
  /** What a step gives, by the order of the alphabet, in each precision. */
  const both = (step: (inputs: tf.Tensor[]) => tf.Tensor, inputs: tf.Tensor[]) =>
    Promise.all(
      (['float32', 'bfloat16'] as Precision[]).map(async (precision) => {
        const compiled = new CompiledStep((given) => ({ result: step(given) }), [], precision);
        const { values } = await compiled.compute(
          inputs.map((input) => ({ dtype: 'float32', shape: input.shape, values: input.dataSync() as Float32Array })),
        );
        compiled.dispose();
        return values as Float32Array;
      }),
    ) as Promise<[Float32Array, Float32Array]>;
  const apart = ([a, b]: [Float32Array, Float32Array]) => {
    const most = Math.max(...a.map(Math.abs));
    return Math.max(...a.map((value, i) => Math.abs(value - b[i]!))) / most;
  };

  test('has products with the bits of bfloat16, and what comes of them in float32', async (context) => {
    needsBfloat16(context);
    const inputs = [drawn([24, 32]), drawn([32, 16])];
    // The pass leaves alone what a graph gives itself.
    const product = ([a, b]: tf.Tensor[]) => tf.mul(tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D), 1);
    const [exact, rounded] = await both(product, inputs);
    expect([bitsBeyond(exact) > 0.9 * exact.length, bitsBeyond(rounded)]).toEqual([true, 0]);
    expect(apart([exact, rounded])).toBeGreaterThan(1e-4);
    expect(apart([exact, rounded])).toBeLessThan(1e-2);
    // Softmax, the logarithm of its sum, means and roots.
    const after = await both((given) => tf.logSoftmax(product(given)), inputs);
    expect(bitsBeyond(after[1])).toBeGreaterThan(0.9 * after[1].length);
    const { mean, root } = { mean: (x: tf.Tensor) => tf.mean(x, 1), root: (x: tf.Tensor) => tf.sqrt(tf.abs(x)) };
    for (const operation of [mean, root]) {
      const [, values] = await both((given) => operation(product(given)), inputs);
      expect(bitsBeyond(values)).toBeGreaterThan(0.9 * values.length);
    }
    tf.dispose(inputs);
  });

  test.each<[string, number[][], (inputs: tf.Tensor[]) => tf.Tensor]>([
    [
      'products of losses',
      [
        [24, 32],
        [16, 32],
      ],
      ([a, b]) => tf.mul(exactProduct(a as tf.Tensor2D, b as tf.Tensor2D, false, true), 1),
    ],
    [
      'products of many',
      [
        [3, 8, 9],
        [3, 9, 5],
      ],
      ([a, b]) =>
        tf.mul(
          inFloat32(() => tf.matMul(a as tf.Tensor3D, b as tf.Tensor3D)),
          1,
        ),
    ],
    [
      'convolutions',
      [
        [2, 8, 8, 3],
        [3, 3, 3, 4],
      ],
      ([a, b]) =>
        tf.mul(
          inFloat32(() => tf.conv2d(a as tf.Tensor4D, b as tf.Tensor4D, 1, 'same')),
          1,
        ),
    ],
    [
      'convolutions by channels',
      [
        [2, 8, 8, 3],
        [3, 3, 3, 1],
      ],
      ([a, b]) =>
        tf.mul(
          inFloat32(() => tf.depthwiseConv2d(a as tf.Tensor4D, b as tf.Tensor4D, 1, 'valid')),
          1,
        ),
    ],
  ])('has %s in float32 where they are to be, bit for bit', async (_, shapes, step) => {
    const inputs = shapes.map(drawn);
    const [exact, found] = await both(step, inputs);
    expect(found).toEqual(exact);
    tf.dispose(inputs);
  });

  // Protects what an autoencoder reproduces: the samples, which its first layer reads too.
  test('has what is sealed in float32 for all that read it', async (context) => {
    needsBfloat16(context);
    const inputs = [drawn([6, 4, 4]), drawn([16, 5])];
    const step =
      (seal: (x: tf.Tensor) => tf.Tensor) =>
      ([x, weights]: tf.Tensor[]) => {
        const seen = seal(tf.reshape(x!, [6, 16]));
        const product = tf.matMul(seen, weights as tf.Tensor2D);
        return tf.add(tf.transpose(seen), tf.mul(tf.mean(product), 0));
      };
    const [exact, found] = await both(step(sealed), inputs);
    expect(found).toEqual(exact);
    const [, open] = await both(
      step((x) => x),
      inputs,
    );
    expect(open).not.toEqual(exact);
    tf.dispose(inputs);
  });
});

describe('a run in bfloat16', () => {
  const tuned = (optimizer: object) =>
    ({
      ...specs['finetune'],
      steps: 4,
      optimizer,
      ema: { decay: 0.5 },
      // After one step a velocity is a gradient, which is a product.
      checkpoints: { everySteps: 2, keepLast: 10 },
    }) as Spec;
  const refused = (spec: Spec) =>
    expect(run(spec)).rejects.toMatchObject({
      reason: 'invalid_spec',
      message: expect.stringMatching(/^expected a CPU that multiplies in bfloat16, got a .*: leave/) as string,
    });

  test('is refused on a GPU, and on a CPU without', async () => {
    const here = backend();
    const { isUsingGpuDevice } = here;
    here.isUsingGpuDevice = true;
    try {
      await refused(inBfloat16(specs['finetune']));
      // Nothing else of it is.
      expect((await run({ ...specs['finetune'], steps: 1, precision: 'float32' } as Spec)).metrics).not.toEqual({});
    } finally {
      here.isUsingGpuDevice = isUsingGpuDevice;
    }
    if (lack !== undefined) await refused(inBfloat16(specs['finetune']));
  });

  test.each<[string, Spec]>([
    ['finetuning by SGD', tuned({ name: 'sgd', learningRate: 0.02 })],
    ['pretraining', { ...specs['pretrain'], epochs: 1 } as Spec],
    ['autoencoder', { ...specs['autoencode'], epochs: 1 } as Spec],
    ['transformer', { ...specs['finetune'], encoder: { name: 'vit-tiny', width: 4, patch: 4 }, steps: 3 } as Spec],
  ])(
    '%s learns near to float32, with weights and what is remembered in float32',
    async (_, spec) => {
      if (lack !== undefined) return refused(inBfloat16(spec));
      const [exact, rounded] = [await run(spec), await run(inBfloat16(spec))];
      const [losses, others] = [lossesOf(exact), lossesOf(rounded)];
      expect(losses.length).toBeGreaterThan(2);
      expect(others).not.toEqual(losses);
      losses.forEach((loss, i) => expect(Math.abs(others[i]! - loss)).toBeLessThan(2e-2 * Math.abs(loss)));
      for (const file of [...rounded.all].filter(([name]) => name.endsWith('.safetensors')).map(([, at]) => at))
        for (const [key, { values }] of (await readTensors(file)).tensors)
          if (new Set(values).size > 8)
            expect(bitsBeyond(values), key).toBeGreaterThan(0.5 * values.filter((value) => value !== 0).length);
    },
    60_000,
  );

  test('stopped and resumed is that of an uninterrupted one, leaves no tensor, and says what it is in', async () => {
    const spec = inBfloat16(tuned({ name: 'sgd', learningRate: 0.02 }));
    if (lack !== undefined) return refused(spec);
    const whole = await run(spec);
    expect(whole.lines).toContain('info: networks multiply in bfloat16 while they learn, all else is in float32');
    const before = tf.memory().numTensors;
    const first = await run(spec, { stopAt: 2 });
    const second = await run(spec, { checkpoint: first.files.get('checkpoint')! });
    expect(tf.memory().numTensors).toBe(before);
    await expectSameModel(second, whole);
    expect(curvesOf(first, second)).toEqual(curvesOf(whole));
  }, 60_000);
});
