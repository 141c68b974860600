/** Where the time of a step goes, by TensorFlow operation. */
import * as tf from '@tensorflow/tfjs-core';

type Execute = (name: string, attributes: unknown[], inputs: tf.Tensor[], outputs?: number) => tf.Tensor | tf.Tensor[];
interface Call {
  name: string;
  ms: number;
  multiplications: number;
}

/**
 * Multiply-adds of a convolution or one of its gradients: each output of the forward one is a sum over a window of all
 * channels.
 */
function multiplicationsOf(name: string, inputs: tf.Tensor[], output: tf.Tensor): number {
  const operands: Record<string, [places: tf.Tensor | undefined, filter: tf.Tensor | undefined]> = {
    Conv2D: [output, inputs[1]],
    Conv2DBackpropInput: [inputs[2], inputs[1]],
    Conv2DBackpropFilter: [inputs[2], output],
  };
  const [places, filter] = operands[name] ?? [];
  if (!places || !filter) return 0;
  const [height, width, channels] = filter.shape as [number, number, number];
  return places.size * height * width * channels;
}

/**
 * Least time of each operation over `steps` runs of `step`, which has to call the same operations each time; prints
 * them by name.
 */
export function printProfile(title: string, step: () => void, steps: number): void {
  const backend = tf.backend() as unknown as Record<'executeSingleOutput' | 'executeMultipleOutputs', Execute>;
  const originals = {
    executeSingleOutput: backend.executeSingleOutput,
    executeMultipleOutputs: backend.executeMultipleOutputs,
  };
  let calls: Call[] = [];
  for (const [key, execute] of Object.entries(originals)) {
    backend[key as keyof typeof originals] = function timed(this: unknown, name, attributes, inputs, outputs) {
      const started = performance.now();
      const result = execute.call(this, name, attributes, inputs, outputs);
      calls.push({
        name,
        ms: performance.now() - started,
        multiplications: multiplicationsOf(name, inputs, [result].flat()[0]!),
      });
      return result;
    };
  }
  let best: Call[] | undefined;
  let whole = Infinity;
  try {
    for (let i = 0; i < steps; i++) {
      calls = [];
      const started = performance.now();
      step();
      whole = Math.min(whole, performance.now() - started);
      best = best?.map((call, place) => ({ ...call, ms: Math.min(call.ms, calls[place]!.ms) })) ?? calls;
    }
  } finally {
    Object.assign(backend, originals);
  }
  const byName = Map.groupBy(best ?? [], ({ name }) => name);
  const rows = [...byName]
    .map(([name, group]) => ({
      name,
      count: group.length,
      ms: sum(group, 'ms'),
      multiplications: sum(group, 'multiplications'),
    }))
    .sort((a, b) => b.ms - a.ms);
  const total = sum(rows, 'ms');
  const peak = matrixRate();
  console.log(
    `\n${title}: ${whole.toFixed(1)} ms the fastest step, ${total.toFixed(1)} ms its operations, each at its ` +
      `fastest; matMul of 2048 x 2048 runs at ${peak.toFixed(0)} GFLOP/s\n`,
  );
  console.log('| operation | calls | ms | share | GFLOP/s |\n|---|---|---|---|---|');
  const line = (name: string, count: number, ms: number, multiplications: number) =>
    console.log(
      `| ${name} | ${count} | ${ms.toFixed(1)} | ${((100 * ms) / total).toFixed(1)} % | ` +
        `${multiplications ? ((2 * multiplications) / ms / 1e6).toFixed(0) : ''} |`,
    );
  for (const { name, count, ms, multiplications } of rows.slice(0, 9)) line(name, count, ms, multiplications);
  const rest = rows.slice(9);
  line('all else', sum(rest, 'count'), sum(rest, 'ms'), 0);
  const convolutions = rows.filter(({ multiplications }) => multiplications > 0);
  line(
    '**convolutions together**',
    sum(convolutions, 'count'),
    sum(convolutions, 'ms'),
    sum(convolutions, 'multiplications'),
  );
  console.log('');
}

const sum = <Key extends string>(rows: readonly Record<Key, number>[], key: Key): number =>
  rows.reduce((total, row) => total + row[key], 0);

/** What this machine's matrix product reaches, in GFLOP/s: the bar for a convolution. */
function matrixRate(): number {
  const side = 2048;
  return tf.tidy(() => {
    const [a, b] = [tf.randomUniform([side, side]), tf.randomUniform([side, side])];
    let best = Infinity;
    for (let i = 0; i < 10; i++) {
      const started = performance.now();
      tf.matMul(a, b).dispose();
      best = Math.min(best, performance.now() - started);
    }
    return (2 * side ** 3) / best / 1e6;
  });
}
