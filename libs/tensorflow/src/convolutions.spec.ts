import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { Graph, filters, type GraphNode } from './graph.js';
import { floats } from './host-tensor.js';
import { loadTensorFlow } from './load.js';

beforeAll(() => loadTensorFlow({ threads: 2 }));

type Shape = [number, number, number, number];
interface Convolution {
  images: Shape;
  filter: Shape;
}

/** AttrValue: type 6, float32; shape 7 → dim 2 → size 1. */
const placeholder = (name: string, shape: Shape): GraphNode => {
  const sides = shape.map((side) => (side < 128 ? [side] : [(side & 127) | 128, side >> 7]));
  const bytes = sides.flatMap((side) => [0x12, side.length + 1, 0x08, ...side]);
  const attributes = { dtype: Uint8Array.of(0x30, 1), shape: Uint8Array.of(0x3a, bytes.length, ...bytes) };
  return { name, operation: 'Placeholder', inputs: [], attributes };
};
const size = (shape: Shape) => shape.reduce((product, side) => product * side);

/** Sums of products in their own order, in float64. */
function naive({ images, filter }: Convolution, x: Float32Array, f: Float32Array, dy: Float32Array) {
  const [count, height, width, channelsIn] = images;
  const channelsOut = filter[3];
  const y = new Float64Array(dy.length);
  const dx = new Float64Array(x.length);
  const df = new Float64Array(f.length);
  for (let place = 0; place < count * height * width; place++)
    for (let tap = 0; tap < 9; tap++) {
      const row = (Math.floor(place / width) % height) + Math.floor(tap / 3) - 1;
      const column = (place % width) + (tap % 3) - 1;
      if (row < 0 || row >= height || column < 0 || column >= width) continue;
      const from = (Math.floor(place / (height * width)) * height + row) * width + column;
      for (let c = 0; c < channelsIn; c++)
        for (let k = 0; k < channelsOut; k++) {
          const [to, of, at] = [
            place * channelsOut + k,
            from * channelsIn + c,
            (tap * channelsIn + c) * channelsOut + k,
          ];
          y[to]! += x[of]! * f[at]!;
          dx[of]! += dy[to]! * f[at]!;
          df[at]! += x[of]! * dy[to]!;
        }
    }
  return { y, dx, df };
}

/** Largest difference, in parts of the largest number. */
function difference(values: ArrayLike<number>, expected: Float64Array): number {
  let [most, largest] = [0, 0];
  expected.forEach((each, i) => {
    most = Math.max(most, Math.abs(values[i]! - each));
    largest = Math.max(largest, Math.abs(each));
  });
  return most / largest;
}

/** Numbers about zero. */
const drawn = (shape: Shape): Float32Array => Float32Array.from({ length: size(shape) }, (_, i) => Math.sin(i * i));

/** Gives, as base64, what the three give for images and channels: which threads and instructions do is a process's. */
const IN_A_PROCESS = `
  const sessions = require('@tensorflow/tfjs-node-gpu/lib/napi-v8/loom_session.node');
  const [images, channels, scale] = JSON.parse(process.argv[1]);
  const graph = sessions.create(new Uint8Array());
  const shapes = { x: images, f: [3, 3, images[3], channels], dy: [...images.slice(0, 3), channels] };
  const inputs = Object.entries(shapes).map(([name, shape]) => {
    sessions.add(graph, name, 'Placeholder', [], [['dtype', Uint8Array.of(0x30, 1)]]);
    const length = shape.reduce((product, side) => product * side);
    return [name, 1, shape, Float32Array.from({ length }, (_, i) => scale * Math.sin(i * i))];
  });
  const taken = { '': ['x:0', 'f:0'], InputGradient: ['dy:0', 'f:0'], FilterGradient: ['x:0', 'dy:0'] };
  const outputs = Object.entries(taken).map(([name, of]) => {
    sessions.add(graph, 'Loom' + name, 'LoomConvolution' + name, of, []);
    return 'Loom' + name + ':0';
  });
  console.log(JSON.stringify(sessions.run(graph, inputs, outputs, true).map(
    ({ values }) => Buffer.from(values.buffer).toString('base64'))));
`;
async function inAProcess(
  environment: NodeJS.ProcessEnv,
  images: Shape,
  channels: number,
  scale = 1,
): Promise<Float32Array[]> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['-e', IN_A_PROCESS, JSON.stringify([images, channels, scale])],
    { env: { ...process.env, ...environment }, maxBuffer: 2 ** 27 },
  );
  const encoded = JSON.parse(stdout.trim().split('\n').at(-1)!) as string[];
  return encoded.map((each) => new Float32Array(Uint8Array.from(Buffer.from(each, 'base64')).buffer));
}

const gradientShape = ({ images, filter }: Convolution): Shape => [images[0], images[1], images[2], filter[3]];
const OPERATIONS = ['LoomConvolution', 'LoomConvolutionInputGradient', 'LoomConvolutionFilterGradient'] as const;
const TAKEN = [
  ['x:0', 'f:0'],
  ['dy:0', 'f:0'],
  ['x:0', 'dy:0'],
] as const;

function graphOf(convolution: Convolution): Graph {
  const graph = new Graph();
  graph.add(placeholder('x', convolution.images));
  graph.add(placeholder('f', convolution.filter));
  graph.add(placeholder('dy', gradientShape(convolution)));
  return graph;
}

// Where none are, graphs have TensorFlow's own convolutions, which other tests see to.
describe.runIf(filtersHere())('convolutions by minimal filtering', () => {
  // Many tiles and few, of which either filters or tiles are kept; sides that tiles do not fill; panels of 32 channels
  // and of 16; more rows than fit registers.
  test.each<[string, Shape, number]>([
    ['many tiles', [6, 16, 16, 32], 32],
    ['many tiles, an odd number of sixteens', [5, 12, 13, 16], 48],
    ['few tiles', [4, 4, 4, 144], 160],
    ['sides that tiles do not fill', [3, 7, 9, 48], 16],
    ['one row of places', [40, 1, 4, 16], 16],
  ])('%s: as a sum of products', (_, images, channels) => {
    const convolution: Convolution = { images, filter: [3, 3, images[3], channels] };
    const values = [images, convolution.filter, gradientShape(convolution)].map(drawn);
    const [x, f, dy] = values as [Float32Array, Float32Array, Float32Array];
    const graph = graphOf(convolution);
    const shapes = OPERATIONS.map((operation, i) => {
      const [given] = graph.add({ name: operation, operation, inputs: TAKEN[i]!, attributes: {} });
      return given!.shape;
    });
    const inputs = {
      x: floats(x, images),
      f: floats(f, convolution.filter),
      dy: floats(dy, gradientShape(convolution)),
    };
    const outputs = OPERATIONS.map((operation) => `${operation}:0`);
    const given = graph.runSync(inputs, outputs);
    expect(shapes).toEqual(given.map(({ shape }) => shape));
    const expected = naive(convolution, x, f, dy);
    for (const [i, each] of [expected.y, expected.dx, expected.df].entries())
      expect(difference(given[i]!.values, each), OPERATIONS[i]).toBeLessThan(1e-5);
    // Whichever threads did which part.
    expect(graph.runSync(inputs, outputs)).toEqual(given);
    graph.close();
  });

  // Protects exact resume, on a machine with more cores than the one before.
  test.each<[string, Shape, number, number]>([
    ['many tiles', [20, 16, 16, 32], 32, 1],
    ['few tiles', [3, 4, 4, 96], 96, 1],
    // Products of which some are too small to be normal numbers: threads may be told to make zeros of these, or not.
    ['small numbers', [20, 16, 16, 32], 32, 3e-20],
  ])('%s: the number of threads changes no bit', async (_, images, channels, scale) => {
    const [one, three] = await Promise.all(
      ['1', '3'].map((threads) => inAProcess({ TF_NUM_INTRAOP_THREADS: threads }, images, channels, scale)),
    );
    expect(three).toEqual(one);
  });

  test.each<[string, Shape, number]>([
    ['many tiles', [6, 16, 16, 32], 48],
    ['few tiles', [4, 7, 9, 80], 96],
  ])('%s: as a sum of products, on a CPU that has AVX2 alone', async (_, images, channels) => {
    const convolution: Convolution = { images, filter: [3, 3, images[3], channels] };
    const given = await inAProcess({ ONEDNN_MAX_CPU_ISA: 'AVX2' }, images, channels);
    const expected = naive(convolution, drawn(images), drawn(convolution.filter), drawn(gradientShape(convolution)));
    for (const [i, each] of [expected.y, expected.dx, expected.df].entries())
      expect(difference(given[i]!, each), OPERATIONS[i]).toBeLessThan(1e-5);
  });

  test('no images: nothing comes out, and a filter has no gradient', () => {
    const convolution: Convolution = { images: [0, 8, 8, 16], filter: [3, 3, 16, 16] };
    const graph = new Graph();
    const empty = { dtype: Uint8Array.of(0x30, 1), shape: Uint8Array.of(0x3a, 2, 0x18, 1) };
    for (const name of ['x', 'f', 'dy']) graph.add({ name, operation: 'Placeholder', inputs: [], attributes: empty });
    for (const [i, operation] of OPERATIONS.entries())
      expect(graph.add({ name: operation, operation, inputs: TAKEN[i]!, attributes: {} })[0]!.shape).toBeNull();
    const given = graph.runSync(
      {
        x: floats(new Float32Array(0), convolution.images),
        f: floats(drawn(convolution.filter), convolution.filter),
        dy: floats(new Float32Array(0), gradientShape(convolution)),
      },
      OPERATIONS.map((operation) => `${operation}:0`),
    );
    expect(given.map(({ shape }) => shape)).toEqual([
      [0, 8, 8, 16],
      [0, 8, 8, 16],
      [3, 3, 16, 16],
    ]);
    expect(given[2]!.values).toEqual(new Float32Array(9 * 16 * 16));
    graph.close();
  });

  test.each<[string, Convolution]>([
    ['filters of another size', { images: [4, 8, 8, 16], filter: [5, 5, 16, 16] }],
    ['other channels than the images have', { images: [4, 8, 8, 16], filter: [3, 3, 32, 16] }],
    ['channels that are not by sixteens', { images: [4, 8, 8, 24], filter: [3, 3, 24, 16] }],
  ])('%s are refused', (_, convolution) => {
    const graph = graphOf(convolution);
    expect(() => graph.add({ name: 'y', operation: OPERATIONS[0], inputs: TAKEN[0], attributes: {} })).toThrow(
      /expected images: float and filter: float of a 3x3 convolution of channels by sixteens, got \[4, 8, 8, \d+\]/,
    );
    graph.close();
  });

  test('it is not worth while where tiles are mostly empty, tiles or channels few, or filters very many', () => {
    expect(filters(64, 8, 8, 32, 32)).toBe(true);
    expect(filters(64, 7, 7, 512, 512)).toBe(true);
    expect(filters(64, 1, 1, 32, 32)).toBe(false);
    expect(filters(64, 2, 2, 32, 32)).toBe(false);
    expect(filters(1, 4, 4, 512, 512)).toBe(false);
    expect(filters(64, 8, 8, 2048, 2048)).toBe(false);
    expect(filters(64, 8, 8, 16, 16)).toBe(false);
    expect(filters(64, 8, 8, 3, 32)).toBe(false);
  });
});

/** Whether this machine's CPU can. */
function filtersHere(): boolean {
  return readFileSync('/proc/cpuinfo', 'utf8').includes(' avx2 ');
}
