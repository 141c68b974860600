/** Descriptions as Keras 3 writes them, of those of Keras 2 in `layers-models.ts`. */
import type { Weight } from './layers-models.js';

type Json = Record<string, unknown>;
/** What the converter was given. */
type File = '.h5' | '.keras';
const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const POLICY = { module: 'keras', class_name: 'DTypePolicy', config: { name: 'float32' }, registered_name: null };
/** What layers of these classes take beside their input where nothing is said, as a file has it. */
const KWARGS: Readonly<Record<string, Json>> = {
  BatchNormalization: { mask: null },
  Dropout: { training: false },
  GlobalAveragePooling2D: {},
};

function settingsOf(className: string, { batch_input_shape: shape, ...config }: Json): Json {
  const own = Object.fromEntries(
    Object.entries(config).map(([key, value]) => [
      key,
      isObject(value) && key.endsWith('_initializer')
        ? { module: 'keras.initializers', ...value, registered_name: null }
        : value,
    ]),
  );
  if (className === 'InputLayer') return { batch_shape: shape, ...own };
  return { ...own, dtype: POLICY };
}

const tensor = (history: unknown): Json => ({
  class_name: '__keras_tensor__',
  config: { shape: [null, 8, 8, 8], dtype: 'float32', keras_history: history },
});

/** `[[["conv", 0, 0, {}], …]]` → `[{args, kwargs}]`: a tensor, or a list of several. */
function callsOf(className: string, calls: unknown): Json[] {
  return (calls as unknown[][][]).map((call) => {
    const tensors = call.map((each) => tensor(each.slice(0, 3)));
    return { args: tensors.length === 1 ? tensors : [tensors], kwargs: KWARGS[className] ?? {} };
  });
}

function described({ class_name: className, name, config, inbound_nodes: calls }: Json, file: File): Json {
  const { layers, ...settings } = config as Json;
  return {
    class_name: className,
    config: Array.isArray(layers)
      ? {
          ...settings,
          layers: layers.map((each: Json) => described(each, file)),
          // Of a single one no list.
          output_layers: (settings['output_layers'] as unknown[])[0],
        }
      : settingsOf(String(className), settings),
    ...(file === '.keras' && {
      module: 'keras.layers',
      registered_name: null,
      build_config: { input_shape: [null, 8, 8, 8] },
    }),
    ...(name !== undefined && { name }),
    ...(calls !== undefined && { inbound_nodes: callsOf(String(className), calls) }),
  };
}

/** What the converter's `keras_keras` takes out. */
const leftOut = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(leftOut);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, each]) =>
      ['module', 'registered_name'].includes(key) ? [] : [[key, leftOut(each)]],
    ),
  );
};

/**
 * A description as Keras 3 has it: in an `.h5` file, or, with `.keras`, as the converter's `keras_keras` makes it of
 * one.
 */
export function asKeras3({ modelTopology, ...json }: Json, file: File): Json {
  const { model_config: model } = modelTopology as { model_config: Json };
  const written = described(model, file);
  return {
    ...json,
    generatedBy: 'keras v3.15.1',
    modelTopology: {
      keras_version: '3.15.1',
      model_config: file === '.keras' ? leftOut(written) : written,
    },
  };
}

const FOLDERS: Readonly<Record<string, string>> = {
  BatchNormalization: 'batch_normalization',
  Conv2D: 'conv2d',
  Dense: 'dense',
  DepthwiseConv2D: 'depthwise_conv2d',
  LayerNormalization: 'layer_normalization',
  PReLU: 'p_re_lu',
  SeparableConv2D: 'separable_conv2d',
};

/** Weights of layers that lie beside each other in a model, by the names that Keras 3 gives them in such a file. */
export function namedAsKeras3(weights: readonly Weight[], layers: readonly Json[], file: File): Weight[] {
  const classes = new Map(layers.map(({ class_name: className, name }) => [String(name), String(className)]));
  const partsOf = (name: string): [layer: string, weight: string] => {
    const at = name.lastIndexOf('/');
    return [name.slice(0, at), name.slice(at + 1)];
  };
  if (file === '.h5')
    return weights.map((weight) => {
      const [layer] = partsOf(weight.name);
      return classes.get(layer) === 'DepthwiseConv2D' ? { ...weight, name: `${layer}/kernel` } : weight;
    });
  const seen = new Map<string, number>();
  const folders = new Map<string, string>();
  for (const [layer, className] of classes) {
    const folder = FOLDERS[className];
    if (folder === undefined) continue;
    const count = seen.get(folder) ?? 0;
    seen.set(folder, count + 1);
    folders.set(layer, count > 0 ? `layers/${folder}_${count}` : `layers/${folder}`);
  }
  const numbers = new Map<string, number>();
  return weights.map((weight) => {
    const [layer] = partsOf(weight.name);
    const number = numbers.get(layer) ?? 0;
    numbers.set(layer, number + 1);
    return { ...weight, name: `${folders.get(layer)}/vars/${number}` };
  });
}
