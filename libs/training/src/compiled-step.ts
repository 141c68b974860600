/**
 * A step of training as one TensorFlow graph: its operations are recorded once, and then run with no JavaScript between
 * them.
 */
import { float as floatAttribute, kernel, usesGpu } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { bytes, float, message, packed, text, whole, type Pieces } from './export/protobuf.js';

/** What a step computes beside its changes of the state. */
export type Scalars = Record<string, tf.Scalar>;

interface Attribute {
  name: string;
  type: number;
  value: AttributeValue | AttributeValue[];
}
type AttributeValue = string | number | boolean;
interface Handle {
  id: number;
  shape: number[];
  dtype: number;
}
/** tfjs-node's native part; tensors are ids there. */
interface Binding extends Record<`TF_ATTR_${'STRING' | 'INT' | 'FLOAT' | 'BOOL' | 'TYPE' | 'SHAPE'}`, number> {
  executeOp(name: string, attributes: Attribute[], inputs: number[], outputs: number): Handle[];
  createTensor(shape: number[], dtype: number, values: tf.TypedArray): number;
  tensorDataSync(id: number): tf.TypedArray;
  loadSavedModel(folder: string, tags: string): number;
  deleteSavedModel(id: number): void;
  runSavedModel(id: number, inputs: number[], inputNames: string, outputNames: string): Handle[];
}
interface NativeBackend {
  binding: Binding;
  getInputTensorIds(tensors: tf.Tensor[]): number[];
  createOutputTensor(handle: Handle): tf.Tensor;
}
const backend = () => tf.backend() as unknown as NativeBackend;
const idsOf = (tensors: readonly tf.Tensor[]): number[] => backend().getInputTensorIds([...tensors]);
const idOf = (tensor: tf.Tensor): number => idsOf([tensor])[0]!;

/** types.proto */
const DATA_TYPES: Record<string, number> = { float32: 1, int32: 3, bool: 10 };
const RESOURCE = 20;
/** Which TensorFlow a graph is for, as TF_GRAPH_DEF_VERSION in its version.h; newer ones read it too. */
const GRAPH_VERSION = 1882;
const TAG = 'train';
/** What a graph gives when it has taken its state's values, and when a step has changed all that it changes. */
const [TAKEN, CHANGED] = ['taken', 'changed'];
/** What is fed where only values are fetched: TensorFlow's binding runs no graph without an input. */
const UNUSED = 'unused';

/** NodeDef: name 1, op 2, input 3, attr 5 (a map: key 1, value 2). */
const node = (
  name: string,
  operation: string,
  inputs: readonly string[],
  attributes: Readonly<Record<string, Pieces>>,
): Pieces =>
  message(1, [
    ...text(1, name),
    ...text(2, operation),
    ...inputs.flatMap((input) => text(3, input)),
    ...Object.entries(attributes).flatMap(([key, value]) => message(5, [...text(1, key), ...message(2, value)])),
  ]);
/** TensorShapeProto: dim 2 → size 1. */
const shapeOf = (shape: readonly number[]): Pieces => shape.flatMap((side) => message(2, whole(1, side)));

/** AttrValue: list 1, s 2, i 3, f 4, b 5, type 6, shape 7, tensor 8. */
function attributeValue(
  { TF_ATTR_STRING, TF_ATTR_INT, TF_ATTR_FLOAT, TF_ATTR_BOOL, TF_ATTR_TYPE, TF_ATTR_SHAPE }: Binding,
  { name, type, value }: Attribute,
): Pieces {
  const single: Partial<Record<number, (value: never) => Pieces>> = {
    [TF_ATTR_STRING]: (each: string) => text(2, each),
    [TF_ATTR_INT]: (each: number) => whole(3, each),
    [TF_ATTR_FLOAT]: (each: number) => float(4, each),
    [TF_ATTR_BOOL]: (each: boolean) => whole(5, Number(each)),
    [TF_ATTR_TYPE]: (each: number) => whole(6, each),
  };
  if (Array.isArray(value) && type === TF_ATTR_SHAPE) return message(7, shapeOf(value as number[]));
  if (Array.isArray(value) && type === TF_ATTR_INT) return message(1, packed(3, value as number[]));
  const encode = single[type];
  if (!encode || Array.isArray(value))
    throw new TypeError(`expected an attribute of a type that a graph can hold, got ${name} of type ${type}`);
  return encode(value as never);
}

/** Types of inputs that tfjs does not name: TensorFlow finds them itself where it executes one by one. */
const INFERRED: Readonly<Record<string, readonly string[]>> = { ExpandDims: ['T', 'Tdim'] };

/** Operations as they are executed, as nodes of a graph. */
class Recorder {
  readonly nodes: Pieces[] = [];
  /** By id, the output of a node that gives the tensor, and its type. */
  private readonly sources = new Map<number, { source: string; dtype: number }>();
  private readonly constants = new Map<number, { shape: number[]; dtype: number; values: tf.TypedArray }>();
  /**
   * By handle of a native variable, the node that used it last: in a graph only the order in which they are named
   * holds.
   */
  private readonly users = new Map<string, string>();
  /** Handles of variables that a kernel works on in place of the state's own, by the output of their node. */
  private readonly lent = new Map<string, string>();

  /** `state`: how many of the inputs, from the first one, are the state. */
  constructor(
    private readonly native: Binding,
    private readonly inputs: readonly { id: number; name: string; dtype: number }[],
    private readonly state: number,
  ) {
    for (const { id, name, dtype } of inputs) this.sources.set(id, { source: `${name}:0`, dtype });
    for (let i = 0; i < state; i++) this.users.set(handleOf(i), inputs[i]!.name);
  }

  /**
   * Ends the recording: what the state is after the step, by its place and the tensor's id, goes into its variables.
   */
  change(assigned: readonly (readonly [variable: number, id: number])[]): void {
    const ends = assigned.map(([variable, id]) => {
      const { source, dtype } = this.sourceOf(id);
      const last = this.users.get(handleOf(variable))!;
      // A kernel has changed it in place already.
      if (source === `${last}:0`) return `^${last}`;
      const name = `change${variable}`;
      this.nodes.push(
        node(name, 'AssignVariableOp', [handleOf(variable), source, `^${last}`], { dtype: whole(6, dtype) }),
      );
      return `^${name}`;
    });
    const changed = new Set(assigned.map(([variable]) => handleOf(variable)));
    for (const own of this.lent.values())
      if (!changed.has(own))
        throw new Error(
          'expected a step that assigns what a kernel has changed, got one that changes state and leaves it as it was',
        );
    this.nodes.push(mark(CHANGED, ends));
  }

  /** Stands in for the binding while a step is executed. */
  readonly binding = (): Binding => ({
    ...(Object.fromEntries(
      Object.getOwnPropertyNames(this.native).map((key) => [key, this.native[key as keyof Binding]]),
    ) as unknown as Binding),
    executeOp: (name, attributes, inputs, outputs) =>
      this.record(name, attributes, inputs, this.native.executeOp(name, attributes, inputs, outputs)),
    createTensor: (shape, dtype, values) => {
      const id = this.native.createTensor(shape, dtype, values);
      this.constants.set(id, { shape, dtype, values: values.slice() });
      return id;
    },
    tensorDataSync: (id) => {
      if (this.sources.has(id))
        throw new Error(
          'expected a step of tensor operations only, got one that reads a value: what depends on it would be the ' +
            'same in all steps',
        );
      return this.native.tensorDataSync(id);
    },
  });

  sourceOf(id: number): { source: string; dtype: number } {
    const known = this.sources.get(id);
    if (known) return known;
    const constant = this.constants.get(id);
    if (!constant)
      throw new Error(
        'expected a step of its inputs, its state and what it makes itself, got a tensor from elsewhere: name it ' +
          'as state',
      );
    const { shape, dtype, values } = constant;
    const name = `constant${this.nodes.length}`;
    this.nodes.push(constantNode(name, dtype, shape, values));
    const made = { source: `${name}:0`, dtype };
    this.sources.set(id, made);
    return made;
  }

  private record(name: string, attributes: Attribute[], ids: number[], outputs: Handle[]): Handle[] {
    const sources = ids.map((id) => this.sourceOf(id));
    if (name === 'AssignVariableOp' && this.lends(sources[0]!.source, ids[1]!)) return outputs;
    if (name === 'DestroyResourceOp' && this.lent.has(sources[0]!.source)) return outputs;
    const inputs = sources.map(({ source, dtype }) => ({ source: this.lent.get(source) ?? source, dtype }));
    const self = `node${this.nodes.length}`;
    // What TensorFlow calls a kernel of oneDNN when it puts it into a graph itself.
    const operation = name.replace(/^_MklNative/, '_');
    const handles = inputs.filter(({ dtype }) => dtype === RESOURCE).map(({ source }) => source);
    const before = handles.flatMap((handle) => {
      const user = this.users.get(handle);
      return user === undefined ? [] : [`^${user}`];
    });
    for (const handle of handles) this.users.set(handle, self);
    this.nodes.push(
      node(self, operation, [...inputs.map(({ source }) => source), ...new Set(before)], {
        ...Object.fromEntries((INFERRED[name] ?? []).map((key, i) => [key, whole(6, inputs[i]!.dtype)])),
        ...Object.fromEntries(
          attributes
            .filter((each) => each.name !== '_kernel')
            .map((each) => [each.name, attributeValue(this.native, each)]),
        ),
      }),
    );
    outputs.forEach(({ id, dtype }, i) => this.sources.set(id, { source: `${self}:${i}`, dtype }));
    return outputs;
  }

  /** A variable made for a kernel that begins with what the state's own holds is that one: nothing is copied. */
  private lends(handle: string, value: number): boolean {
    const i = this.inputs.findIndex(({ id }, at) => at < this.state && id === value);
    if (i < 0 || this.lent.has(handle) || this.users.has(handle) || [...this.lent.values()].includes(handleOf(i)))
      return false;
    this.lent.set(handle, handleOf(i));
    return true;
  }
}

/** A recorded graph, as the text of its file, and what comes out by name. */
interface Trace {
  graph: Buffer;
  scalars: [name: string, source: string][];
  assigned: number[];
}
interface Graph extends Trace {
  session: number;
  inputNames: string;
  outputNames: string;
  shapes: string;
  /** The tensors that the state had when it last was the same as the graph's; none before it has been handed over. */
  known: readonly number[];
  /** Whether it still is the same. */
  settled: boolean;
}

/**
 * What `step` does to `state` and the scalars it gives, by one native call. The first call executes it twice to record
 * it and takes its changes back; it must consist of tensor operations of the same shapes each time, and take what
 * changes from step to step as `inputs`: values made in JavaScript become constants, which is checked by comparing both
 * recordings.
 * From step to step the state stays in TensorFlow, where kernels change it in place: whoever reads it calls `settle`
 * first.
 * Of a step on a GPU only its inputs and the scalars that it gives go over the bus.
 */
export class CompiledStep {
  private graph: Graph | undefined;

  /** `folder` is for the graph's file, while it is loaded. `state`: every variable that the step reads or assigns. */
  constructor(
    private readonly step: (inputs: tf.Tensor[]) => Scalars,
    private readonly state: readonly tf.Variable[],
    private readonly folder: string,
  ) {}

  /** @throws Error when the step isn't one graph, or for inputs of other shapes than the first time. */
  run(inputs: tf.Tensor[]): Record<string, number> {
    return tf.tidy(() => {
      const shapes = JSON.stringify(inputs.map(({ dtype, shape }) => [dtype, ...shape]));
      this.graph ??= this.compile(inputs, shapes);
      if (shapes !== this.graph.shapes)
        throw new Error(`expected inputs as in the first step, ${this.graph.shapes}, got ${shapes}`);
      this.take(this.graph);
      const { inputNames, outputNames, scalars } = this.graph;
      const outputs = this.execute(this.graph, inputs, inputNames, outputNames);
      this.graph.settled = false;
      return Object.fromEntries(scalars.map(([name], i) => [name, outputs[i]!.dataSync()[0]!]));
    });
  }

  /** Brings the state up to date, after steps. Until then its variables hold what they did before these. */
  settle(): void {
    const { graph, state } = this;
    if (!graph || graph.settled) return;
    tf.tidy(() => {
      const values = this.execute(
        graph,
        [tf.scalar(0)],
        `${UNUSED}:0`,
        graph.assigned.map((i) => `state${i}:0`).join(','),
      );
      // A graph hands its outputs over in the machine's memory; where weights are read, they belong on the GPU.
      const placed = usesGpu() ? values.map((value) => kernel('Identity', floatAttribute(), [value])[0]!) : values;
      graph.assigned.forEach((i, at) => state[i]!.assign(placed[at]!));
    });
    graph.known = idsOf(state);
    graph.settled = true;
  }

  /** Hands the state to the graph, where it is another than the graph's own. */
  private take(graph: Graph): void {
    const ids = idsOf(this.state);
    if (ids.every((id, i) => id === graph.known[i])) return;
    if (!graph.settled)
      throw new Error(
        'expected state that is read and assigned after settle() only, got one that was assigned between two steps',
      );
    this.execute(graph, this.state, this.state.map((_, i) => `value${i}:0`).join(','), `${TAKEN}:0`);
    graph.known = ids;
  }

  private execute({ session }: Graph, fed: readonly tf.Tensor[], inputNames: string, outputNames: string): tf.Tensor[] {
    return backend()
      .binding.runSavedModel(session, idsOf(fed), inputNames, outputNames)
      .map((handle) => backend().createOutputTensor(handle));
  }

  private compile(inputs: tf.Tensor[], shapes: string): Graph {
    const trace = this.trace(inputs);
    const again = this.trace(inputs);
    if (!trace.graph.equals(again.graph))
      throw new Error(
        'expected a step that computes the same each time, got one with other constants or operations the second ' +
          'time: pass what changes as an input',
      );
    const folder = mkdtempSync(path.join(this.folder, 'graph-'));
    try {
      writeFileSync(path.join(folder, 'saved_model.pb'), trace.graph);
      const session = backend().binding.loadSavedModel(folder, TAG);
      const inputNames = inputs.map((_, i) => `input${i}:0`).join(',');
      return {
        ...trace,
        session,
        shapes,
        known: [],
        settled: true,
        inputNames,
        outputNames: [...trace.scalars.map(([, source]) => source), `${CHANGED}:0`].join(','),
      };
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  /** Executes the step and takes its changes back. */
  private trace(inputs: tf.Tensor[]): Trace {
    const { state } = this;
    return tf.tidy(() => {
      const before = state.map((variable) => tf.clone(variable));
      const fed = [...state, ...inputs];
      const ids = idsOf(fed);
      if (new Set(ids).size < ids.length)
        throw new Error('expected inputs and state of different tensors, got one twice');
      const current = backend();
      const native = current.binding;
      const named = [...state.map((_, i) => `state${i}`), ...inputs.map((_, i) => `input${i}`)].map((name, i) => ({
        id: ids[i]!,
        name,
        dtype: DATA_TYPES[fed[i]!.dtype]!,
      }));
      const recorder = new Recorder(native, named, state.length);
      try {
        current.binding = recorder.binding();
        const results = this.step(inputs);
        const scalars = Object.entries(results).map(([name, scalar]): [string, string] => [
          name,
          recorder.sourceOf(idOf(scalar)).source,
        ]);
        const changes = state.flatMap((variable, i): [number, number][] => {
          const id = idOf(variable);
          return id === ids[i] ? [] : [[i, id]];
        });
        recorder.change(changes);
        const placeholders = inputs.map(({ dtype, shape }, i) => placeholder(`input${i}`, DATA_TYPES[dtype]!, shape));
        return {
          graph: Buffer.concat(savedModel([stateNodes(state), ...placeholders, ...recorder.nodes])),
          scalars,
          assigned: changes.map(([variable]) => variable),
        };
      } finally {
        current.binding = native;
        before.forEach((value, i) => state[i]!.assign(value));
      }
    });
  }

  dispose(): void {
    if (this.graph) backend().binding.deleteSavedModel(this.graph.session);
    this.graph = undefined;
  }
}

const handleOf = (variable: number): string => `handle${variable}:0`;
const placeholder = (name: string, dtype: number, shape: readonly number[]): Pieces =>
  node(name, 'Placeholder', [], { dtype: whole(6, dtype), shape: message(7, shapeOf(shape)) });
/** TensorProto: dtype 1, tensor_shape 2, tensor_content 4. */
const constantNode = (
  name: string,
  dtype: number,
  shape: readonly number[],
  values: tf.TypedArray,
  after: readonly string[] = [],
): Pieces =>
  node(name, 'Const', after, {
    dtype: whole(6, dtype),
    value: message(8, [
      ...whole(1, dtype),
      ...message(2, shapeOf(shape)),
      ...bytes(4, new Uint8Array(values.buffer, values.byteOffset, values.byteLength)),
    ]),
  });
/** A scalar that is there when the nodes that it waits for are done. */
const mark = (name: string, after: readonly string[]): Pieces =>
  constantNode(name, DATA_TYPES['int32']!, [], new Int32Array(1), after);
/** Of each variable: its handle, its value as a step begins, and how it is given one from outside. */
function stateNodes(state: readonly tf.Variable[]): Pieces {
  const nodes = state.flatMap(({ dtype, shape }, i): Pieces => {
    const type = DATA_TYPES[dtype]!;
    return [
      ...node(`handle${i}`, 'VarHandleOp', [], {
        shared_name: text(2, `state${i}`),
        dtype: whole(6, type),
        shape: message(7, shapeOf(shape)),
      }),
      ...node(`state${i}`, 'ReadVariableOp', [handleOf(i)], { dtype: whole(6, type) }),
      ...placeholder(`value${i}`, type, shape),
      ...node(`take${i}`, 'AssignVariableOp', [handleOf(i), `value${i}:0`], { dtype: whole(6, type) }),
    ];
  });
  return [
    ...nodes,
    ...mark(
      TAKEN,
      state.map((_, i) => `^take${i}`),
    ),
    ...placeholder(UNUSED, DATA_TYPES['float32']!, []),
  ];
}

/**
 * SavedModel: saved_model_schema_version 1, meta_graphs 2; MetaGraphDef: meta_info_def 1 → tags 4, graph_def 2;
 * GraphDef: node 1, versions 4 → producer 1.
 */
const savedModel = (nodes: readonly Pieces[]): Pieces => [
  ...whole(1, 1),
  ...message(2, [
    ...message(1, text(4, TAG)),
    ...message(2, [...nodes.flat(), ...message(4, whole(1, GRAPH_VERSION))]),
  ]),
];
