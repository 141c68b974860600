/**
 * A step of training as one TensorFlow graph: its operations are recorded once, and then run with no JavaScript between
 * them.
 */
import { backend, float, kernel, usesGpu } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { CHANGED, DATA_TYPES, placeholder, savedModel, stateNodes, TAG, TAKEN, UNUSED } from './graph-def.js';
import { StepRecorder } from './step-recorder.js';

/** What a step computes beside its changes of the state. */
export type Scalars = Record<string, tf.Scalar>;

const idsOf = (tensors: readonly tf.Tensor[]): number[] => backend().getInputTensorIds([...tensors]);
const idOf = (tensor: tf.Tensor): number => idsOf([tensor])[0]!;

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
  /** Whether the tensors of `known` hold what the graph's variables do: not after a step, until `settle` reads them. */
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
      const placed = usesGpu() ? values.map((value) => kernel('Identity', float(), [value])[0]!) : values;
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
      const recorder = new StepRecorder(native, named, state.length);
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
