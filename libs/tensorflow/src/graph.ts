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

/** Values go in and come out as copies. Whoever has loaded a graph closes it. */
export class Graph {
  private constructor(private readonly handle: object) {}

  /**
   * `graph`: a GraphDef, `config`: a ConfigProto, both serialised.
   * @throws Error of TensorFlow, or when the binding is not installed.
   */
  static load(graph: Uint8Array, config: Uint8Array = new Uint8Array()): Graph {
    return new Graph(native().load(graph, config));
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
