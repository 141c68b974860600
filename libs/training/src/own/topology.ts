/**
 * A layers model's own description of itself (Keras 2 and 3 as their converter writes them, tfjs) → its layers and the
 * order in which they are computed. Models inside of models are laid open. Nothing of a file is built, and nothing that
 * it says is believed, before it was checked here.
 */
import { InvalidDataError, named } from '#libs/data';
import { adviceOn, FIXED, KINDS, meantOtherwise, WORDS, type Setting, type Settings } from './layer-kinds.js';
import { foldersOf } from './layers-file.js';
import { stepsFor, type OwnLayer, type Topology } from './own-network.js';

type Json = Record<string, unknown>;
/** The result of a step, or the input (0). */
type Value = number;

const MOST_LAYERS = 4000;
const MOST_STEPS = 8000;
const DEEPEST = 16;
const MODELS = ['Functional', 'Model', 'Sequential'];
/** What other programs call settings or words that tfjs has by other names. */
const RENAMED: Readonly<Record<string, string>> = { negativeSlope: 'alpha' };
const OTHER_WORDS: Readonly<Record<string, string>> = { silu: 'swish', leaky_relu: 'leakyRelu', gelu_new: 'gelu_new' };
const LAYER_NAME = /^[^\p{C}]{1,200}$/u;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const camelCase = (word: string): string => word.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
const shown = (value: unknown): string => (JSON.stringify(value) ?? 'nothing').slice(0, 100);

/** @throws InvalidDataError for a key by which a parser could be led astray; walks without recursion */
export function requirePlain(json: unknown, file: string): void {
  const waiting: unknown[] = [json];
  while (waiting.length) {
    const value = waiting.pop();
    if (Array.isArray(value)) for (const each of value) waiting.push(each);
    else if (isObject(value))
      for (const key of Object.keys(value)) {
        if (['__proto__', 'constructor', 'prototype'].includes(key))
          throw new InvalidDataError(`expected ${file} to have no key ${key}`);
        waiting.push(value[key]);
      }
  }
}

/** A layer of the file, before it is known what it is applied to. */
interface Described {
  name: string;
  className: string;
  config: Json;
  /** What it is applied to, call by call: as a file has it. */
  calls: unknown[];
}

/** A layer or a model among the parts of another. */
interface Placed {
  layer: Described;
  part: object;
  /** Of which models it is a part. */
  within: readonly string[];
  /** Where a `.keras` file keeps its weights. */
  path: string;
}

/** Where a value comes from: a layer's call. */
type Reference = [layer: string, call: number];

/** The number of a layer's first call. A model inside of another has made one of its own, which files may count. */
function firstCalls(layers: readonly Described[], references: readonly Reference[]): Map<string, number> {
  const models = new Set(layers.filter(({ className }) => MODELS.includes(className)).map(({ name }) => name));
  const first = new Map<string, number>();
  for (const [name, call] of references)
    if (models.has(name)) first.set(name, Math.min(1, call, first.get(name) ?? call));
  return first;
}

class Reader {
  readonly layers: OwnLayer[] = [];
  readonly steps: Topology['steps'] = [];
  /** Of each layer, by its name: where a `.keras` file keeps its weights. */
  readonly folders = new Map<string, string>();
  private readonly names = new Set<string>();
  /** Of each layer's description: its place among the layers. Of a model inside of this one, of its parts. */
  private readonly known = new Map<object, number>();
  /** How often models were applied, this one and those inside. */
  private applied = 0;

  /** @param madeBy the version of the program that wrote the file, as it says */
  constructor(
    private readonly file: string,
    private readonly madeBy: string,
  ) {}

  fail(why: string): InvalidDataError {
    return new InvalidDataError(`expected ${this.file} to be a layers model: ${why}`);
  }

  private described(given: unknown): Described {
    if (!isObject(given)) throw this.fail(`a layer is described by ${shown(given)}`);
    const { class_name: className, config, name, inbound_nodes: calls = [] } = given;
    const own = typeof name === 'string' ? name : (config as Json | null | undefined)?.['name'];
    if (typeof className !== 'string' || !isObject(config) || typeof own !== 'string' || !LAYER_NAME.test(own))
      throw this.fail(`a layer has no class_name, config and name: ${shown(given)}`);
    if (!Array.isArray(calls)) throw this.fail(`what layer ${own} is applied to is no list`);
    return { name: own, className, config, calls };
  }

  /**
   * Adds what a model makes of values, and gives its results. `within`: of which models it is a part; `path`: where a
   * `.keras` file keeps its layers.
   */
  apply(model: Json, inputs: Value[], within: readonly string[] = [], path = 'layers'): Value[] {
    if (within.length > DEEPEST) throw this.fail(`models lie in each other, ${within.join(' in ')}`);
    if (++this.applied > MOST_STEPS) throw this.fail(`models inside of it are applied more than ${MOST_STEPS} times`);
    const { class_name: className, config } = model;
    const parts = partsOf(config);
    const layers = parts.map((part) => this.described(part));
    const folders = foldersOf(layers.map(({ className }) => className));
    const placed = layers.map((layer, i): Placed => ({
      layer,
      part: parts[i] as object,
      within,
      path: `${path}/${folders[i]!}`,
    }));
    return className === 'Sequential' ? [this.chain(placed, inputs)] : this.graph(config as Json, placed, inputs);
  }

  private chain(placed: Placed[], inputs: Value[]): Value {
    let [value] = inputs as [Value];
    for (const each of placed) if (each.layer.className !== 'InputLayer') value = this.result(each, [value]);
    return value;
  }

  private graph(config: Json, placed: Placed[], inputs: Value[]): Value[] {
    const layers = placed.map(({ layer }) => layer);
    if (layers.reduce((sum, { calls }) => sum + calls.length, 0) > MOST_STEPS)
      throw this.fail(`it applies its layers more than ${MOST_STEPS} times`);
    const results = new Map<string, Value[]>(layers.map(({ name }) => [name, []]));
    if (results.size < layers.length) throw this.fail('two of its layers have one name');
    const starts = this.references(config['input_layers']);
    if (starts.length !== inputs.length)
      throw this.fail(`expected a model of ${inputs.length} input, got ${starts.length}`);
    starts.forEach(([name], i) => {
      if (!results.has(name)) throw this.fail(`its input ${name} is no layer`);
      results.set(name, [inputs[i]!]);
    });
    let waiting = placed.flatMap((each) =>
      results.get(each.layer.name)!.length > 0
        ? []
        : each.layer.calls.map((call, at) => ({ ...each, at, from: this.callOf(each.layer, call) })),
    );
    const outputs = this.references(config['output_layers']);
    const first = firstCalls(layers, [...waiting.flatMap(({ from }) => from), ...outputs]);
    const valueOf = ([name, call]: Reference) => results.get(name)?.[call - (first.get(name) ?? 0)];
    while (waiting.length) {
      const later = waiting.filter((each) => {
        const values = each.from.map(valueOf);
        const own = results.get(each.layer.name)!;
        if (own.length !== each.at || values.some((value) => value === undefined)) return true;
        own.push(this.result(each, values as Value[]));
        return false;
      });
      if (later.length === waiting.length)
        throw this.fail(
          `its layers wait for each other, or for layers that there are not: ` +
            named(later.map(({ layer, from }) => `${layer.name} for ${from.map(([name]) => name).join(' and ')}`)),
        );
      waiting = later;
    }
    const ends = outputs.map(valueOf);
    if (ends.length === 0 || ends.some((value) => value === undefined)) throw this.fail('its output is of no layer');
    return ends as Value[];
  }

  /** The result of a layer, or of a model in its place, of these values. */
  private result({ layer, part, within, path }: Placed, from: Value[]): Value {
    if (MODELS.includes(layer.className)) {
      const model = { class_name: layer.className, config: layer.config };
      const outputs = this.apply(model, from, [...within, layer.name], `${path}/layers`);
      if (outputs.length !== 1) throw this.fail(`the model ${layer.name} inside of it has ${outputs.length} outputs`);
      return outputs[0]!;
    }
    let index = this.known.get(part);
    if (index === undefined) {
      index = this.layers.length;
      this.known.set(part, index);
      const checked = this.checked(layer, within);
      this.layers.push(checked);
      this.folders.set(checked.name, path);
    }
    if (this.layers.length > MOST_LAYERS || this.steps.push({ layer: index, from }) > MOST_STEPS)
      throw this.fail(`it has more than ${MOST_LAYERS} layers, or applies them more than ${MOST_STEPS} times`);
    return this.steps.length;
  }

  private checked({ name, className, config }: Described, within: readonly string[]): OwnLayer {
    const kind = Object.hasOwn(KINDS, className) ? KINDS[className] : undefined;
    if (!kind)
      throw new InvalidDataError(
        `expected layers that tfjs has and that can be trained here, got ${name} of the class ${className} in ` +
          `${this.file}: ${adviceOn(className) ?? Object.keys(KINDS).join(', ')}`,
      );
    const own = this.names.has(name) ? [...within, name].join('/') : name;
    if (this.names.has(own)) throw this.fail(`two of its layers have the name ${own}`);
    this.names.add(own);
    const trainable = config['trainable'];
    return {
      name: own,
      className,
      settings: this.settings(name, config, kind),
      trainable: trainable === undefined || trainable === null || trainable === true,
    };
  }

  private settings(name: string, config: Json, { settings: counting, fixed = {} }: (typeof KINDS)[string]): Settings {
    const settings: Record<string, Setting> = {};
    for (const [given, value] of Object.entries(config)) {
      const camel = camelCase(given);
      const key = counting.includes(camel) ? camel : (RENAMED[camel] ?? camel);
      const known = [fixed, counting.includes(key) ? {} : FIXED].find((each) => Object.hasOwn(each, camel))?.[camel];
      if (known && value !== null && !known.some((each) => JSON.stringify(each) === JSON.stringify(value)))
        throw new InvalidDataError(
          `expected ${known.length > 0 ? `${given} of ${shown(known[0])}` : `no ${given}`} of layer ${name} in ` +
            `${this.file}, got ${shown(value)}: tfjs has no other`,
        );
      if (!counting.includes(key) || value === null || value === undefined) continue;
      settings[key] = this.setting(name, given, key, value);
    }
    return settings;
  }

  private setting(name: string, given: string, key: string, value: unknown): Setting {
    if (typeof value === 'string') {
      const word = OTHER_WORDS[value] ?? camelCase(value);
      const words = WORDS[key] ?? [];
      const other = words.includes(word) ? meantOtherwise(word, this.madeBy) : '';
      if (other === undefined) return word;
      throw new InvalidDataError(
        `expected ${given} of layer ${name} in ${this.file} to be ` +
          `${words.filter((each) => other === '' || each !== word).join(', ') || 'a number'}, got ${shown(value)}` +
          (other && `, ${other}`),
      );
    }
    const isPlain = (each: unknown, depth: number): each is Setting =>
      typeof each === 'boolean' ||
      (typeof each === 'number' && Number.isFinite(each)) ||
      each === null ||
      (Array.isArray(each) && each.length <= 8 && depth < 2 && each.every((inner) => isPlain(inner, depth + 1)));
    if (isPlain(value, 0)) return value;
    throw new InvalidDataError(
      `expected ${given} of layer ${name} in ${this.file} to be a number or a list of some, got ${shown(value)}`,
    );
  }

  /** `[["conv", 0, 0], …]`, and of a single one also `["conv", 0, 0]`. */
  private references(given: unknown): Reference[] {
    if (!Array.isArray(given)) throw this.fail(`expected a list of layers, got ${shown(given)}`);
    const many = typeof given[0] === 'string' ? [given] : given;
    return many.map((each) => this.reference(each));
  }

  private reference(given: unknown): Reference {
    const [name, call, tensor] = Array.isArray(given) ? (given as unknown[]) : [];
    if (typeof name !== 'string' || !Number.isSafeInteger(call) || (call as number) < 0 || tensor !== 0)
      throw this.fail(`expected a layer, its call and its only result, got ${shown(given)}`);
    return [name, call as number];
  }

  /** What one call of a layer is of: `[["conv", 0, 0, {}], …]` of Keras 2 and tfjs, `{args, kwargs}` of Keras 3. */
  private callOf(layer: Described, call: unknown): Reference[] {
    const [inputs, settings] = isObject(call)
      ? [tensorsOf(call['args']), [call['kwargs']]]
      : [
          call,
          Array.isArray(call) ? call.map((each: unknown) => (Array.isArray(each) ? (each[3] as unknown) : {})) : [],
        ];
    if (!Array.isArray(inputs) || inputs.length === 0)
      throw this.fail(`layer ${layer.name} is applied to ${shown(call)}`);
    // Keras 3 writes what a layer takes where nothing is said: of those that draw, `training=False`.
    const draws = isObject(call) && Object.hasOwn(KINDS, layer.className) && KINDS[layer.className]!.draws === true;
    for (const each of settings)
      for (const [key, value] of Object.entries(isObject(each) ? each : {}))
        if (value !== null && !(key === 'training' && (value === true || draws)))
          throw new InvalidDataError(
            `expected layer ${layer.name} in ${this.file} to be called without ${key}, got ${shown(value)}: for ` +
              'normalisation that stays as it is, set `trainable` of its layers to false instead',
          );
    return inputs.map((each) => this.reference(Array.isArray(each) ? each.slice(0, 3) : each));
  }
}

/**
 * What Keras 3 calls a layer with, as Keras 2 wrote it: a tensor, a list of some, or, of an operator such as +,
 * several. Undefined for what is no tensor.
 */
function tensorsOf(args: unknown): unknown {
  if (!Array.isArray(args)) return undefined;
  const given: unknown[] = args.length === 1 && Array.isArray(args[0]) ? args[0] : args;
  return given.map((each) =>
    isObject(each) && each['class_name'] === '__keras_tensor__' && isObject(each['config'])
      ? each['config']['keras_history']
      : undefined,
  );
}

function partsOf(config: unknown): unknown[] {
  const parts = isObject(config) ? config['layers'] : config;
  return Array.isArray(parts) ? parts : [];
}

/** Sides of the images of a model whose input may be of any size. */
const ANY_SIDE = 224;
const LARGEST_SIDE = 4096;

/** The layer that a model begins with. @throws InvalidDataError for none, and for several */
function firstLayer({ class_name: className, config }: Json, reader: Reader): Json {
  const parts = partsOf(config).filter(isObject);
  if (className === 'Sequential') return parts[0] ?? {};
  const starts = isObject(config) ? config['input_layers'] : undefined;
  const names = Array.isArray(starts) ? starts.flat().filter((each) => typeof each === 'string') : [];
  if (names.length !== 1) throw reader.fail(`expected a model of one input, got ${shown(starts)}`);
  return parts.find(({ name }) => name === names[0]) ?? {};
}

/** Height, width and channels of a batch's shape. */
const sidesOf = (shape: unknown): unknown[] => (Array.isArray(shape) && shape.length === 4 ? shape.slice(1) : []);
const isSide = (side: unknown): side is number | null =>
  side === null || (Number.isSafeInteger(side) && (side as number) >= 1 && (side as number) <= LARGEST_SIDE);

/** Where the input is, and its shape. @throws InvalidDataError for what is no picture of one or three channels */
function inputOf(model: Json, reader: Reader): Pick<Topology, 'input' | 'inputName'> {
  const isSequential = model['class_name'] === 'Sequential';
  const first = firstLayer(model, reader);
  const settings = isObject(first['config']) ? first['config'] : {};
  const shape = settings['batch_input_shape'] ?? settings['batch_shape'];
  if (isSequential && shape === undefined && MODELS.includes(String(first['class_name'])))
    return inputOf({ class_name: first['class_name'], config: settings }, reader);
  const [height, width, channels] = sidesOf(shape);
  if (!isSide(height) || !isSide(width) || (channels !== 1 && channels !== 3))
    throw reader.fail(`expected an input [null, height, width, 1 or 3], got ${shown(shape)}`);
  const { name = first['name'] } = settings;
  return {
    input: [height ?? ANY_SIDE, width ?? ANY_SIDE, channels],
    inputName: !isSequential && typeof name === 'string' ? name : 'images',
  };
}

/**
 * A description's layers, and where a `.keras` file keeps the weights of each.
 * @param file what it is called in messages
 * @throws InvalidDataError naming the layer that is at fault: of a class that is not trained here, or with settings
 *   that tfjs has not; layers that wait for each other; another input than one picture
 */
export function topologyFrom(json: unknown, file: string): { topology: Topology; folders: Map<string, string> } {
  requirePlain(json, file);
  const { modelTopology: given, format } = isObject(json) ? json : {};
  const reader = new Reader(file, String(isObject(given) ? given['keras_version'] : ''));
  if (!isObject(json)) throw reader.fail(`it has ${shown(json)}`);
  if (format === 'graph-model' || (isObject(given) && 'node' in given))
    throw reader.fail('it is a graph, whose layers are gone: convert it with --output_format=tfjs_layers_model');
  if (!isObject(given)) throw reader.fail('it has no modelTopology');
  const model = isObject(given['model_config']) ? given['model_config'] : given;
  if (!MODELS.includes(String(model['class_name'])))
    throw reader.fail(`expected a ${MODELS.join(', ')}, got ${shown(model['class_name'])}`);
  const input = inputOf(model, reader);
  const [output] = reader.apply(model, [0]);
  const { layers, steps, folders } = reader;
  if (layers.some(({ name }) => name === input.inputName)) throw reader.fail(`a layer has the input's name`);
  return { topology: withoutUnneeded({ ...input, layers, steps, output: output! }), folders };
}

/** A network without what its output does not need, such as the ways to other outputs. */
function withoutUnneeded({ layers, steps, output, ...input }: Topology): Topology {
  const needed = stepsFor(steps, output);
  const kept = steps.flatMap((step, i) => (needed.has(i + 1) ? [{ ...step, at: i + 1 }] : []));
  const used = layers.flatMap((_, i) => (kept.some(({ layer }) => layer === i) ? [i] : []));
  const place = (step: number): number => 1 + kept.findIndex(({ at }) => at === step);
  return {
    ...input,
    layers: used.map((i) => layers[i]!),
    steps: kept.map(({ layer, from }) => ({ layer: used.indexOf(layer), from: from.map(place) })),
    output: place(output),
  };
}
