/** Records the operations of a step as the nodes of a graph. None is computed. */
import type { Precision } from '#libs/contracts';
import { replacing, type Attribute, type Binding, type GraphNode, type Handle, type Inferred } from '#libs/tensorflow';
import type * as tf from '@tensorflow/tfjs-core';
import { attributeValue, CHANGED, constantNode, handleOf, mark, node, RESOURCE } from './graph-def.js';
import { whole } from './export/protobuf.js';
import { minimalFiltering, type Operand } from './minimal-filtering.js';
import { computesInFloat32 } from './precision.js';

/** Where nodes go, and what is known of what they give. */
export interface Growing {
  add(node: GraphNode): Inferred[];
}

/** Ids of tensors that there are none of: TensorFlow's own are not negative, and tfjs means "not yet there" by -1. */
let nextId = -2;

/**
 * TensorFlow's own fused normalisation is only for channels by fours, which is cuDNN's need and is asked of a graph for
 * any device; oneDNN's kernel takes any number of them.
 */
const keepsNativeName = (name: string, [normalised]: readonly Source[]): boolean =>
  name === '_MklNativeFusedBatchNormEx' && normalised!.shape.at(-1)! % 4 !== 0;

/**
 * What TensorFlow's pass turns into bfloat16 wherever it is → what TensorFlow itself rewrites it to, once that pass is
 * through: oneDNN's kernel, by a name that the pass does not know.
 */
const PRODUCTS = new Map([
  ['BatchMatMulV2', '_MklBatchMatMulV2'],
  ['Conv2D', '_MklNativeConv2D'],
  ['DepthwiseConv2dNative', '_MklNativeDepthwiseConv2dNative'],
]);

/** What an operation takes: by the attributes that count them, its first inputs or its last ones are one list. */
function withLists(attributes: readonly Attribute[], sources: string[]): GraphNode['inputs'] {
  const { N: first, num_side_inputs: last } = Object.fromEntries(
    attributes.map(({ name, value }) => [name, value as number]),
  );
  if (first !== undefined) return [sources.slice(0, first), ...sources.slice(first)];
  if (last !== undefined) return [...sources.slice(0, sources.length - last), sources.slice(sources.length - last)];
  return sources;
}

/** The output of a node, as "node:index". */
interface Source {
  source: string;
  dtype: number;
  shape: readonly number[];
}

/** What normalisation keeps for its gradient, in a form of the device's own: its sixth output. */
const isKeptForGradient = (operation: string, output: number): boolean =>
  operation.includes('FusedBatchNorm') && output === 5;

/**
 * Stands between a step and the binding: each operation becomes a node of the graph, and what it gives are tensors of
 * a shape and a type, and no values.
 */
export class StepRecorder {
  private count = 0;
  /** By the id of a tensor. */
  private readonly sources = new Map<number, Source>();
  private readonly constants = new Map<number, { shape: number[]; dtype: number; values: tf.TypedArray }>();
  /**
   * By the handle of a variable, the node that used it last. The next one that uses it waits for that node: a graph
   * keeps no order but that of its edges.
   */
  private readonly users = new Map<string, string>();
  /**
   * Handles of variables that the step makes for a kernel to work on → handles of the state's variables that take their
   * place.
   */
  private readonly lent = new Map<string, string>();

  /**
   * @param graph Holds the inputs' nodes already.
   * @param state How many of the inputs, from the first on, are the state.
   * @param precision What the graph will be computed in.
   */
  constructor(
    private readonly native: Binding,
    private readonly graph: Growing,
    private readonly inputs: readonly { id: number; name: string; dtype: number; shape: readonly number[] }[],
    private readonly state: number,
    private readonly precision: Precision = 'float32',
  ) {
    for (const { id, name, dtype, shape } of inputs) this.sources.set(id, { source: `${name}:0`, dtype, shape });
    for (let i = 0; i < state; i++) this.users.set(handleOf(i), inputs[i]!.name);
  }

  /**
   * Ends the recording: adds the assignments of the state's variables, each to the tensor of this id.
   */
  change(assigned: readonly (readonly [variable: number, id: number])[]): void {
    const ends = assigned.map(([variable, id]) => {
      const { source, dtype } = this.sourceOf(id);
      const last = this.users.get(handleOf(variable))!;
      // A kernel has changed the variable in place: nothing is left to assign.
      if (source === `${last}:0`) return `^${last}`;
      const name = `change${variable}`;
      this.graph.add(
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
    this.graph.add(mark(CHANGED, ends));
  }

  /** The binding that the step is recorded with. */
  readonly binding = (): Binding =>
    replacing(this.native, {
      executeOp: (name, attributes, inputs, outputs) => this.record(name, attributes, inputs).slice(0, outputs),
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

  sourceOf(id: number): Source {
    const known = this.sources.get(id);
    if (known) return known;
    const constant = this.constants.get(id);
    if (!constant)
      throw new Error(
        'expected a step of its inputs, its state and what it makes itself, got a tensor from elsewhere: name it ' +
          'as state',
      );
    const { shape, dtype, values } = constant;
    const name = `constant${this.count++}`;
    this.graph.add(constantNode(name, dtype, shape, values));
    const made = { source: `${name}:0`, dtype, shape };
    this.sources.set(id, made);
    return made;
  }

  private record(called: string, given: Attribute[], ids: number[]): Handle[] {
    const own = this.precision === 'float32' && minimalFiltering(called, given, this.operands(ids));
    if (own) {
      const taken = own.inputs.map((i) => ids[i]!);
      return this.record(own.operation, [], taken);
    }
    const exact = this.precision !== 'float32' && computesInFloat32() ? PRODUCTS.get(called) : undefined;
    const name = exact ?? called;
    const attributes = exact === undefined ? given : [...given, this.marked()];
    const sources = ids.map((id) => this.sourceOf(id));
    if (name === 'AssignVariableOp' && this.lends(sources[0]!.source, ids[1]!)) return [];
    if (name === 'DestroyResourceOp' && this.lent.has(sources[0]!.source)) return [];
    const inputs = sources.map(({ source, dtype }) => ({ source: this.lent.get(source) ?? source, dtype }));
    const self = `node${this.count++}`;
    // oneDNN's kernels are recorded under the names of the operations that TensorFlow rewrites to them, unless it would
    // refuse to.
    const native = exact !== undefined || keepsNativeName(name, sources);
    const operation = native ? name : name.replace(/^_MklNative/, '_');
    const handles = inputs.filter(({ dtype }) => dtype === RESOURCE).map(({ source }) => source);
    const before = handles.flatMap((handle) => {
      const user = this.users.get(handle);
      return user === undefined ? [] : [`^${user}`];
    });
    for (const handle of handles) this.users.set(handle, self);
    const outputs = this.graph.add(
      node(
        self,
        operation,
        [
          ...withLists(
            attributes,
            inputs.map(({ source }) => source),
          ),
          ...new Set(before),
        ],
        Object.fromEntries(
          attributes
            .filter((each) => native || each.name !== '_kernel')
            .map((each) => [each.name, attributeValue(this.native, each)]),
        ),
      ),
    );
    return outputs.map(({ dtype, shape }, i) => {
      if (!shape && !isKeptForGradient(operation, i))
        throw new Error(`expected operations whose shapes are known before they run, got ${name}`);
      const id = nextId--;
      const handle = { dtype, shape: shape ?? [] };
      this.sources.set(id, { source: `${self}:${i}`, ...handle });
      return { id, ...handle };
    });
  }

  private operands(ids: readonly number[]): Operand[] {
    return ids.map((id) => {
      const constant = this.constants.get(id);
      return { shape: (this.sources.get(id) ?? constant)?.shape ?? [], values: constant?.values };
    });
  }

  /** How TensorFlow marks operations that it has put oneDNN's kernels in place of. */
  private marked(): Attribute {
    return { name: '_kernel', type: this.native.TF_ATTR_STRING, value: 'MklNameChangeOp' };
  }

  /**
   * Whether a variable that the step makes is replaced by one of the state's: it is, where it begins with the value of
   * that, which so is not copied.
   */
  private lends(handle: string, value: number): boolean {
    const i = this.inputs.findIndex(({ id }, at) => at < this.state && id === value);
    if (i < 0 || this.lent.has(handle) || this.users.has(handle) || [...this.lent.values()].includes(handleOf(i)))
      return false;
    this.lent.set(handle, handleOf(i));
    return true;
  }
}
