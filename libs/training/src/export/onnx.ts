/**
 * tfjs-layers models as ONNX graphs. Inputs and outputs keep the layout they have here (channels last); in between,
 * tensors of three axes and more have their channels first, as ONNX's operators want them.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel, SymbolicTensor } from '@tensorflow/tfjs-layers';
import { encodeOnnx } from './onnx-format.js';
import { axes, Graph, valuesOf, weightOf, type Use } from './onnx-graph.js';
import { TOKEN_WRITERS } from './onnx-tokens.js';
import { TrainingError } from '../session.js';

/** Most bytes of a protobuf message. */
const LARGEST = 2 ** 31 - 1;

const refuse = ({ layer }: Pick<Use, 'layer'>, expected: string, got: string): never => {
  throw new TrainingError(
    'invalid_spec',
    `expected ${expected} for an ONNX file, got ${got} in layer ${layer.name} (${layer.getClassName()}): export ` +
      'to tfjs or safetensors',
  );
};

/** Refuses a layer whose setting `key` is none of those that its conversion accounts for. */
function requireSetting(use: Use, key: string, known: readonly unknown[]): void {
  const value = use.settings[key];
  if (value !== undefined && value !== null && !known.includes(value))
    refuse(use, `${key} ${known.join(' or ')}`, JSON.stringify(value));
}

const perAxis = (value: unknown, count: number): number[] =>
  Array.isArray(value) ? (value as number[]) : Array<number>(count).fill(value as number);

const ACTIVATIONS: Readonly<Record<string, string>> = { relu: 'Relu', sigmoid: 'Sigmoid', tanh: 'Tanh' };

function activated(use: Use, value: string): string {
  if (use.settings['activation'] === 'gelu') return gelu(use, value);
  requireSetting(use, 'activation', ['linear', ...Object.keys(ACTIVATIONS), 'gelu']);
  const operator = ACTIVATIONS[String(use.settings['activation'])];
  return operator ? use.graph.add(operator, `${use.name}/${String(use.settings['activation'])}`, [value]) : value;
}

/** x / 2 · (1 + erf(x / √2)) */
function gelu({ name, graph }: Use, value: string): string {
  const own = `${name}/gelu`;
  const number = (part: string, at: number) => graph.floats(`${own}/${part}`, [1], Float32Array.of(at));
  const scaled = graph.add('Mul', `${own}/scaled`, [value, number('root', Math.SQRT1_2)]);
  const shifted = graph.add('Add', `${own}/shifted`, [graph.add('Erf', `${own}/erf`, [scaled]), number('one', 1)]);
  const half = graph.add('Mul', `${own}/half`, [value, number('half_of', 0.5)]);
  return graph.add('Mul', own, [half, shifted]);
}

/** What TensorFlow puts before and behind an axis with `same`: as much as the last window lacks, the odd one behind. */
function samePadding(side: number, kernel: number, stride: number, dilation: number): [number, number] {
  const total = Math.max(0, (Math.ceil(side / stride) - 1) * stride + (kernel - 1) * dilation + 1 - side);
  return [Math.floor(total / 2), Math.ceil(total / 2)];
}

/** As ONNX has them: what is before each axis, then what is behind each. */
function padsOf(
  { settings }: Use,
  sides: readonly number[],
  kernel: readonly number[],
  strides: readonly number[],
  dilations: readonly number[] = sides.map(() => 1),
): number[] {
  const pads = sides.map((side, axis) =>
    settings['padding'] === 'same' ? samePadding(side, kernel[axis]!, strides[axis]!, dilations[axis]!) : [0, 0],
  );
  return [...pads.map(([begin]) => begin!), ...pads.map(([, end]) => end!)];
}

function convolution(use: Use): string {
  const { layer, name, settings, inputs, inputShapes, graph } = use;
  requireSetting(use, 'dataFormat', ['channelsLast']);
  requireSetting(use, 'padding', ['same', 'valid']);
  const sides = inputShapes[0]!.slice(1, -1);
  const [kernelSize, strides, dilations] = (['kernelSize', 'strides', 'dilationRate'] as const).map((key) =>
    perAxis(settings[key], sides.length),
  ) as [number[], number[], number[]];
  const kernel = weightOf(layer, 'kernel')!;
  // [...places, in, out] → [out, in, ...places]
  const { shape, values } = tf.tidy(() => {
    const turned = tf.transpose(kernel, [kernel.rank - 1, kernel.rank - 2, ...axes(0, kernel.rank - 2)]);
    return { shape: turned.shape, values: valuesOf(turned) };
  });
  const bias = weightOf(layer, 'bias');
  return activated(
    use,
    graph.add(
      'Conv',
      name,
      [
        ...inputs,
        graph.floats(`${name}/kernel`, shape, values),
        ...(bias ? [graph.floats(`${name}/bias`, bias.shape, valuesOf(bias))] : []),
      ],
      {
        kernel_shape: { ints: kernelSize },
        strides: { ints: strides },
        dilations: { ints: dilations },
        pads: { ints: padsOf(use, sides, kernelSize, strides, dilations) },
      },
    ),
  );
}

function dense(use: Use): string {
  const { layer, name, inputs, inputShapes, graph } = use;
  const rank = inputShapes[0]!.length;
  if (rank !== 2 && rank !== 3)
    refuse(use, 'vectors, or rows of them', `inputs of shape [${inputShapes[0]!.join(', ')}]`);
  if (rank === 3) return activated(use, denseOfRows(use));
  const [kernel, bias] = [weightOf(layer, 'kernel')!, weightOf(layer, 'bias')];
  return activated(
    use,
    graph.add('Gemm', name, [
      ...inputs,
      graph.floats(`${name}/kernel`, kernel.shape, valuesOf(kernel)),
      ...(bias ? [graph.floats(`${name}/bias`, bias.shape, valuesOf(bias))] : []),
    ]),
  );
}

function denseOfRows({ layer, name, inputs, graph }: Use): string {
  const [kernel, bias] = [weightOf(layer, 'kernel')!, weightOf(layer, 'bias')];
  const rows = graph.channelsLast(`${name}/in`, inputs[0]!, 3);
  const product = graph.add('MatMul', name, [rows, graph.floats(`${name}/kernel`, kernel.shape, valuesOf(kernel))]);
  const shifted = bias
    ? graph.add('Add', `${name}/shifted`, [product, graph.floats(`${name}/bias`, bias.shape, valuesOf(bias))])
    : product;
  return graph.channelsFirst(name, shifted, 3);
}

function normalization(use: Use): string {
  const { layer, name, settings, inputs, inputShapes, graph } = use;
  requireSetting(use, 'axis', [-1, inputShapes[0]!.length - 1]);
  const channels = inputShapes[0]!.at(-1)!;
  const parameters = [
    ['gamma', 1],
    ['beta', 0],
    ['moving_mean', 0],
    ['moving_variance', 1],
  ] as const;
  return graph.add(
    'BatchNormalization',
    name,
    [
      ...inputs,
      ...parameters.map(([parameter, absent]) => {
        const weight = weightOf(layer, parameter);
        return graph.floats(
          `${name}/${parameter}`,
          [channels],
          weight ? valuesOf(weight) : new Float32Array(channels).fill(absent),
        );
      }),
    ],
    { epsilon: { float: settings['epsilon'] as number } },
  );
}

function rectifier(use: Use): string {
  requireSetting(use, 'maxValue', []);
  return use.graph.add('Relu', use.name, use.inputs);
}

/** Values keep the order that they have with channels last. */
function reshaped(use: Use): string {
  const { name, inputs, inputShapes, outputShape, graph } = use;
  requireSetting(use, 'dataFormat', ['channelsLast']);
  const flat = graph.channelsLast(name, inputs[0]!, inputShapes[0]!.length);
  const value = graph.add('Reshape', name, [flat, graph.wholes(`${name}/shape`, [-1, ...outputShape.slice(1)])]);
  return graph.channelsFirst(name, value, outputShape.length);
}

function permuted(use: Use): string {
  const { name, settings, inputs, inputShapes, graph } = use;
  const rank = inputShapes[0]!.length;
  const places = graph.channelsLast(`${name}/in`, inputs[0]!, rank);
  const turned = graph.add('Transpose', name, [places], { perm: { ints: [0, ...(settings['dims'] as number[])] } });
  return graph.channelsFirst(name, turned, rank);
}

/** Over the last axis of tfjs, which is the second one here for tensors of three axes and more. */
function softmax(use: Use): string {
  const rank = use.outputShape.length;
  requireSetting(use, 'axis', [-1, rank - 1]);
  return use.graph.add('Softmax', use.name, use.inputs, { axis: { int: 1 } });
}

function multiplied(use: Use): string {
  const { name, inputs, inputShapes, graph } = use;
  if (new Set(inputShapes.map(({ length }) => length)).size > 1) refuse(use, 'factors of as many axes', 'others');
  return inputs.slice(1).reduce((product, each) => graph.add('Mul', name, [product, each]), inputs[0]!);
}

function upsampled(use: Use): string {
  const { name, settings, inputs, graph } = use;
  requireSetting(use, 'dataFormat', ['channelsLast']);
  requireSetting(use, 'interpolation', ['nearest']);
  const size = settings['size'] as number[];
  // Each value is repeated: place i takes from floor(i / size).
  return graph.add(
    'Resize',
    name,
    [inputs[0]!, '', graph.floats(`${name}/scales`, [2 + size.length], Float32Array.from([1, 1, ...size]))],
    {
      mode: { text: 'nearest' },
      coordinate_transformation_mode: { text: 'asymmetric' },
      nearest_mode: { text: 'floor' },
    },
  );
}

function cropped(use: Use): string {
  const { name, settings, inputs, inputShapes, graph } = use;
  requireSetting(use, 'dataFormat', ['channelsLast']);
  const cropping = settings['cropping'] as [number, number][];
  const ends = cropping.map(([, end], axis) => inputShapes[0]![axis + 1]! - end);
  return graph.add('Slice', name, [
    inputs[0]!,
    graph.wholes(
      `${name}/starts`,
      cropping.map(([start]) => start),
    ),
    graph.wholes(`${name}/ends`, ends),
    graph.wholes(`${name}/axes`, axes(2, 2 + cropping.length)),
  ]);
}

function zeroPadded(use: Use): string {
  const { name, settings, inputs, graph } = use;
  requireSetting(use, 'dataFormat', ['channelsLast']);
  const padding = settings['padding'] as [number, number][];
  const pads = [0, 1].flatMap((end) => [0, 0, ...padding.map((axis) => axis[end]!)]);
  return graph.add('Pad', name, [inputs[0]!, graph.wholes(`${name}/pads`, pads)]);
}

/** The operators leave what is padded out of a maximum and of a mean, as TensorFlow's. */
const windowed =
  (operator: 'MaxPool' | 'AveragePool') =>
  (use: Use): string => {
    const { name, settings, inputs, inputShapes, graph } = use;
    requireSetting(use, 'dataFormat', ['channelsLast']);
    requireSetting(use, 'padding', ['same', 'valid']);
    const sides = inputShapes[0]!.slice(1, -1);
    const [size, strides] = (['poolSize', 'strides'] as const).map((key) => perAxis(settings[key], sides.length)) as [
      number[],
      number[],
    ];
    return graph.add(operator, name, inputs, {
      kernel_shape: { ints: size },
      strides: { ints: strides },
      pads: { ints: padsOf(use, sides, size, strides) },
    });
  };

function pooled(use: Use): string {
  requireSetting(use, 'dataFormat', ['channelsLast']);
  const { name, inputs, graph } = use;
  return graph.add('Flatten', name, [graph.add('GlobalAveragePool', `${name}/mean`, inputs)], { axis: { int: 1 } });
}

function joined(use: Use): string {
  const rank = use.outputShape.length;
  requireSetting(use, 'axis', [-1, rank - 1]);
  return use.graph.add('Concat', use.name, use.inputs, { axis: { int: 1 } });
}

const WRITERS: Readonly<Record<string, (use: Use) => string>> = {
  Conv1D: convolution,
  Conv2D: convolution,
  Dense: dense,
  BatchNormalization: normalization,
  ReLU: rectifier,
  LeakyReLU: ({ name, settings, inputs, graph }) =>
    graph.add('LeakyRelu', name, inputs, { alpha: { float: settings['alpha'] as number } }),
  Activation: (use) => activated(use, use.inputs[0]!),
  Add: ({ name, inputs, graph }) => graph.add('Sum', name, inputs),
  Multiply: multiplied,
  Softmax: softmax,
  Concatenate: joined,
  Flatten: reshaped,
  Reshape: reshaped,
  Permute: permuted,
  UpSampling2D: upsampled,
  Cropping2D: cropped,
  ZeroPadding2D: zeroPadded,
  MaxPooling2D: windowed('MaxPool'),
  AveragePooling2D: windowed('AveragePool'),
  GlobalAveragePooling1D: pooled,
  GlobalAveragePooling2D: pooled,
  ...TOKEN_WRITERS,
};

/**
 * A model at inference, of any batch size, as the content of an ONNX file. Inputs have the names of their layers;
 * `outputs` names what comes out. What it does not know how to write it refuses.
 * @throws TrainingError naming the layer
 */
export function onnxOf(model: LayersModel, outputs: readonly string[], metadata: Record<string, string>): Uint8Array[] {
  const graph = new Graph();
  const known = new Map<number, string>();
  for (const name of outputs) graph.unique(name);
  const inputs = model.inputs.map((tensor) => {
    const name = graph.unique(tensor.sourceLayer.name);
    known.set(tensor.id, graph.channelsFirst(name, name, tensor.shape.length));
    return { name, shape: tensor.shape };
  });
  const valueOf = (tensor: SymbolicTensor): string => {
    let value = known.get(tensor.id);
    if (value === undefined) {
      const layer = tensor.sourceLayer;
      const write =
        WRITERS[layer.getClassName()] ??
        refuse({ layer }, `one of ${Object.keys(WRITERS).join(', ')}`, layer.getClassName());
      const { inputTensors } = layer.inboundNodes[tensor.nodeIndex]!;
      const use = {
        layer,
        name: layer.name,
        settings: layer.getConfig(),
        inputShapes: inputTensors.map(({ shape }) => shape as number[]),
        outputShape: tensor.shape as number[],
        graph,
      };
      for (const shape of [...use.inputShapes, use.outputShape])
        if (shape.slice(1).includes(null as never)) refuse(use, 'sizes that are known', `shape [${shape.join(', ')}]`);
      value = write({ ...use, inputs: inputTensors.map(valueOf) });
      known.set(tensor.id, value);
    }
    return value;
  };
  const ends = model.outputs.map((tensor, i) => {
    const name = outputs[i]!;
    const value = graph.channelsLast(name, valueOf(tensor), tensor.shape.length);
    graph.nodes.push({ operator: 'Identity', inputs: [value], output: name, attributes: {} });
    return { name, shape: tensor.shape };
  });
  const content = encodeOnnx({
    name: model.name,
    nodes: graph.nodes,
    constants: graph.constants,
    inputs,
    outputs: ends,
    metadata,
  });
  const bytes = content.reduce((sum, { length }) => sum + length, 0);
  if (bytes > LARGEST)
    throw new TrainingError(
      'invalid_spec',
      `expected a network of less than 2 GiB for an ONNX file, got ${bytes} bytes in ${model.name}: export to ` +
        'tfjs or safetensors',
    );
  return content;
}
