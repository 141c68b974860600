/** Activations as ONNX operators, by themselves and at the end of other layers. */
import * as tf from '@tensorflow/tfjs-core';
import { axes, valuesOf, weightOf, type Use } from './onnx-graph.js';
import { requireSetting } from './onnx-settings.js';

/** Adds an operator with numbers beside its input; gives the name of what it makes. */
type Step = (operator: string, part: string, inputs: readonly (string | number)[]) => string;

/** Operators under names that begin with the activation's; numbers among their inputs become constants. */
function stepsOf({ graph }: Use, own: string): Step {
  return (operator, part, inputs) =>
    graph.add(
      operator,
      part === '' ? own : `${own}/${part}`,
      inputs.map((input, i) =>
        typeof input === 'string' ? input : graph.floats(`${own}/${part}_${i}`, [], Float32Array.of(input)),
      ),
    );
}

/** Those that are one operator in its usual settings, which are TensorFlow's. */
const PLAIN: Readonly<Record<string, string>> = {
  elu: 'Elu',
  hardSigmoid: 'HardSigmoid',
  relu: 'Relu',
  selu: 'Selu',
  sigmoid: 'Sigmoid',
  softplus: 'Softplus',
  softsign: 'Softsign',
  tanh: 'Tanh',
};
/** Those over the last axis of tfjs. */
const OVER_CHANNELS: Readonly<Record<string, string>> = { softmax: 'Softmax', logSoftmax: 'LogSoftmax' };
const MADE: Readonly<Record<string, (step: Step, x: string) => string>> = {
  /** x / 2 · (1 + erf(x / √2)) */
  gelu: (step, x) => {
    const below = step('Erf', 'erf', [step('Mul', 'scaled', [x, Math.SQRT1_2])]);
    return step('Mul', '', [step('Mul', 'half', [x, 0.5]), step('Add', 'shifted', [below, 1])]);
  },
  /** x / 2 · (1 + tanh(√(2 / π) · (x + 0.044715 · x³))) */
  gelu_new: (step, x) => {
    const cube = step('Mul', 'cube', [step('Mul', 'square', [x, x]), x]);
    const inside = step('Add', 'inside', [x, step('Mul', 'part', [cube, 0.044715])]);
    const below = step('Tanh', 'tanh', [step('Mul', 'scaled', [inside, Math.sqrt(2 / Math.PI)])]);
    return step('Mul', '', [step('Mul', 'half', [x, 0.5]), step('Add', 'shifted', [below, 1])]);
  },
  mish: (step, x) => step('Mul', '', [x, step('Tanh', 'tanh', [step('Softplus', 'softplus', [x])])]),
  relu6: (step, x) => step('Clip', '', [x, 0, 6]),
  swish: (step, x) => step('Mul', '', [x, step('Sigmoid', 'sigmoid', [x])]),
};

/** What the activation of a layer makes of a value. */
export function activated(use: Use, value: string): string {
  const activation = (use.settings['activation'] ?? 'linear') as string;
  requireSetting(use, 'activation', [
    'linear',
    ...[PLAIN, OVER_CHANNELS, MADE].flatMap((each) => Object.keys(each)).sort(),
  ]);
  const own = `${use.name}/${activation}`;
  if (PLAIN[activation]) return use.graph.add(PLAIN[activation], own, [value]);
  if (OVER_CHANNELS[activation]) return use.graph.add(OVER_CHANNELS[activation], own, [value], { axis: { int: 1 } });
  return MADE[activation]?.(stepsOf(use, own), value) ?? value;
}

function rectifier(use: Use): string {
  const { name, settings, inputs, graph } = use;
  const { maxValue } = settings;
  return typeof maxValue === 'number'
    ? stepsOf(use, name)('Clip', '', [inputs[0]!, 0, maxValue])
    : graph.add('Relu', name, inputs);
}

/** Over the last axis of tfjs, which has no other. */
const softmax = ({ name, inputs, graph }: Use): string => graph.add('Softmax', name, inputs, { axis: { int: 1 } });

/** Slopes are those of one sample, with its last axis, the channels, first. */
function learntRectifier({ layer, name, inputs, graph }: Use): string {
  const slopes = weightOf(layer, 'alpha')!;
  const { shape, values } = tf.tidy(() => {
    const turned = slopes.rank < 2 ? slopes : tf.transpose(slopes, [slopes.rank - 1, ...axes(0, slopes.rank - 1)]);
    return { shape: turned.shape, values: valuesOf(turned) };
  });
  return graph.add('PRelu', name, [...inputs, graph.floats(`${name}/alpha`, shape, values)]);
}

/** The slope of negative numbers is a setting. */
const leaky =
  (operator: 'LeakyRelu' | 'Elu') =>
  ({ name, settings, inputs, graph }: Use): string =>
    graph.add(operator, name, inputs, { alpha: { float: settings['alpha'] as number } });

export const ACTIVATION_WRITERS: Readonly<Record<string, (use: Use) => string>> = {
  Activation: (use) => activated(use, use.inputs[0]!),
  ELU: leaky('Elu'),
  LeakyReLU: leaky('LeakyRelu'),
  PReLU: learntRectifier,
  ReLU: rectifier,
  Softmax: softmax,
};
