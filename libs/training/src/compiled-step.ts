/** A step of training as one TensorFlow graph: its operations are recorded once, and then run with no JavaScript between them. */
import { usesGpu } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { bytes, float, message, packed, text, whole, type Pieces } from './protobuf.js';

/** What a step computes beside its changes of the state. */
export type Scalars = Record<string, tf.Scalar>;

interface Attribute { name: string; type: number; value: AttributeValue | AttributeValue[] }
type AttributeValue = string | number | boolean;
interface Handle { id: number; shape: number[]; dtype: number }
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
const idOf = (tensor: tf.Tensor): number => backend().getInputTensorIds([tensor])[0]!;

/** types.proto */
const DATA_TYPES: Record<string, number> = { float32: 1, int32: 3, bool: 10 };
const RESOURCE = 20;
/** Which TensorFlow a graph is for, as TF_GRAPH_DEF_VERSION in its version.h; newer ones read it too. */
const GRAPH_VERSION = 1882;
const TAG = 'train';

/** NodeDef: name 1, op 2, input 3, attr 5 (a map: key 1, value 2). */
const node = (name: string, operation: string, inputs: readonly string[], attributes: Readonly<Record<string, Pieces>>): Pieces => message(1, [
  ...text(1, name), ...text(2, operation), ...inputs.flatMap((input) => text(3, input)),
  ...Object.entries(attributes).flatMap(([key, value]) => message(5, [...text(1, key), ...message(2, value)])),
]);
/** TensorShapeProto: dim 2 → size 1. */
const shapeOf = (shape: readonly number[]): Pieces => shape.flatMap((side) => message(2, whole(1, side)));

/** AttrValue: list 1, s 2, i 3, f 4, b 5, type 6, shape 7, tensor 8. */
function attributeValue({ TF_ATTR_STRING, TF_ATTR_INT, TF_ATTR_FLOAT, TF_ATTR_BOOL, TF_ATTR_TYPE, TF_ATTR_SHAPE }: Binding, { name, type, value }: Attribute): Pieces {
  const single: Partial<Record<number, (value: never) => Pieces>> = {
    [TF_ATTR_STRING]: (each: string) => text(2, each), [TF_ATTR_INT]: (each: number) => whole(3, each), [TF_ATTR_FLOAT]: (each: number) => float(4, each),
    [TF_ATTR_BOOL]: (each: boolean) => whole(5, Number(each)), [TF_ATTR_TYPE]: (each: number) => whole(6, each),
  };
  if (Array.isArray(value) && type === TF_ATTR_SHAPE) return message(7, shapeOf(value as number[]));
  if (Array.isArray(value) && type === TF_ATTR_INT) return message(1, packed(3, value as number[]));
  const encode = single[type];
  if (!encode || Array.isArray(value)) throw new TypeError(`expected an attribute of a type that a graph can hold, got ${name} of type ${type}`);
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
  /** By handle of a native variable, the node that used it last: in a graph only the order in which they are named holds. */
  private readonly users = new Map<string, string>();

  constructor(private readonly native: Binding, inputs: readonly { id: number; name: string; dtype: number }[]) {
    for (const { id, name, dtype } of inputs) this.sources.set(id, { source: `${name}:0`, dtype });
  }

  /** Stands in for the binding while a step is executed. */
  readonly binding = (): Binding => ({
    ...Object.fromEntries(Object.getOwnPropertyNames(this.native).map((key) => [key, this.native[key as keyof Binding]])) as unknown as Binding,
    executeOp: (name, attributes, inputs, outputs) => this.record(name, attributes, inputs, this.native.executeOp(name, attributes, inputs, outputs)),
    createTensor: (shape, dtype, values) => {
      const id = this.native.createTensor(shape, dtype, values);
      this.constants.set(id, { shape, dtype, values: values.slice() });
      return id;
    },
    tensorDataSync: (id) => {
      if (this.sources.has(id)) throw new Error('expected a step of tensor operations only, got one that reads a value: what depends on it would be the same in all steps');
      return this.native.tensorDataSync(id);
    },
  });

  sourceOf(id: number): { source: string; dtype: number } {
    const known = this.sources.get(id);
    if (known) return known;
    const constant = this.constants.get(id);
    if (!constant) throw new Error('expected a step of its inputs, its state and what it makes itself, got a tensor from elsewhere: name it as state');
    const { shape, dtype, values } = constant;
    const name = `constant${this.nodes.length}`;
    // TensorProto: dtype 1, tensor_shape 2, tensor_content 4.
    const tensor = [...whole(1, dtype), ...message(2, shapeOf(shape)), ...bytes(4, new Uint8Array(values.buffer, values.byteOffset, values.byteLength))];
    this.nodes.push(node(name, 'Const', [], { dtype: whole(6, dtype), value: message(8, tensor) }));
    const made = { source: `${name}:0`, dtype };
    this.sources.set(id, made);
    return made;
  }

  private record(name: string, attributes: Attribute[], ids: number[], outputs: Handle[]): Handle[] {
    const inputs = ids.map((id) => this.sourceOf(id));
    const self = `node${this.nodes.length}`;
    // What TensorFlow calls a kernel of oneDNN when it puts it into a graph itself.
    const operation = name.replace(/^_MklNative/, '_');
    const handles = inputs.filter(({ dtype }) => dtype === RESOURCE).map(({ source }) => source);
    const before = handles.flatMap((handle) => { const user = this.users.get(handle); return user === undefined ? [] : [`^${user}`]; });
    for (const handle of handles) this.users.set(handle, self);
    this.nodes.push(node(self, operation, [...inputs.map(({ source }) => source), ...new Set(before)], {
      ...Object.fromEntries((INFERRED[name] ?? []).map((key, i) => [key, whole(6, inputs[i]!.dtype)])),
      ...Object.fromEntries(attributes.filter((each) => each.name !== '_kernel').map((each) => [each.name, attributeValue(this.native, each)])),
    }));
    outputs.forEach(({ id, dtype }, i) => this.sources.set(id, { source: `${self}:${i}`, dtype }));
    return outputs;
  }
}

/** A recorded graph, as the text of its file, and what goes in and out by name. */
interface Trace { graph: Buffer; scalars: [name: string, source: string][]; assigned: [variable: number, source: string][] }
interface Graph extends Trace { session: number; inputNames: string; outputNames: string; shapes: string }

/**
 * What `step` does to `state` and the scalars it gives, by one native call. The first call executes it twice to record it and takes
 * its changes back; it must consist of tensor operations of the same shapes each time, and take what changes from step to step as
 * `inputs`: values made in JavaScript become constants, which is checked by comparing both recordings.
 * On a GPU the operations are executed one by one: a graph's inputs and outputs would go over the bus.
 */
export class CompiledStep {
  private graph: Graph | undefined;

  /** `folder` is for the graph's file, while it is loaded. `state`: every variable that the step reads or assigns. */
  constructor(private readonly step: (inputs: tf.Tensor[]) => Scalars, private readonly state: readonly tf.Variable[], private readonly folder: string) {}

  /** @throws Error when the step isn't one graph, or for inputs of other shapes than the first time. */
  run(inputs: tf.Tensor[]): Record<string, number> {
    return tf.tidy(() => {
      if (usesGpu()) return Object.fromEntries(Object.entries(this.step(inputs)).map(([name, scalar]) => [name, scalar.dataSync()[0]!]));
      const shapes = JSON.stringify(inputs.map(({ dtype, shape }) => [dtype, ...shape]));
      this.graph ??= this.compile(inputs, shapes);
      if (shapes !== this.graph.shapes) throw new Error(`expected inputs as in the first step, ${this.graph.shapes}, got ${shapes}`);
      const { session, inputNames, outputNames, scalars, assigned } = this.graph;
      const ids = backend().getInputTensorIds([...this.state, ...inputs]);
      const outputs = backend().binding.runSavedModel(session, ids, inputNames, outputNames).map((handle) => backend().createOutputTensor(handle));
      assigned.forEach(([variable], i) => this.state[variable]!.assign(outputs[scalars.length + i]!));
      return Object.fromEntries(scalars.map(([name], i) => [name, outputs[i]!.dataSync()[0]!]));
    });
  }

  private compile(inputs: tf.Tensor[], shapes: string): Graph {
    const trace = this.trace(inputs);
    const again = this.trace(inputs);
    if (!trace.graph.equals(again.graph)) throw new Error('expected a step that computes the same each time, got one with other constants or operations the second time: pass what changes as an input');
    const folder = mkdtempSync(path.join(this.folder, 'graph-'));
    try {
      writeFileSync(path.join(folder, 'saved_model.pb'), trace.graph);
      const session = backend().binding.loadSavedModel(folder, TAG);
      const inputNames = this.inputNames(inputs).map((name) => `${name}:0`).join(',');
      return { ...trace, session, shapes, inputNames, outputNames: [...trace.scalars, ...trace.assigned].map(([, source]) => source).join(',') };
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  private inputNames(inputs: tf.Tensor[]): string[] {
    return [...this.state.map((_, i) => `state${i}`), ...inputs.map((_, i) => `input${i}`)];
  }

  /** Executes the step and takes its changes back. */
  private trace(inputs: tf.Tensor[]): Trace {
    const { state } = this;
    const names = this.inputNames(inputs);
    return tf.tidy(() => {
      const before = state.map((variable) => tf.clone(variable));
      const fed = [...state, ...inputs];
      const ids = fed.map(idOf);
      if (new Set(ids).size < ids.length) throw new Error('expected inputs and state of different tensors, got one twice');
      const current = backend();
      const native = current.binding;
      const recorder = new Recorder(native, ids.map((id, i) => ({ id, name: names[i]!, dtype: DATA_TYPES[fed[i]!.dtype]! })));
      try {
        current.binding = recorder.binding();
        const results = this.step(inputs);
        const scalars = Object.entries(results).map(([name, scalar]): [string, string] => [name, recorder.sourceOf(idOf(scalar)).source]);
        const assigned = state.flatMap((variable, i): [number, string][] => { const id = idOf(variable); return id === ids[i] ? [] : [[i, recorder.sourceOf(id).source]]; });
        const placeholders = fed.map(({ dtype, shape }, i) => node(names[i]!, 'Placeholder', [], { dtype: whole(6, DATA_TYPES[dtype]!), shape: message(7, shapeOf(shape)) }));
        return { graph: Buffer.concat(savedModel([...placeholders, ...recorder.nodes])), scalars, assigned };
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

/** SavedModel: saved_model_schema_version 1, meta_graphs 2; MetaGraphDef: meta_info_def 1 → tags 4, graph_def 2; GraphDef: node 1, versions 4 → producer 1. */
const savedModel = (nodes: readonly Pieces[]): Pieces => [
  ...whole(1, 1), ...message(2, [...message(1, text(4, TAG)), ...message(2, [...nodes.flat(), ...message(4, whole(1, GRAPH_VERSION))])]),
];
