import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { floats } from './host-tensor.js';
import { Graph, type GraphNode } from './graph.js';
import { loadTensorFlow } from './load.js';

/** AttrValue: type 6, float32. */
const FLOAT = Uint8Array.of(0x30, 1);
/** AttrValue: shape 7 → dim 2 → size 1. */
const shapeOf = (...sides: number[]) =>
  Uint8Array.of(0x3a, 4 * sides.length, ...sides.flatMap((side) => [0x12, 2, 0x08, side]));
const placeholder = (name: string, ...shape: number[]): GraphNode => ({
  name,
  operation: 'Placeholder',
  inputs: [],
  attributes: { dtype: FLOAT, shape: shapeOf(...shape) },
});
const product = (a: string, b: string): GraphNode => ({
  name: `${a} by ${b}`.replaceAll(/\W/g, '_'),
  operation: 'MatMul',
  inputs: [a, b],
  attributes: {},
});

beforeAll(() => loadTensorFlow({ threads: 1 }));
let graph: Graph;
beforeEach(() => {
  graph = new Graph();
  for (const node of [placeholder('x', 2, 3), placeholder('y', 3, 4), placeholder('large', 100, 100)]) graph.add(node);
});
afterEach(() => {
  graph.close();
});

test('what an operation gives is known when it is added, and computed when it runs', async () => {
  expect(graph.add(product('x:0', 'y:0'))).toEqual([{ dtype: 1, shape: [2, 4] }]);
  const inputs = {
    x: floats(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]),
    y: floats(new Float32Array(12).fill(1), [3, 4]),
  };
  const expected = [floats(Float32Array.of(6, 6, 6, 6, 15, 15, 15, 15), [2, 4])];
  expect(graph.runSync(inputs, ['x_0_by_y_0:0'])).toEqual(expected);
  expect(await graph.run(inputs, ['x_0_by_y_0:0'])).toEqual(expected);
});

test('it grows after it has run', () => {
  const inputs = { x: floats(new Float32Array(6).fill(1), [2, 3]) };
  const neg = (name: string, input: string): GraphNode => ({ name, operation: 'Neg', inputs: [input], attributes: {} });
  graph.add(neg('minus', 'x:0'));
  expect(graph.runSync(inputs, ['minus:0'])[0]!.values).toEqual(new Float32Array(6).fill(-1));
  graph.add(neg('plus', 'minus:0'));
  expect(graph.runSync(inputs, ['plus:0'])[0]!.values).toEqual(new Float32Array(6).fill(1));
});

test('an operation takes a list, and may wait for another', () => {
  const dimension = { dtype: Uint8Array.of(0x30, 3), value: Uint8Array.of(0x42, 7, 0x08, 3, 0x12, 0, 0x3a, 1, 0) };
  graph.add({ name: 'axis', operation: 'Const', inputs: [], attributes: dimension });
  const joined = { name: 'joined', operation: 'ConcatV2', inputs: [['x:0', 'x:0'], 'axis:0', '^y'], attributes: {} };
  expect(graph.add(joined)).toEqual([{ dtype: 1, shape: [4, 3] }]);
});

test('a shape that is known only once it is computed is none', () => {
  expect(graph.add({ name: 'where', operation: 'Where', inputs: ['x:0'], attributes: {} })[0]!.shape).toBeNull();
});

test.each<[string, GraphNode, RegExp]>([
  ['does not fit its inputs', product('x:0', 'x:0'), /MatMul can't be part of the graph: Dimensions must be equal/],
  ['takes what there is not', product('x:0', 'z:0'), /expected inputs of x_0_by_z_0 from its graph, got z:0/],
  ['takes an output that there is not', product('x:0', 'y:1'), /got y:1/],
  ['is unknown', { name: 'a', operation: 'Multiply', inputs: ['x:0'], attributes: {} }, /Multiply can't be part/],
  ['has attributes that are none', { ...product('x:0', 'y:0'), attributes: { T: Uint8Array.of(255) } }, /MatMul can't/],
])('an operation that %s is refused, and the graph goes on', (_, node, message) => {
  expect(() => graph.add(node)).toThrow(message);
  expect(graph.add(product('large:0', 'large:0'))).toEqual([{ dtype: 1, shape: [100, 100] }]);
});

test('a closed graph takes nothing', () => {
  const closed = new Graph();
  closed.close();
  expect(() => closed.add(placeholder('x', 1))).toThrow(/expected a graph that is loaded/);
});
