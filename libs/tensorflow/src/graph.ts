/** A graph of TensorFlow in a session of its own (native). */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { usesGpu } from './binding.js';
import { DATA_TYPES, type HostTensor } from './host-tensor.js';

type NativeInput = [name: string, dtype: number, shape: readonly number[], values: HostTensor['values']];
interface NativeOutput {
  dtype: number;
  shape: number[];
  values: HostTensor['values'];
}
interface Sessions {
  create(config: Uint8Array): object;
  add(
    handle: object,
    name: string,
    operation: string,
    inputs: GraphNode['inputs'],
    attributes: readonly (readonly [name: string, value: Uint8Array])[],
  ): Inferred[];
  run(handle: object, inputs: NativeInput[], outputs: readonly string[], wait: true): NativeOutput[];
  run(handle: object, inputs: NativeInput[], outputs: readonly string[], wait: false): Promise<NativeOutput[]>;
  close(handle: object): void;
  allocatable(bytes: number): boolean;
  filters(images: number, height: number, width: number, channelsIn: number, channelsOut: number): boolean;
}

/** An operation of a graph. */
export interface GraphNode {
  name: string;
  operation: string;
  /** "node:index"; a list of these where the operation takes a list; "^node" is only waited for. */
  inputs: readonly (string | readonly string[])[];
  /** Each an AttrValue, serialised. */
  attributes: Readonly<Record<string, Uint8Array>>;
}
/** What an operation gives, as TensorFlow infers it from what it takes; null where that is known only once it runs. */
export interface Inferred {
  dtype: number;
  shape: number[] | null;
}

let sessions: Sessions | undefined;

/** @throws Error when the binding is not installed, with the command that installs it. */
function native(): Sessions {
  if (sessions) return sessions;
  const require = createRequire(import.meta.url);
  const folder = path.dirname(require.resolve('@tensorflow/tfjs-node-gpu/package.json'));
  const file = path.join(folder, 'lib', 'napi-v8', 'loom_session.node');
  if (!existsSync(file))
    throw new Error("expected the binding to TensorFlow's sessions in node_modules, found none: run `npm run setup`");
  return (sessions = require(file) as Sessions);
}

/** @throws Error of the sort that TensorFlow's kernels have, where there is no memory for so many bytes at once. */
export function requireMemory(bytes: number): void {
  if (!native().allocatable(bytes)) throw new Error(`OOM when allocating ${bytes} bytes for a tensor`);
}

/**
 * Whether graphs on this machine's CPU have kernels of this project's own (`LoomConvolution` and its two gradients) for
 * a 3x3 convolution of stride 1 of [images, height, width, channelsIn], and these are worth while.
 */
export const filters = (
  images: number,
  height: number,
  width: number,
  channelsIn: number,
  channelsOut: number,
): boolean => !usesGpu() && native().filters(images, height, width, channelsIn, channelsOut);

const names = new Map(Object.entries(DATA_TYPES).map(([name, number]) => [number, name as HostTensor['dtype']]));
const given = ({ dtype, shape, values }: NativeOutput): HostTensor =>
  ({ dtype: names.get(dtype)!, shape, values }) as HostTensor;
const taken = (inputs: Readonly<Record<string, HostTensor>>): NativeInput[] =>
  Object.entries(inputs).map(([name, { dtype, shape, values }]) => [name, DATA_TYPES[dtype]!, shape, values]);

/**
 * ConfigProto of a session whose sums are added in the order of its graph: graph_options 10, rewrite_options 10,
 * arithmetic_optimization 7, OFF. That pass makes one AddN of several additions, which begins with whichever input is
 * free to be overwritten: two runs of one seed parted in the last bit, one in eight on a busy machine. Without it steps
 * take as long as with it.
 */
const IN_ORDER = [0x38, 0x02];
/**
 * Passes go over a graph once, and those of MLIR not at all: meta_optimizer_iterations 12, ONE; disable_tfg_optimizer
 * 32. A second time they find next to nothing, and take a fifth of a small network's first step.
 */
const ONCE = [0x60, 0x01, 0x80, 0x02, 0x01];
/**
 * memory_optimization 4, NO_MEM_OPT: of use only where tensors are moved from a GPU's memory to the machine's, and the
 * longest of the passes over a transformer.
 */
const STAYING = [0x20, 0x01];
/** What can be is computed in bfloat16: auto_mixed_precision_onednn_bfloat16 31, ON. For CPUs only. */
const IN_BFLOAT16 = [0xf8, 0x01, 0x01];

function configOf(bfloat16: boolean): Uint8Array {
  const rewrites = [...IN_ORDER, ...ONCE, ...(usesGpu() ? [] : STAYING), ...(bfloat16 ? IN_BFLOAT16 : [])];
  return Uint8Array.of(0x52, rewrites.length + 2, 0x52, rewrites.length, ...rewrites);
}

/** Grows node by node, and runs. Values go in and come out as copies. Whoever has made a graph closes it. */
export class Graph {
  private readonly handle: object;

  /**
   * `bfloat16`: whether TensorFlow takes into it what can be.
   * @throws Error of TensorFlow, or when the binding is not installed.
   */
  constructor({ bfloat16 = false } = {}) {
    this.handle = native().create(configOf(bfloat16));
  }

  /**
   * Adds an operation, of which nothing is computed, and says what it will give.
   * @throws Error of TensorFlow for one that it does not know or that does not fit its inputs.
   */
  add({ name, operation, inputs, attributes }: GraphNode): Inferred[] {
    return native().add(this.handle, name, operation, inputs, Object.entries(attributes));
  }

  /**
   * What the graph gives for these inputs, by name of operation, computed off the event loop. `outputs`: as
   * "operation:index".
   */
  async run(inputs: Readonly<Record<string, HostTensor>>, outputs: readonly string[]): Promise<HostTensor[]> {
    return (await native().run(this.handle, taken(inputs), outputs, false)).map(given);
  }

  /** The same, while everything else waits. */
  runSync(inputs: Readonly<Record<string, HostTensor>>, outputs: readonly string[]): HostTensor[] {
    return native().run(this.handle, taken(inputs), outputs, true).map(given);
  }

  /** @throws Error while a run is on its way. */
  close(): void {
    native().close(this.handle);
  }
}
