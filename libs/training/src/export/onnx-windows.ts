/** Convolutions and pools as ONNX operators. */
import * as tf from '@tensorflow/tfjs-core';
import { activated } from './onnx-activations.js';
import type { Attribute } from './onnx-format.js';
import { axes, valuesOf, weightOf, type Use } from './onnx-graph.js';
import { requireSetting } from './onnx-settings.js';

const perAxis = (value: unknown, count: number): number[] =>
  Array.isArray(value) ? (value as number[]) : Array<number>(count).fill(value as number);

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

/** Height and width of the input, and what is set for each of them; for rows one of each. */
function windowOf(use: Use, size: 'kernelSize' | 'poolSize') {
  requireSetting(use, 'dataFormat', ['channelsLast']);
  requireSetting(use, 'padding', ['same', 'valid']);
  const sides = use.inputShapes[0]!.slice(1, -1);
  const [kernel, strides, dilations] = ([size, 'strides', 'dilationRate'] as const).map((key) =>
    perAxis(use.settings[key] ?? 1, sides.length),
  ) as [number[], number[], number[]];
  return { sides, kernel, strides, dilations };
}

/** Attributes of an operator whose window slides over its input. */
function slides(use: Use): Record<string, Attribute> {
  const { sides, kernel, strides, dilations } = windowOf(use, 'kernelSize');
  return {
    kernel_shape: { ints: kernel },
    strides: { ints: strides },
    dilations: { ints: dilations },
    pads: { ints: padsOf(use, sides, kernel, strides, dilations) },
  };
}

/** The name of a kernel in the graph, its axes in another order; `shape`: as which it lies there. */
function turnedKernel(
  { layer, name, graph }: Use,
  weight: string,
  order: (rank: number) => number[],
  shape?: number[],
): string {
  const kernel = weightOf(layer, weight)!;
  const turned = tf.tidy(() => {
    const tensor = tf.transpose(kernel, order(kernel.rank));
    return { shape: tensor.shape, values: valuesOf(tensor) };
  });
  return graph.floats(`${name}/${weight}`, shape ?? turned.shape, turned.values);
}

/** The name of the offsets in the graph, where a layer has them. */
function offsets({ layer, name, graph }: Use): string[] {
  const bias = weightOf(layer, 'bias');
  return bias ? [graph.floats(`${name}/bias`, bias.shape, valuesOf(bias))] : [];
}

/** [...places, in, out] → [out, in, ...places] */
const outFirst = (rank: number): number[] => [rank - 1, rank - 2, ...axes(0, rank - 2)];

function convolution(use: Use): string {
  const attributes = slides(use);
  const kernel = turnedKernel(use, 'kernel', outFirst);
  return activated(use, use.graph.add('Conv', use.name, [...use.inputs, kernel, ...offsets(use)], attributes));
}

/** The kernel [height, width, in, multiplier] of each channel by itself: [in · multiplier, 1, height, width] */
function depthwiseKernel(use: Use): string {
  const [height, width, channels, multiplier] = weightOf(use.layer, 'depthwise_kernel')!.shape as [
    number,
    number,
    number,
    number,
  ];
  return turnedKernel(use, 'depthwise_kernel', () => [2, 3, 0, 1], [channels * multiplier, 1, height, width]);
}

function depthwise(use: Use): string {
  const attributes = { ...slides(use), group: { int: use.inputShapes[0]!.at(-1)! } };
  const kernel = depthwiseKernel(use);
  return activated(use, use.graph.add('Conv', use.name, [...use.inputs, kernel, ...offsets(use)], attributes));
}

function separable(use: Use): string {
  const { name, inputs, inputShapes, graph } = use;
  const attributes = { ...slides(use), group: { int: inputShapes[0]!.at(-1)! } };
  const apart = graph.add('Conv', `${name}/depthwise`, [...inputs, depthwiseKernel(use)], attributes);
  const mixed = graph.add('Conv', name, [apart, turnedKernel(use, 'pointwise_kernel', outFirst), ...offsets(use)]);
  return activated(use, mixed);
}

/**
 * What the gradient of a convolution gives: places of the input, `strides` apart, each spread by the kernel. With
 * `same` so much is cut off as that convolution would pad; where kernels are smaller than their stride, zeros follow.
 */
function transposed(use: Use): string {
  const { name, settings, inputs, graph } = use;
  const { sides, kernel, strides } = windowOf(use, 'kernelSize');
  const surplus = kernel.map((size, axis) => size - strides[axis]!);
  const pads = surplus.map((each) => (settings['padding'] === 'same' ? Math.max(0, each) : 0));
  return activated(
    use,
    graph.add(
      'ConvTranspose',
      name,
      // [height, width, out, in] → [in, out, height, width]
      [...inputs, turnedKernel(use, 'kernel', () => [3, 2, 0, 1]), ...offsets(use)],
      {
        kernel_shape: { ints: kernel },
        strides: { ints: strides },
        pads: { ints: [...pads.map((each) => Math.floor(each / 2)), ...pads.map((each) => Math.ceil(each / 2))] },
        output_padding: { ints: sides.map((_, axis) => Math.max(0, -surplus[axis]!)) },
      },
    ),
  );
}

/** The operators leave what is padded out of a maximum and of a mean, as TensorFlow's. */
const windowed =
  (operator: 'MaxPool' | 'AveragePool') =>
  (use: Use): string => {
    const { sides, kernel, strides } = windowOf(use, 'poolSize');
    return use.graph.add(operator, use.name, use.inputs, {
      kernel_shape: { ints: kernel },
      strides: { ints: strides },
      pads: { ints: padsOf(use, sides, kernel, strides) },
    });
  };

const pooled =
  (operator: 'GlobalAveragePool' | 'GlobalMaxPool') =>
  (use: Use): string => {
    requireSetting(use, 'dataFormat', ['channelsLast']);
    const { name, inputs, graph } = use;
    return graph.add('Flatten', name, [graph.add(operator, `${name}/whole`, inputs)], { axis: { int: 1 } });
  };

export const WINDOW_WRITERS: Readonly<Record<string, (use: Use) => string>> = {
  AveragePooling1D: windowed('AveragePool'),
  AveragePooling2D: windowed('AveragePool'),
  Conv1D: convolution,
  Conv2D: convolution,
  Conv2DTranspose: transposed,
  DepthwiseConv2D: depthwise,
  GlobalAveragePooling1D: pooled('GlobalAveragePool'),
  GlobalAveragePooling2D: pooled('GlobalAveragePool'),
  GlobalMaxPooling1D: pooled('GlobalMaxPool'),
  GlobalMaxPooling2D: pooled('GlobalMaxPool'),
  MaxPooling1D: windowed('MaxPool'),
  MaxPooling2D: windowed('MaxPool'),
  SeparableConv2D: separable,
};
