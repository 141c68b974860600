/** Spectra of features, in double precision: by TensorFlow's kernels, off the event loop. */
import { DATA_TYPES, doubles, floats, Graph, type GraphNode, type HostTensor } from '#libs/tensorflow';
import { whole, type Pieces } from './export/protobuf.js';
import { node, placeholder } from './graph-def.js';

const DOUBLE = DATA_TYPES['float64']!;
const type = (dtype: number): Pieces => whole(6, dtype);
const truth = (value: boolean): Pieces => whole(5, Number(value));
const ofDoubles = { T: type(DOUBLE) };

const product = (name: string, a: string, b: string, { transposeA = false, transposeB = false } = {}) =>
  node(name, 'MatMul', [a, b], { ...ofDoubles, transpose_a: truth(transposeA), transpose_b: truth(transposeB) });
const eigen = (name: string, matrix: string, vectors: boolean) =>
  node(name, 'SelfAdjointEigV2', [matrix], { ...ofDoubles, compute_v: truth(vectors) });

/** What a graph of these nodes gives, computed once. */
async function computed(
  nodes: readonly GraphNode[],
  inputs: Readonly<Record<string, HostTensor>>,
  outputs: readonly string[],
): Promise<Float64Array[]> {
  const graph = new Graph();
  try {
    for (const each of nodes) graph.add(each);
    return (await graph.run(inputs, outputs)).map(({ values }) => values as Float64Array);
  } finally {
    graph.close();
  }
}

/**
 * Singular values of a matrix, rising, as many as its shorter side is long: roots of the eigenvalues of its product
 * with itself, which double precision keeps apart where single would not. x: [N, D], finite
 */
export async function singularValues(
  x: Float32Array,
  [count, width]: readonly [number, number],
): Promise<Float64Array> {
  const isTall = count >= width;
  const [values] = await computed(
    [
      placeholder('x', DATA_TYPES['float32']!, [count, width]),
      node('exact', 'Cast', ['x:0'], { SrcT: type(DATA_TYPES['float32']!), DstT: type(DOUBLE) }),
      product('gram', 'exact:0', 'exact:0', { transposeA: isTall, transposeB: !isTall }),
      eigen('eigen', 'gram:0', false),
    ],
    { x: floats(x, [count, width]) },
    ['eigen:0'],
  );
  return values!.map((value) => Math.sqrt(Math.max(0, value)));
}

/**
 * Eigenvalues of a symmetric matrix, rising, and its eigenvectors, each a column of [D, D]. matrix: [D, D], finite
 */
export async function symmetricEigen(
  matrix: Float64Array,
  width: number,
): Promise<{ values: Float64Array; vectors: Float64Array }> {
  const [values, vectors] = await computed(
    [placeholder('matrix', DOUBLE, [width, width]), eigen('eigen', 'matrix:0', true)],
    { matrix: doubles(matrix, [width, width]) },
    ['eigen:0', 'eigen:1'],
  );
  return { values: values!, vectors: vectors! };
}

/** a · b, or aᵀ · b (`transposeA`), of matrices of doubles. a: [N, D], b: [D, K]; or a: [N, D], b: [N, K] */
export async function productOf(a: HostTensor, b: HostTensor, { transposeA = false } = {}): Promise<Float64Array> {
  const [values] = await computed(
    [
      placeholder('a', DOUBLE, a.shape),
      placeholder('b', DOUBLE, b.shape),
      product('product', 'a:0', 'b:0', { transposeA }),
    ],
    { a, b },
    ['product:0'],
  );
  return values!;
}
