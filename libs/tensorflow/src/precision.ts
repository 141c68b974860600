/** Graphs in bfloat16: what TensorFlow's own pass over them is to leave in float32, and which machines can. */
import { readFileSync } from 'node:fs';
import { usesGpu } from './binding.js';

/**
 * Operations that the pass would convert where what they take has been, and here does not (its `InferList`): by them
 * statistics and losses are computed, and weights, velocities and averages moved, which bfloat16's 8 bits would round
 * away. What stays of that list are biases, pooling, and normalisation with statistics in float32.
 */
const IN_FLOAT32 = [
  ...['Add', 'AddN', 'AddV2', 'Sub', 'Mul', 'RealDiv', 'FloorDiv', 'Inv', 'Reciprocal'],
  ...['Sum', 'Mean', 'Prod', 'Square', 'SquaredDifference', 'Sqrt', 'Rsqrt', 'BiasAddGrad'],
  ...['Log', 'Log1p', 'Softmax', 'LogSoftmax', 'Erf', 'Erfc', 'Softplus', 'SoftplusGrad', 'Softsign', 'SoftsignGrad'],
  ...['Sigmoid', 'SigmoidGrad', 'Tanh', 'TanhGrad'],
];
/** What TensorFlow reads of the environment each time the pass runs: there is no other way to tell it. */
export const BFLOAT16_ENVIRONMENT: Readonly<Record<string, string>> = {
  TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_INFERLIST_REMOVE: IN_FLOAT32.join(','),
};

/** Any of these multiplies numbers in bfloat16. */
const INSTRUCTIONS = ['avx512_bf16', 'amx_bf16', 'avx_ne_convert'];

/** What a graph would run on. */
export interface Processor {
  gpu: boolean;
  /** What the CPU can, as Linux calls it; empty where that is not known. */
  flags: readonly string[];
}

export function processor(): Processor {
  let said = '';
  try {
    said = readFileSync('/proc/cpuinfo', 'utf8');
  } catch {
    // No Linux: nothing is known of the CPU.
  }
  const line = said.split('\n').find((each) => each.startsWith('flags'));
  return { gpu: usesGpu(), flags: line?.slice(line.indexOf(':') + 1).split(' ') ?? [] };
}

/** Why graphs can't be in bfloat16 there, after "got "; undefined where they can. */
export function lackOfBfloat16({ gpu, flags }: Processor): string | undefined {
  if (gpu) return 'a GPU, for which TensorFlow makes float16 of a graph, and no bfloat16';
  if (INSTRUCTIONS.some((each) => flags.includes(each))) return undefined;
  return `a CPU that has none of ${INSTRUCTIONS.join(', ')}`;
}
