/**
 * A step of training as one TensorFlow graph: its operations are recorded once, and then run with no JavaScript between
 * them.
 */
import type { Precision } from '#libs/contracts';
import {
  backend,
  DATA_TYPES,
  Graph,
  hostTensorOf,
  tensorOf,
  type GraphNode,
  type HostTensor,
  type Inferred,
} from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { CHANGED, placeholder, stateNodes, TAKEN } from './graph-def.js';
import { StepRecorder, type Growing } from './step-recorder.js';

/** What a step computes beside its changes of the state. */
export type Scalars = Record<string, tf.Scalar>;

const idsOf = (tensors: readonly tf.Tensor[]): number[] => backend().getInputTensorIds([...tensors]);
const idOf = (tensor: tf.Tensor): number => idsOf([tensor])[0]!;
const hostOf = (input: tf.Tensor | HostTensor): HostTensor =>
  input instanceof tf.Tensor ? hostTensorOf(input) : input;

/** What comes out of a recorded graph, by name, and which of the state's variables it changes. */
interface Trace {
  given: [name: string, source: string][];
  assigned: number[];
}
interface Compiled extends Trace {
  graph: Graph;
  outputs: string[];
  shapes: string;
  /** The tensors that the state had when it last was the same as the graph's; none before it has been handed over. */
  known: readonly number[];
  /** Whether the tensors of `known` hold what the graph's variables do: not after a step, until `settle` reads them. */
  settled: boolean;
  /** Whether a run is on its way. */
  running: boolean;
}

const sameNode = (a: GraphNode, b: GraphNode): boolean =>
  a.name === b.name &&
  a.operation === b.operation &&
  String(a.inputs) === String(b.inputs) &&
  Object.keys(a.attributes).length === Object.keys(b.attributes).length &&
  Object.entries(a.attributes).every(([key, value]) => {
    const other = b.attributes[key];
    return other !== undefined && Buffer.compare(value, other) === 0;
  });

/** Passes nodes on to a graph, and keeps them to hold another recording against. */
class Recording implements Growing {
  private readonly nodes: { node: GraphNode; outputs: Inferred[] }[] = [];

  constructor(private readonly graph: Graph) {}

  add(node: GraphNode): Inferred[] {
    const outputs = this.graph.add(node);
    this.nodes.push({ node, outputs });
    return outputs;
  }

  /** Takes the same nodes once more, and gives the same for them. */
  again(): Growing {
    const expected = this.nodes.values();
    return {
      add: (node) => {
        const { value } = expected.next();
        if (!value || !sameNode(value.node, node))
          throw new Error(
            'expected a step that computes the same each time, got one with other constants or operations the second ' +
              'time: pass what changes as an input',
          );
        return value.outputs;
      },
    };
  }
}

/**
 * What `step` does to `state` and what it gives, by one native call. The first call records it twice,
 * which computes nothing; it must consist of tensor operations of the same shapes each time, and take what changes from
 * step to step as `inputs`: values made in JavaScript become constants, which is checked by comparing both recordings.
 * From step to step the state stays in TensorFlow, where kernels change it in place: whoever reads it calls `settle`
 * first.
 * Of a step on a GPU only its inputs and what it gives go over the bus.
 */
export class CompiledStep {
  private compiled: Compiled | undefined;

  /**
   * `state`: every variable that the step reads or assigns. Of what `precision` makes bfloat16, what it takes and gives
   * is in float32, the state too.
   */
  constructor(
    private readonly step: (inputs: tf.Tensor[]) => Record<string, tf.Tensor>,
    private readonly state: readonly tf.Variable[],
    private readonly precision: Precision = 'float32',
  ) {}

  /**
   * The scalars of a step. Everything else waits.
   * @throws Error when the step isn't one graph, or for inputs of other shapes than the first time.
   */
  run(inputs: readonly (tf.Tensor | HostTensor)[]): Record<string, number> {
    const { compiled, fed } = this.begin(inputs.map(hostOf));
    return scalarsOf(compiled, compiled.graph.runSync(fed, compiled.outputs));
  }

  /**
   * The scalars of a step, which is computed off the event loop; the first is compiled before this returns. Until it is
   * done there is no other.
   */
  async start(inputs: readonly HostTensor[]): Promise<Record<string, number>> {
    const { compiled, fed } = this.begin(inputs);
    return scalarsOf(compiled, await this.during(compiled, fed));
  }

  /** As `start`, with all that the step gives: its first tensor by the order of names it was given under. */
  async compute(inputs: readonly HostTensor[]): Promise<HostTensor> {
    const { compiled, fed } = this.begin(inputs);
    return (await this.during(compiled, fed))[0]!;
  }

  private async during(compiled: Compiled, fed: Record<string, HostTensor>): Promise<HostTensor[]> {
    compiled.running = true;
    try {
      return await compiled.graph.run(fed, compiled.outputs);
    } finally {
      compiled.running = false;
    }
  }

  private begin(inputs: readonly HostTensor[]): { compiled: Compiled; fed: Record<string, HostTensor> } {
    const shapes = JSON.stringify(inputs.map(({ dtype, shape }) => [dtype, ...shape]));
    const compiled = (this.compiled ??= this.compile(inputs, shapes));
    if (shapes !== compiled.shapes)
      throw new Error(`expected inputs as in the first step, ${compiled.shapes}, got ${shapes}`);
    if (compiled.running) throw new Error('expected one step after the other, got one while another runs');
    this.take(compiled);
    // A failed step may have changed some of it.
    compiled.settled = compiled.assigned.length === 0;
    return { compiled, fed: Object.fromEntries(inputs.map((input, i) => [`input${i}`, input])) };
  }

  /** Brings the state up to date, after steps. Until then its variables hold what they did before these. */
  settle(): void {
    const { compiled, state } = this;
    if (!compiled || compiled.settled) return;
    if (compiled.running) throw new Error('expected a step that is done, got one that runs');
    const values = compiled.graph.runSync(
      {},
      compiled.assigned.map((i) => `state${i}:0`),
    );
    tf.tidy(() => {
      compiled.assigned.forEach((i, at) => state[i]!.assign(tensorOf(values[at]!)));
    });
    compiled.known = idsOf(state);
    compiled.settled = true;
  }

  /** Hands the state to the graph, where it is another than the graph's own. */
  private take(compiled: Compiled): void {
    const ids = idsOf(this.state);
    if (ids.every((id, i) => id === compiled.known[i])) return;
    if (!compiled.settled)
      throw new Error(
        'expected state that is read and assigned after settle() only, got one that was assigned between two steps',
      );
    if (ids.length > 0)
      compiled.graph.runSync(
        Object.fromEntries(this.state.map((variable, i) => [`value${i}`, hostTensorOf(variable)])),
        [`${TAKEN}:0`],
      );
    compiled.known = ids;
  }

  private compile(inputs: readonly HostTensor[], shapes: string): Compiled {
    const graph = new Graph({ bfloat16: this.precision === 'bfloat16' });
    try {
      const recording = new Recording(graph);
      const trace = this.trace(inputs, recording);
      this.trace(inputs, recording.again());
      return {
        ...trace,
        graph,
        shapes,
        known: [],
        settled: true,
        running: false,
        outputs: [...trace.given.map(([, source]) => source), `${CHANGED}:0`],
      };
    } catch (error) {
      graph.close();
      throw error;
    }
  }

  /** Records the step, and takes back what it assigned. */
  private trace(inputs: readonly HostTensor[], graph: Growing): Trace {
    const { state } = this;
    return tf.tidy(() => {
      const before = state.map((variable) => tf.clone(variable));
      const fed = inputs.map(tensorOf);
      const ids = idsOf([...state, ...fed]);
      if (new Set(ids).size < ids.length) throw new Error('expected state of different tensors, got one twice');
      for (const each of stateNodes(state)) graph.add(each);
      inputs.forEach(({ dtype, shape }, i) => graph.add(placeholder(`input${i}`, DATA_TYPES[dtype]!, shape)));
      const current = backend();
      const native = current.binding;
      const named = [
        ...state.map(({ dtype, shape }, i) => ({ name: `state${i}`, dtype, shape })),
        ...inputs.map(({ dtype, shape }, i) => ({ name: `input${i}`, dtype, shape })),
      ].map(({ name, dtype, shape }, i) => ({ id: ids[i]!, name, dtype: DATA_TYPES[dtype]!, shape }));
      const recorder = new StepRecorder(native, graph, named, state.length, this.precision);
      try {
        current.binding = recorder.binding();
        const results = this.step(fed);
        const given = Object.entries(results).map(([name, result]): [string, string] => [
          name,
          recorder.sourceOf(idOf(result)).source,
        ]);
        const changes = state.flatMap((variable, i): [number, number][] => {
          const id = idOf(variable);
          return id === ids[i] ? [] : [[i, id]];
        });
        recorder.change(changes);
        return { given, assigned: changes.map(([variable]) => variable) };
      } finally {
        current.binding = native;
        before.forEach((value, i) => state[i]!.assign(value));
      }
    });
  }

  dispose(): void {
    this.compiled?.graph.close();
    this.compiled = undefined;
  }
}

const scalarsOf = ({ given }: Trace, values: readonly HostTensor[]): Record<string, number> =>
  Object.fromEntries(given.map(([name], i) => [name, values[i]!.values[0]!]));
