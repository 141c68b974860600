import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import util from 'node:util';
import { backend, replacing, type Binding } from './binding.js';
import { requireMemory } from './graph.js';
import { BFLOAT16_ENVIRONMENT } from './precision.js';

export interface Runtime {
  version: string;
  gpu: boolean;
  threads: number;
}

let loading: Promise<Runtime> | undefined;

/**
 * Loads TensorFlow's native library once and makes it the backend of tfjs. Has to come before the first tensor.
 * `threads` bounds the threads of one operation and of operations side by side; with 1, results repeat bit for bit.
 * @throws Error when the runtime is not installed, with the command that installs it.
 */
export function loadTensorFlow({ threads = availableParallelism() }: { threads?: number } = {}): Promise<Runtime> {
  loading ??= load(threads);
  return loading;
}

async function load(threads: number): Promise<Runtime> {
  const require = createRequire(import.meta.url);
  const folder = path.dirname(require.resolve('@tensorflow/tfjs-node-gpu/package.json'));
  if (!existsSync(path.join(folder, 'lib', 'napi-v8', 'tfjs_binding.node'))) {
    throw new Error('expected the TensorFlow binding in node_modules, found none: run `npm run setup`');
  }
  process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '2';
  // The library reads these when its first operation starts.
  process.env['TF_NUM_INTRAOP_THREADS'] = String(threads);
  process.env['TF_NUM_INTEROP_THREADS'] = String(threads);
  process.env['OMP_NUM_THREADS'] = String(threads);
  // A step's graph holds kernels of oneDNN, which TensorFlow leaves out by itself on CPUs without AVX-512.
  process.env['TF_ENABLE_ONEDNN_OPTS'] = '1';
  Object.assign(process.env, BFLOAT16_ENVIRONMENT);
  // Unset, the first process on a GPU takes all of its memory.
  process.env['TF_FORCE_GPU_ALLOW_GROWTH'] ??= 'true';
  // tfjs-node calls two functions that Node has removed, or complains about.
  const replaced = {
    isNullOrUndefined: (value: unknown) => value === null || value === undefined,
    isArray: Array.isArray,
  };
  for (const [name, value] of Object.entries(replaced))
    Object.defineProperty(util, name, { value, configurable: true });
  const tf = require('@tensorflow/tfjs-node-gpu') as typeof import('@tensorflow/tfjs-node-gpu');
  await tf.ready();
  const native = backend();
  native.binding = withMemory(native.binding);
  const { binding, isUsingGpuDevice } = native;
  return { version: binding.TF_Version, gpu: isUsingGpuDevice, threads };
}

/** Smaller tensors are not asked about. */
const LARGE_BYTES = 2 ** 20;
/** As `binding`, which ends the process where there is no memory for the values of a tensor: this throws. */
const withMemory = (binding: Binding): Binding =>
  replacing(binding, {
    createTensor(shape, dtype, values) {
      if (values.byteLength > LARGE_BYTES) requireMemory(values.byteLength);
      return binding.createTensor(shape, dtype, values);
    },
  });
