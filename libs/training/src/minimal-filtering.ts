/** Which convolutions of a graph run on kernels of this project's own in place of TensorFlow's (ADR 29). */
import { filters, type Attribute } from '#libs/tensorflow';

/** What an operation takes; its values where they are those of a constant. */
export interface Operand {
  shape: readonly number[];
  values: ArrayLike<number> | undefined;
}
interface Convolution {
  /** [N, H, W, C] */
  images: readonly number[];
  /** [3, 3, C, K] */
  filter: readonly number[];
}
interface Replacement {
  operation: string;
  /** Which of the other's inputs it takes. */
  inputs: readonly [number, number];
  convolution: (operands: readonly Operand[]) => Convolution;
}

/** By TensorFlow's operations. The first input of an input's gradient is that shape, and the second of a filter's. */
const REPLACEMENTS: Record<string, Replacement> = {
  Conv2D: {
    operation: 'LoomConvolution',
    inputs: [0, 1],
    convolution: ([images, filter]) => ({ images: images!.shape, filter: filter!.shape }),
  },
  Conv2DBackpropInput: {
    operation: 'LoomConvolutionInputGradient',
    inputs: [2, 1],
    convolution: ([images, filter]) => ({ images: Array.from(images!.values ?? []), filter: filter!.shape }),
  },
  Conv2DBackpropFilter: {
    operation: 'LoomConvolutionFilterGradient',
    inputs: [0, 2],
    convolution: ([images, filter]) => ({ images: images!.shape, filter: Array.from(filter!.values ?? []) }),
  },
};

const isOfOnes = (value: unknown): boolean => Array.isArray(value) && value.every((each) => each === 1);
const SETTINGS: Record<string, (value: unknown) => boolean> = {
  strides: isOfOnes,
  dilations: isOfOnes,
  padding: (value) => value === 'SAME',
  data_format: (value) => value === 'NHWC',
};

/** What takes the place of a convolution or its gradient, in float32; undefined where TensorFlow's own is to run. */
export function minimalFiltering(
  operation: string,
  attributes: readonly Attribute[],
  operands: readonly Operand[],
): Pick<Replacement, 'operation' | 'inputs'> | undefined {
  const replacement = REPLACEMENTS[operation];
  if (!replacement || !attributes.every(({ name, value }) => SETTINGS[name]?.(value) ?? true)) return undefined;
  const { images, filter } = replacement.convolution(operands);
  const [count, height, width, channelsIn] = images as [number, number, number, number];
  const fits = filter[0] === 3 && filter[1] === 3 && filters(count, height, width, channelsIn, filter[3]!);
  return fits ? replacement : undefined;
}
