/** ONNX files run by a runtime that is not ours, and what tensors are compared by. */
import { Random } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import { InferenceSession, Tensor } from 'onnxruntime-web';
import { expect } from 'vitest';

/** Uniform in [0, 1), the same for one seed. */
export const uniform = (shape: number[], seed = 1): tf.Tensor => {
  const random = Random.seeded(seed, 'x');
  return tf.tensor(
    Float32Array.from({ length: shape.reduce((product, side) => product * side, 1) }, () => random.uniform()),
    shape,
  );
};

/** The outputs, by their names, that ONNX Runtime computes from an ONNX file's content. */
export async function byOnnx(content: Uint8Array, inputs: tf.Tensor[], names: string[]): Promise<tf.Tensor[]> {
  const session = await InferenceSession.create(content);
  expect(session.outputNames).toEqual(names);
  const results = await session.run(
    Object.fromEntries(
      session.inputNames.map((name, i) => [
        name,
        new Tensor('float32', inputs[i]!.dataSync() as Float32Array, inputs[i]!.shape),
      ]),
    ),
  );
  const outputs = names.map((name) => tf.tensor(results[name]!.data as Float32Array, [...results[name]!.dims]));
  await session.release();
  return outputs;
}

/** Of one shape, and nowhere further apart than `bar`. */
export const expectClose = (actual: tf.Tensor, expected: tf.Tensor, bar: number) => {
  expect(actual.shape).toEqual(expected.shape);
  expect(tf.max(tf.abs(tf.sub(actual, expected))).dataSync()[0]).toBeLessThan(bar);
  // Values that are all alike would hide what is wrong.
  expect(tf.moments(expected).variance.dataSync()[0]).toBeGreaterThan(1e-6);
};
