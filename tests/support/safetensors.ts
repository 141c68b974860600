/** Safetensors files as other programs write them, and the tensors of their networks. */
import { writeFile } from 'node:fs/promises';

export interface Tensor {
  dtype: string;
  shape: number[];
  bytes: Uint8Array;
}

/** A header, whatever it says, and what comes behind it. */
export function bytesOf(header: unknown, data: Uint8Array, length?: bigint): Buffer {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const eight = Buffer.alloc(8);
  eight.writeBigUInt64LE(length ?? BigInt(json.length));
  return Buffer.concat([eight, json, data]);
}

/** A file of tensors one behind another. */
export async function writeTensorsTo(
  file: string,
  tensors: ReadonlyMap<string, Tensor>,
  metadata?: Record<string, string>,
): Promise<string> {
  let at = 0;
  const entries = [...tensors].map(([name, { dtype, shape, bytes }]) => {
    const entry = { dtype, shape, data_offsets: [at, at + bytes.length] };
    at += bytes.length;
    return [name, entry] as const;
  });
  const header = { ...(metadata && { __metadata__: metadata }), ...Object.fromEntries(entries) };
  await writeFile(file, bytesOf(header, Buffer.concat([...tensors.values()].map(({ bytes }) => bytes))));
  return file;
}

/** Numbers that are drawn of a series before they come again. */
const PERIOD = 9973;

/** Numbers in [low, high) that other programs draw alike, of series `k`. */
export function drawnNumbers(count: number, k: number, low = 0, high = 1): Float32Array<ArrayBuffer> {
  const some = Float32Array.from({ length: Math.min(count, PERIOD) }, (_, j) => {
    const x = Math.sin((j + 1) * 12.9898 + k * 78.233) * 43_758.5453;
    return low + (high - low) * (x - Math.floor(x));
  });
  const all = new Float32Array(count);
  for (let at = 0; at < count; at += PERIOD) all.set(some.subarray(0, count - at), at);
  return all;
}

/** Names and shapes of a ResNet of torch, in the order of its state_dict. */
export function* resNetShapes(
  blocks: readonly number[],
  bottleneck: boolean,
  stem = [64, 3, 7, 7],
): Generator<[string, number[]]> {
  const norm = (name: string, channels: number): [string, number[]][] => [
    ...['weight', 'bias', 'running_mean', 'running_var'].map((each): [string, number[]] => [
      `${name}.${each}`,
      [channels],
    ]),
    [`${name}.num_batches_tracked`, []],
  ];
  const base = stem[0]!;
  yield ['conv1.weight', stem];
  yield* norm('bn1', base);
  let from = base;
  for (const [stage, count] of blocks.entries()) {
    const width = base * 2 ** stage;
    const to = bottleneck ? 4 * width : width;
    for (let block = 0; block < count; block++) {
      const at = `layer${stage + 1}.${block}`;
      const convolutions = bottleneck
        ? [
            [width, from, 1],
            [width, width, 3],
            [to, width, 1],
          ]
        : [
            [width, from, 3],
            [width, width, 3],
          ];
      for (const [i, [out, into, side]] of convolutions.entries()) {
        yield [`${at}.conv${i + 1}.weight`, [out!, into!, side!, side!]];
        yield* norm(`${at}.bn${i + 1}`, out!);
      }
      if (block === 0 && (stage > 0 || from !== to)) {
        yield [`${at}.downsample.0.weight`, [to, from, 1, 1]];
        yield* norm(`${at}.downsample.1`, to);
      }
      from = to;
    }
  }
  yield ['fc.weight', [10, from]];
  yield ['fc.bias', [10]];
}

/** Names and shapes of a vision transformer of timm, 12 blocks deep, in the order of its state_dict. */
function* transformerShapes({
  width,
  patch,
  squares,
  pooling,
  classes = 0,
}: TimmTransformer): Generator<[string, number[]]> {
  const isMean = pooling === 'mean';
  const layer = (name: string, shape: number[]): [string, number[]][] => [
    [`${name}.weight`, shape],
    [`${name}.bias`, [shape[0]!]],
  ];
  if (!isMean) yield ['cls_token', [1, 1, width]];
  yield ['pos_embed', [1, squares + (isMean ? 0 : 1), width]];
  yield* layer('patch_embed.proj', [width, 3, patch, patch]);
  for (let block = 0; block < 12; block++) {
    const at = `blocks.${block}`;
    yield* layer(`${at}.norm1`, [width]);
    yield* layer(`${at}.attn.qkv`, [3 * width, width]);
    yield* layer(`${at}.attn.proj`, [width, width]);
    yield* layer(`${at}.norm2`, [width]);
    yield* layer(`${at}.mlp.fc1`, [4 * width, width]);
    yield* layer(`${at}.mlp.fc2`, [width, 4 * width]);
  }
  yield* layer(isMean ? 'fc_norm' : 'norm', [width]);
  if (classes > 0) yield* layer('head', [classes, width]);
}

interface TimmTransformer {
  width: number;
  patch: number;
  squares: number;
  pooling: 'class' | 'mean';
  classes?: number;
}

/** Kernels as He et al. have them; normalisations as after a training. */
function rangeOf(name: string, shape: readonly number[]): [low: number, high: number] {
  if (name === 'cls_token' || name === 'pos_embed') return [-0.5, 0.5];
  const limit = Math.sqrt(6 / shape.slice(1).reduce((product, side) => product * side, 1));
  if (shape.length > 1) return [-limit, limit];
  if (name.endsWith('running_var')) return [0.5, 1.5];
  return name.endsWith('weight') ? [0.5, 1] : [-0.2, 0.2];
}

/** Tensors with numbers that are drawn, each from a series of its own. */
function drawnTensors(shapes: Iterable<[string, number[]]>): Map<string, Tensor> {
  const tensors = new Map<string, Tensor>();
  let k = 0;
  for (const [name, shape] of shapes) {
    if (name.endsWith('num_batches_tracked')) {
      tensors.set(name, { dtype: 'I64', shape, bytes: new Uint8Array(8) });
      continue;
    }
    k++;
    const size = shape.reduce((product, side) => product * side, 1);
    const [low, high] = rangeOf(name, shape);
    tensors.set(name, { dtype: 'F32', shape, bytes: new Uint8Array(drawnNumbers(size, k, low, high).buffer) });
  }
  return tensors;
}

/** A ResNet of torchvision or timm with weights and statistics that are drawn. */
export const drawnResNet = (blocks: readonly number[], bottleneck: boolean, stem?: number[]): Map<string, Tensor> =>
  drawnTensors(resNetShapes(blocks, bottleneck, stem));

/** A vision transformer of timm with weights that are drawn. */
export const drawnTransformer = (transformer: TimmTransformer): Map<string, Tensor> =>
  drawnTensors(transformerShapes(transformer));
