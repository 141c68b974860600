import { Optimizer as OptimizerSpec } from '#libs/contracts';
import { Random } from '#libs/data';
import { float, floats, floatsOfBytes, kernel, loadTensorFlow, sumOf, typeAttribute } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { CompiledStep, type Scalars } from './compiled-step.js';
import { buildEncoder, encode } from './networks/encoder.js';
import { buildClassifier } from './networks/heads.js';
import { forward, initialise, weightsOf } from './networks/weights.js';
import { accuracyOf, crossEntropy } from './objectives.js';
import { createOptimizer } from './optimizers.js';

beforeAll(async () => {
  // As TensorFlow decides by itself on a CPU without AVX-512.
  process.env['TF_ENABLE_ONEDNN_OPTS'] = '0';
  await loadTensorFlow({ threads: 1 });
});

/** A network that classifies, its step, and what a step takes. */
function classification(seed: number) {
  const random = Random.seeded(seed, 'compiled step');
  const encoder = buildEncoder({ name: 'small-resnet', width: 8 }, [16, 16, 3]);
  const classifier = buildClassifier(32, 3);
  const models = [encoder, classifier];
  initialise(models, Random.seeded(0, 'weights'));
  const weights = weightsOf(...models);
  const trainable = weights.filter((weight) => weight.trainable);
  const optimizer = createOptimizer(OptimizerSpec.parse({ name: 'adam', weightDecay: 0.01 }), trainable);
  const state = [...weights, ...optimizer.slots()].map(({ variable }) => variable);
  const step = ([views, labels, ...rates]: tf.Tensor[]): Scalars => {
    const logits = (training: boolean) =>
      forward<tf.Tensor2D>(classifier, encode(encoder, views as tf.Tensor4D, training).features, training);
    const variables = trainable.map(({ variable }) => variable);
    const { value, grads } = tf.variableGrads(() => crossEntropy(logits(true), labels as tf.Tensor1D), variables);
    optimizer.apply(
      variables.map((variable) => grads[variable.name]!),
      rates as tf.Scalar[],
    );
    return { loss: value, accuracy: accuracyOf(logits(false), labels as tf.Tensor1D) };
  };
  const inputs = (at: number) => [
    tf.tensor4d(
      Float32Array.from({ length: 12 * 16 * 16 * 3 }, () => random.uniform()),
      [12, 16, 16, 3],
    ),
    tf.tensor1d(
      Int32Array.from({ length: 12 }, () => random.integer(0, 3)),
      'int32',
    ),
    ...optimizer.rates(0.01, at).map((rate) => tf.scalar(rate)),
  ];
  return {
    state,
    step,
    inputs,
    dispose: () => {
      optimizer.dispose();
      for (const model of models) model.dispose();
    },
  };
}

// Protects exact resume: which input a sum begins with must not depend on what other threads still read.
test.each([
  ['added in turns', (a: tf.Tensor, b: tf.Tensor, c: tf.Tensor) => tf.add(tf.add(a, b), c)],
  ['a sum of all', (...all: tf.Tensor[]) => sumOf(all)],
])('three tensors, %s, are added in their order', (_, total) => {
  const [a, b, c] = [2 ** 25, -(2 ** 25), 1].map((value) => tf.fill([3], value)) as [tf.Tensor, tf.Tensor, tf.Tensor];
  // Only the last is a result of the graph, into which a sum could be written; shapes are given, as sums are of one.
  const graph = new CompiledStep((inputs) => {
    const [x, y, z] = inputs.map((input) => tf.reshape(input, [3])) as [tf.Tensor, tf.Tensor, tf.Tensor];
    return { loss: tf.mean(total(x, y, tf.relu(z))) };
  }, []);
  expect(graph.run([a, b, c])).toEqual({ loss: 1 });
  graph.dispose();
  tf.dispose([a, b, c]);
});

test('steps run as a graph do what their operations do one by one', () => {
  const [plain, compiled] = [classification(1), classification(1)];
  const graph = new CompiledStep(compiled.step, compiled.state);
  for (let i = 0; i < 5; i++) {
    const expected = tf.tidy(() => {
      const { loss, accuracy } = plain.step(plain.inputs(i));
      return [loss!.dataSync()[0]!, accuracy!.dataSync()[0]!];
    });
    const { loss, accuracy } = tf.tidy(() => graph.run(compiled.inputs(i)));
    expect(Math.abs(loss! - expected[0]!)).toBeLessThan(2e-5);
    expect(accuracy).toBe(expected[1]);
  }
  graph.settle();
  compiled.state.forEach((variable, i) => {
    const [found, expected] = [variable.dataSync(), plain.state[i]!.dataSync()];
    expect(Math.max(...found.map((value, j) => Math.abs(value - expected[j]!)))).toBeLessThan(2e-4);
  });
  for (const each of [graph, plain, compiled]) each.dispose();
});

test('recording a step computes nothing of it', () => {
  const count = tf.variable(tf.scalar(0));
  let product: tf.Tensor | undefined;
  const graph = new CompiledStep(
    ([by]) => {
      count.assign(tf.add(count, by as tf.Scalar));
      // A terabyte, of which the graph takes no part.
      product = tf.matMul(tf.fill([500_000, 2], 1), tf.fill([2, 500_000], 1));
      return { count: tf.mul(count, 1) };
    },
    [count],
  );
  expect(tf.tidy(() => graph.run([tf.scalar(1)]))).toEqual({ count: 1 });
  expect(product!.shape).toEqual([500_000, 500_000]);
  graph.dispose();
  count.dispose();
});

test('a step leaves no tensor behind', () => {
  const { state, step, inputs, dispose } = classification(2);
  const graph = new CompiledStep(step, state);
  const before = tf.memory().numTensors;
  for (let i = 0; i < 3; i++) {
    tf.tidy(() => {
      graph.run(inputs(i));
    });
    expect(tf.memory().numTensors).toBe(before);
    graph.settle();
    expect(tf.memory().numTensors).toBe(before);
  }
  graph.dispose();
  dispose();
});

describe('the state', () => {
  const counting = () => {
    const count = tf.variable(tf.scalar(0));
    const graph = new CompiledStep(
      ([by]) => {
        count.assign(tf.add(count, by as tf.Scalar));
        return { count: tf.mul(count, 1) };
      },
      [count],
    );
    return {
      count,
      graph,
      run: () => tf.tidy(() => graph.run([tf.scalar(1)])['count']),
      dispose: () => {
        graph.dispose();
        count.dispose();
      },
    };
  };

  test('is brought up to date when that is asked for, and goes on from what it was given since', () => {
    const { count, graph, run, dispose } = counting();
    expect([run(), run()]).toEqual([1, 2]);
    graph.settle();
    expect(count.dataSync()[0]).toBe(2);
    expect(run()).toBe(3);
    graph.settle();
    // As a checkpoint is restored.
    tf.tidy(() => {
      count.assign(tf.scalar(10));
    });
    expect([run(), run()]).toEqual([11, 12]);
    graph.settle();
    graph.settle();
    expect(count.dataSync()[0]).toBe(12);
    dispose();
  });

  test('is not lost where it is assigned between two steps', () => {
    const { count, graph, run, dispose } = counting();
    run();
    tf.tidy(() => {
      count.assign(tf.scalar(10));
    });
    expect(run).toThrow(/after settle/);
    graph.settle();
    expect([count.dataSync()[0], run()]).toEqual([1, 2]);
    dispose();
  });

  test('of two graphs is their own', () => {
    const [one, other] = [counting(), counting()];
    expect([one.run(), one.run(), other.run()]).toEqual([1, 2, 1]);
    for (const each of [one, other]) each.dispose();
  });

  test('that a kernel works on in place is read before by all that read it', () => {
    const random = Random.seeded(0, 'in place');
    const weight = tf.variable(tf.tensor1d(Float32Array.from({ length: 100_000 }, () => random.uniform())));
    const optimizer = createOptimizer(OptimizerSpec.parse({ name: 'adam' }), [
      { key: 'weight', variable: weight, trainable: true },
    ]);
    const graph = new CompiledStep(
      ([gradient, ...rates]) => {
        const before = tf.sum<tf.Scalar>(weight);
        const start = tf.clone(weight);
        optimizer.apply([gradient!], rates as tf.Scalar[]);
        return { before, moved: tf.max<tf.Scalar>(tf.abs(tf.sub(weight, start))), after: tf.sum<tf.Scalar>(weight) };
      },
      [weight, ...optimizer.slots().map(({ variable }) => variable)],
    );
    let sum = tf.tidy(() => tf.sum(weight).dataSync()[0]!);
    for (let step = 0; step < 5; step++) {
      const { before, moved, after } = tf.tidy(() =>
        graph.run([tf.onesLike(weight), ...optimizer.rates(0.1, step).map((rate) => tf.scalar(rate))]),
      );
      expect(before).toBeCloseTo(sum, 0);
      // Equal gradients move Adam by the learning rate each time.
      expect(moved).toBeCloseTo(0.1, 4);
      expect(after! / sum).toBeCloseTo((sum - 10_000) / sum, 3);
      sum = after!;
    }
    graph.dispose();
    optimizer.dispose();
    weight.dispose();
  });
});

test('a kernel that works on state in place, in a step that does not assign it, is refused', () => {
  const weight = tf.variable(tf.tensor1d([3, 4]));
  const graph = new CompiledStep(
    ([x]) => {
      const dtype = typeAttribute('TF_FLOAT');
      const [handle] = kernel(
        'VarHandleOp',
        {
          container: { type: 'string', value: '' },
          shared_name: { type: 'string', value: 'copy' },
          dtype,
          shape: { type: 'shape', value: [2] },
        },
        [],
      ) as [tf.Tensor];
      kernel('AssignVariableOp', { dtype }, [handle, weight], 0);
      kernel('AssignAddVariableOp', { dtype }, [handle, x!], 0);
      const [sum] = kernel('ReadVariableOp', { dtype }, [handle]) as [tf.Tensor];
      kernel('DestroyResourceOp', { ignore_lookup_error: { type: 'bool', value: false } }, [handle], 0);
      return { sum: tf.sum<tf.Scalar>(sum) };
    },
    [weight],
  );
  expect(() => {
    tf.tidy(() => {
      graph.run([tf.tensor1d([1, 1])]);
    });
  }).toThrow(/leaves it as it was/);
  expect([...weight.dataSync()]).toEqual([3, 4]);
  weight.dispose();
});

describe('what is no graph is refused, and nothing is changed', () => {
  const elsewhere = () => tf.tensor1d([1, 2]);
  const cases: [string, (x: tf.Tensor1D, weight: tf.Variable, other: tf.Tensor1D) => tf.Tensor, RegExp][] = [
    ['a step that reads a value', (x, weight) => tf.mul(weight, tf.sum(x).dataSync()[0]!), /reads a value/],
    [
      'a step that makes something else each time',
      (() => {
        let calls = 0;
        return (x, weight) => tf.add(tf.mul(weight, x), ++calls);
      })(),
      /other constants/,
    ],
    [
      'a step that takes a tensor from elsewhere',
      (x, weight, other) => tf.add(tf.mul(weight, x), other),
      /from elsewhere/,
    ],
    [
      'a step of an operation whose shape is known only once it has run',
      (x) => tf.cast(kernel('Where', float(), [x])[0]!, 'float32'),
      /shapes are known before they run, got Where/,
    ],
  ];
  test.each(cases)('%s', (_, compute, message) => {
    const weight = tf.variable(tf.tensor1d([3, 4]));
    const other = elsewhere();
    // Made known to TensorFlow before the step.
    tf.tidy(() => {
      tf.add(other, 1).dataSync();
    });
    const graph = new CompiledStep(
      ([x]) => {
        weight.assign(compute(x as tf.Tensor1D, weight, other) as tf.Tensor1D);
        return { sum: tf.sum<tf.Scalar>(weight) };
      },
      [weight],
    );
    const before = tf.memory().numTensors;
    expect(() => {
      tf.tidy(() => {
        graph.run([tf.tensor1d([1, 1])]);
      });
    }).toThrow(message);
    expect([...weight.dataSync()]).toEqual([3, 4]);
    expect(tf.memory().numTensors).toBe(before);
    tf.dispose([weight, other]);
  });

  test('inputs of another shape', () => {
    const weight = tf.variable(tf.tensor1d([3, 4]));
    const graph = new CompiledStep(
      ([x]) => {
        weight.assign(tf.add(weight, x!));
        return { sum: tf.sum<tf.Scalar>(weight) };
      },
      [weight],
    );
    expect(tf.tidy(() => graph.run([tf.tensor1d([1, 1])]))).toEqual({ sum: 9 });
    expect(tf.tidy(() => graph.run([tf.tensor1d([2, 1])]))).toEqual({ sum: 12 });
    expect(() => {
      tf.tidy(() => {
        graph.run([tf.scalar(1)]);
      });
    }).toThrow(/inputs as in the first step/);
    graph.settle();
    expect([...weight.dataSync()]).toEqual([6, 6]);
    graph.dispose();
    weight.dispose();
  });
});

describe('a step that is computed off the event loop', () => {
  /** Products of large matrices, and how often it was done. */
  const slow = () => {
    const count = tf.variable(tf.scalar(0));
    const graph = new CompiledStep(
      ([bytes, by]) => {
        count.assign(tf.add(count, by as tf.Scalar));
        const x = tf.reshape(floatsOfBytes(bytes!), [400, 400]);
        return { sum: tf.sum<tf.Scalar>(tf.matMul(tf.matMul(x, x), x)), count: tf.mul(count, 1) };
      },
      [count],
    );
    const ones = { dtype: 'uint8' as const, shape: [400 * 400], values: new Uint8Array(400 * 400).fill(1) };
    return { count, graph, inputs: [ones, floats(Float32Array.of(1), [])] };
  };

  test('gives the same, while the event loop turns', async () => {
    const { count, graph, inputs } = slow();
    const before = tf.memory().numTensors;
    expect(await graph.start(inputs)).toEqual({ sum: 400 ** 4, count: 1 });
    let turns = 0;
    const turning = setImmediate(function turn() {
      turns++;
      again = setImmediate(turn);
    });
    let again = turning;
    expect(await graph.start(inputs)).toEqual({ sum: 400 ** 4, count: 2 });
    clearImmediate(again);
    expect(turns).toBeGreaterThan(0);
    expect(graph.run(inputs)).toEqual({ sum: 400 ** 4, count: 3 });
    graph.settle();
    expect(count.dataSync()[0]).toBe(3);
    expect(tf.memory().numTensors).toBe(before);
    graph.dispose();
    count.dispose();
  });

  test('is the only one, and its state waits for it', async () => {
    const { count, graph, inputs } = slow();
    const running = graph.start(inputs);
    expect(() => graph.run(inputs)).toThrow('one step after the other');
    expect(() => graph.settle()).toThrow('a step that is done');
    expect(() => graph.dispose()).toThrow('not running');
    expect((await running)['count']).toBe(1);
    expect((await graph.start(inputs))['count']).toBe(2);
    graph.dispose();
    count.dispose();
  });

  test('says what is wrong with its inputs, and computes the next one', async () => {
    const { count, graph, inputs } = slow();
    await graph.start(inputs);
    const short = { dtype: 'uint8' as const, shape: [400 * 400], values: new Uint8Array(3) };
    await expect(graph.start([short, inputs[1]!])).rejects.toThrow('expected 160000 bytes for input0, got 3');
    expect((await graph.start(inputs))['count']).toBe(2);
    graph.dispose();
    count.dispose();
  });
});
