/**
 * tfjs-layers models as ONNX graphs. Inputs and outputs keep the layout they have here (channels last); in between,
 * tensors of three axes and more have their channels first, as ONNX's operators want them.
 */
import type { LayersModel, SymbolicTensor } from '@tensorflow/tfjs-layers';
import { ACTIVATION_WRITERS, activated } from './onnx-activations.js';
import { encodeOnnx } from './onnx-format.js';
import { axes, Graph, valuesOf, weightOf, type Use } from './onnx-graph.js';
import { axisOf, refuse, requireOneRank, requireSetting } from './onnx-settings.js';
import { TOKEN_WRITERS } from './onnx-tokens.js';
import { WINDOW_WRITERS } from './onnx-windows.js';
import { TrainingError } from '../train-context.js';

/** Most bytes of a protobuf message. */
const LARGEST = 2 ** 31 - 1;

function dense(use: Use): string {
  const { layer, name, inputs, inputShapes, graph } = use;
  const rank = inputShapes[0]!.length;
  if (rank > 2) return activated(use, denseOfRows(use, rank));
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

/** Of rows, or of each place of a map. */
function denseOfRows({ layer, name, inputs, graph }: Use, rank: number): string {
  const [kernel, bias] = [weightOf(layer, 'kernel')!, weightOf(layer, 'bias')];
  const rows = graph.channelsLast(`${name}/in`, inputs[0]!, rank);
  const product = graph.add('MatMul', name, [rows, graph.floats(`${name}/kernel`, kernel.shape, valuesOf(kernel))]);
  const shifted = bias
    ? graph.add('Add', `${name}/shifted`, [product, graph.floats(`${name}/bias`, bias.shape, valuesOf(bias))])
    : product;
  return graph.channelsFirst(name, shifted, rank);
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

/** What is of all inputs together, number by number. */
const merged =
  (operator: 'Sum' | 'Mean' | 'Max' | 'Min') =>
  (use: Use): string => {
    requireOneRank(use);
    return use.graph.add(operator, use.name, use.inputs);
  };

function multiplied(use: Use): string {
  const { name, inputs, graph } = use;
  requireOneRank(use);
  return inputs.slice(1).reduce((product, each) => graph.add('Mul', name, [product, each]), inputs[0]!);
}

/** Rows [N, T, C] of two inputs, one axis of each summed over. */
function dotted(use: Use): string {
  const { name, settings, inputs, inputShapes, graph } = use;
  requireSetting(use, 'normalize', [false]);
  if (inputShapes.some(({ length }) => length !== 3)) refuse(use, 'rows', 'inputs of other ranks');
  const given = settings['axes'] as number | number[];
  const [left, right] = [given, given].map((each, i) => {
    const axis = Array.isArray(each) ? each[i]! : each;
    return axis < 0 ? axis + 3 : axis;
  });
  const [a, b] = inputs.map((input, i) => graph.channelsLast(`${name}/in${i}`, input, 3)) as [string, string];
  const turned = (part: string, value: string) =>
    graph.add('Transpose', `${name}/${part}`, [value], { perm: { ints: [0, 2, 1] } });
  const product = graph.add('MatMul', name, [left === 2 ? a : turned('left', a), right === 1 ? b : turned('right', b)]);
  return graph.channelsFirst(name, product, 3);
}

/** x · scale + offset, of each channel or of all. */
function rescaled({ name, settings, inputs, outputShape, graph }: Use): string {
  const [scale, offset] = (['scale', 'offset'] as const).map((key) => {
    const values = [settings[key] ?? 0].flat() as number[];
    // Of channels, which lie before places here.
    const places = values.length > 1 ? outputShape.slice(2).map(() => 1) : [];
    return graph.floats(`${name}/${key}`, [values.length, ...places], Float32Array.from(values));
  }) as [string, string];
  return graph.add('Add', name, [graph.add('Mul', `${name}/scaled`, [inputs[0]!, scale]), offset]);
}

/** [N, C] → rows [N, n, C], which are [N, C, n] here. */
function repeated({ name, settings, inputs, graph }: Use): string {
  const column = graph.add('Unsqueeze', `${name}/column`, [inputs[0]!, graph.wholes(`${name}/axes`, [2])]);
  return graph.add('Tile', name, [column, graph.wholes(`${name}/repeats`, [1, 1, settings['n'] as number])]);
}

/** What only does something while a network learns. */
const asItIs = ({ inputs }: Use): string => inputs[0]!;

function upsampled(use: Use): string {
  const { name, settings, inputs, graph } = use;
  requireSetting(use, 'dataFormat', ['channelsLast']);
  requireSetting(use, 'interpolation', ['nearest', 'bilinear']);
  const size = settings['size'] as number[];
  const isNearest = settings['interpolation'] !== 'bilinear';
  // Place i takes from i / size: from the place before that, or between both.
  return graph.add(
    'Resize',
    name,
    [inputs[0]!, '', graph.floats(`${name}/scales`, [2 + size.length], Float32Array.from([1, 1, ...size]))],
    {
      mode: { text: isNearest ? 'nearest' : 'linear' },
      coordinate_transformation_mode: { text: 'asymmetric' },
      ...(isNearest && { nearest_mode: { text: 'floor' } }),
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

function joined({ name, settings, inputs, outputShape, graph }: Use): string {
  return graph.add('Concat', name, inputs, { axis: { int: axisOf(settings['axis'], outputShape.length) } });
}

const WRITERS: Readonly<Record<string, (use: Use) => string>> = {
  ...WINDOW_WRITERS,
  ...ACTIVATION_WRITERS,
  ...TOKEN_WRITERS,
  Add: merged('Sum'),
  AlphaDropout: asItIs,
  Average: merged('Mean'),
  BatchNormalization: normalization,
  Concatenate: joined,
  Cropping2D: cropped,
  Dense: dense,
  Dot: dotted,
  Dropout: asItIs,
  Flatten: reshaped,
  GaussianDropout: asItIs,
  GaussianNoise: asItIs,
  Maximum: merged('Max'),
  Minimum: merged('Min'),
  Multiply: multiplied,
  Permute: permuted,
  RepeatVector: repeated,
  Rescaling: rescaled,
  Reshape: reshaped,
  SpatialDropout1D: asItIs,
  SpatialDropout2D: asItIs,
  UpSampling2D: upsampled,
  ZeroPadding2D: zeroPadded,
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
        refuse({ layer }, `one of ${Object.keys(WRITERS).sort().join(', ')}`, layer.getClassName());
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
