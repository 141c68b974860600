/** A graph of TensorFlow, loaded into a session of its own (native/session.cc). */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { DATA_TYPES, type HostTensor } from './host-tensor.js';

type NativeInput = [name: string, dtype: number, shape: readonly number[], values: HostTensor['values']];
interface NativeOutput {
  dtype: number;
  shape: number[];
  values: HostTensor['values'];
}
interface Sessions {
  load(graph: Uint8Array, config: Uint8Array): object;
  run(handle: object, inputs: NativeInput[], outputs: readonly string[], wait: true): NativeOutput[];
  run(handle: object, inputs: NativeInput[], outputs: readonly string[], wait: false): Promise<NativeOutput[]>;
  close(handle: object): void;
  allocatable(bytes: number): boolean;
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

const names = new Map(Object.entries(DATA_TYPES).map(([name, number]) => [number, name as HostTensor['dtype']]));
const given = ({ dtype, shape, values }: NativeOutput): HostTensor => ({ dtype: names.get(dtype)!, shape, values });
const taken = (inputs: Readonly<Record<string, HostTensor>>): NativeInput[] =>
  Object.entries(inputs).map(([name, { dtype, shape, values }]) => [name, DATA_TYPES[dtype]!, shape, values]);

/**
 * ConfigProto of a session whose sums are added in the order of its graph: graph_options 10, rewrite_options 10,
 * arithmetic_optimization 7, OFF. That pass makes one AddN of several additions, which begins with whichever input is
 * free to be overwritten: two runs of one seed parted in the last bit, one in eight on a busy machine. Without it steps
 * take as long as with it.
 */
const IN_ORDER = [0x38, 0x02];
/** The same, and what can be is computed in bfloat16: auto_mixed_precision_onednn_bfloat16 31, ON. For CPUs only. */
const IN_BFLOAT16 = [...IN_ORDER, 0xf8, 0x01, 0x01];
const configOf = (rewrites: readonly number[]): Uint8Array =>
  Uint8Array.of(0x52, rewrites.length + 2, 0x52, rewrites.length, ...rewrites);

/** Values go in and come out as copies. Whoever has loaded a graph closes it. */
export class Graph {
  private constructor(private readonly handle: object) {}

  /**
   * `graph`: a GraphDef, serialised. `bfloat16`: whether TensorFlow takes into it what can be.
   * @throws Error of TensorFlow, or when the binding is not installed.
   */
  static load(graph: Uint8Array, { bfloat16 = false } = {}): Graph {
    return new Graph(native().load(graph, configOf(bfloat16 ? IN_BFLOAT16 : IN_ORDER)));
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
