/** Checkpoints as TensorFlow itself writes them: by a graph of its operation SaveV2. */
import { Graph, type GraphNode } from '#libs/tensorflow';
import { constantNode, mark, node } from '../../libs/training/src/graph-def.js';
import { message, packed, text, whole } from '../../libs/training/src/export/protobuf.js';

const [FLOAT, STRING] = [1, 7];

/** A constant of texts: TensorProto has them in its field 8. */
const texts = (name: string, values: readonly string[], isList: boolean): GraphNode =>
  node(name, 'Const', [], {
    dtype: whole(6, STRING),
    value: message(8, [
      ...whole(1, STRING),
      ...message(2, isList ? message(2, whole(1, values.length)) : []),
      ...values.flatMap((each) => text(8, each)),
    ]),
  });

/** Writes `PREFIX.index` and `PREFIX.data-00000-of-00001`. */
export async function writeBundle(
  prefix: string,
  tensors: readonly { name: string; shape: number[]; values: Float32Array }[],
): Promise<void> {
  const sorted = tensors.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const names = sorted.map(({ name }) => name);
  const nodes = [
    texts('prefix', [prefix], false),
    texts('names', names, true),
    texts(
      'slices',
      names.map(() => ''),
      true,
    ),
    ...sorted.map(({ shape, values }, i) => constantNode(`tensor${i}`, FLOAT, shape, values)),
    node('save', 'SaveV2', ['prefix:0', 'names:0', 'slices:0', names.map((_, i) => `tensor${i}:0`)], {
      dtypes: message(
        1,
        packed(
          6,
          names.map(() => FLOAT),
        ),
      ),
    }),
    mark('saved', ['^save']),
  ];
  const graph = new Graph();
  try {
    for (const each of nodes) graph.add(each);
    await graph.run({}, ['saved:0']);
  } finally {
    graph.close();
  }
}
