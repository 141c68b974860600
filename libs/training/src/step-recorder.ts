/** Records the operations of a step, while they are executed, as the nodes of a graph. */
import type { Precision } from '#libs/contracts';
import { replacing, type Attribute, type Binding, type Handle } from '#libs/tensorflow';
import type * as tf from '@tensorflow/tfjs-core';
import { attributeValue, CHANGED, constantNode, handleOf, mark, node, RESOURCE } from './graph-def.js';
import { whole, type Pieces } from './export/protobuf.js';
import { computesInFloat32 } from './precision.js';

/** Type attributes that tfjs leaves out: TensorFlow infers them of single operations, but not of those in a graph. */
const INFERRED: Readonly<Record<string, readonly string[]>> = { ExpandDims: ['T', 'Tdim'] };

/**
 * TensorFlow's own fused normalisation is only for channels by fours, which is cuDNN's need and is asked of a graph for
 * any device; oneDNN's kernel takes any number of them.
 */
const keepsNativeName = (name: string, [normalised]: readonly Handle[]): boolean =>
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

/** Stands between a step and the binding: each operation is executed, and recorded as a node of the graph. */
export class StepRecorder {
  readonly nodes: Pieces[] = [];
  /** By the id of a tensor: the output of the node that gives it, and its type. */
  private readonly sources = new Map<number, { source: string; dtype: number }>();
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
   * @param state How many of the inputs, from the first on, are the state.
   * @param precision What the graph will be computed in.
   */
  constructor(
    private readonly native: Binding,
    private readonly inputs: readonly { id: number; name: string; dtype: number }[],
    private readonly state: number,
    private readonly precision: Precision = 'float32',
  ) {
    for (const { id, name, dtype } of inputs) this.sources.set(id, { source: `${name}:0`, dtype });
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

  /** The binding that the step is executed with. */
  readonly binding = (): Binding =>
    replacing(this.native, {
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

  private record(called: string, given: Attribute[], ids: number[], outputs: Handle[]): Handle[] {
    const exact = this.precision !== 'float32' && computesInFloat32() ? PRODUCTS.get(called) : undefined;
    const name = exact ?? called;
    const attributes = exact === undefined ? given : [...given, this.marked()];
    const sources = ids.map((id) => this.sourceOf(id));
    if (name === 'AssignVariableOp' && this.lends(sources[0]!.source, ids[1]!)) return outputs;
    if (name === 'DestroyResourceOp' && this.lent.has(sources[0]!.source)) return outputs;
    const inputs = sources.map(({ source, dtype }) => ({ source: this.lent.get(source) ?? source, dtype }));
    const self = `node${this.nodes.length}`;
    // oneDNN's kernels are recorded under the names of the operations that TensorFlow rewrites to them, unless it would
    // refuse to.
    const native = exact !== undefined || keepsNativeName(name, outputs);
    const operation = native ? name : name.replace(/^_MklNative/, '_');
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
            .filter((each) => native || each.name !== '_kernel')
            .map((each) => [each.name, attributeValue(this.native, each)]),
        ),
      }),
    );
    outputs.forEach(({ id, dtype }, i) => this.sources.set(id, { source: `${self}:${i}`, dtype }));
    return outputs;
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
