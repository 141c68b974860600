/** Encoders that are models of their users' own: their layers, as a file had them, and the network made of them. */
import type { Encoder } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import { apply, averagePool, normaliseInputs, type Symbolic } from '../networks/layers.js';
import { KINDS, type Settings } from './layer-kinds.js';

export interface OwnLayer {
  name: string;
  /** A key of `KINDS`. */
  className: string;
  settings: Settings;
  /** False: its weights stay as they are, and its normalisation goes by its averages. */
  trainable: boolean;
}

/** A network of one input and whatever its layers give, in an order in which they can be computed. */
export interface Topology {
  /** Height, width and channels that it was made for. */
  input: [height: number, width: number, channels: number];
  inputName: string;
  layers: OwnLayer[];
  /** Layer by layer, which is applied to the results of which steps; 0 is the input, n the nth step. */
  steps: { layer: number; from: number[] }[];
  /** The step whose result are the features, where no other layer is named. */
  output: number;
}

/** An encoder of its users' own, as networks are built of it; see `topologyOf`. */
export type OwnEncoder = Encoder & { topology: Topology };

/** The layers of an encoder of its users' own. Undefined for the networks that this program has. */
export const topologyOf = (encoder: Encoder): Topology | undefined => (encoder as Partial<OwnEncoder>).topology;

/** Numbers between two layers, of one sample. */
const LARGEST_RESULT = 2 ** 26;

/** What can't be built, and why. */
export class OwnNetworkError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'OwnNetworkError';
  }
}

/** Called for each weight before it is made, with the shape that its layer gives it. */
export type OnWeight = (layer: OwnLayer, weight: string, shape: readonly number[]) => void;
interface Weighing {
  addWeight(name: string, shape: readonly number[], ...others: unknown[]): layers.LayerVariable;
}

function madeLayer(layer: OwnLayer, onWeight: OnWeight | undefined): layers.layers.Layer {
  const made = KINDS[layer.className]!.make({ ...layer.settings, name: layer.name });
  // Zeros, as all that is built here gets its weights from a file.
  made.setFastWeightInitDuringBuild(true);
  if (!onWeight) return made;
  const weighing = made as unknown as Weighing;
  const add = weighing.addWeight.bind(made);
  weighing.addWeight = (name, shape, ...others) => {
    onWeight(layer, name, shape);
    return add(name, shape, ...others);
  };
  return made;
}

/** The steps that a step needs, itself among them. */
export function stepsFor(steps: Topology['steps'], step: number): Set<number> {
  const needed = new Set([step]);
  for (let each = step; each > 0; each--)
    if (needed.has(each)) for (const from of steps[each - 1]!.from) needed.add(from);
  return needed;
}

/**
 * The step that gives the features: the last one of the layer that is named, or the network's own end.
 * @throws OwnNetworkError where there is no such layer
 */
export function featureStep(topology: Topology, name: string | undefined): number {
  if (name === undefined) return topology.output;
  const layer = topology.layers.findIndex((each) => each.name === name);
  const step = topology.steps.findLastIndex((each) => each.layer === layer);
  if (layer < 0 || step < 0)
    throw new OwnNetworkError(
      `expected one of the model's layers in \`features\` (${topology.layers.map((each) => each.name).join(', ')}), ` +
        `got ${name}`,
    );
  return step + 1;
}

/** A name that no layer has. */
const free = (topology: Topology, name: string): string =>
  topology.inputName === name || topology.layers.some((layer) => layer.name === name)
    ? free(topology, `own_${name}`)
    : name;

/**
 * What a layer gives, as a feature map [N, h, w, C] and the representation [N, C]: of a map its mean over places, of
 * rows [N, T, C] their mean.
 * @throws OwnNetworkError for other shapes
 */
function ends(topology: Topology, features: Symbolic): [map: Symbolic, features: Symbolic] {
  const [, ...shape] = features.shape;
  const name = features.sourceLayer.name;
  if (shape.length === 3) return [features, averagePool(features, free(topology, 'features'))];
  if (shape.length !== 1 && shape.length !== 2)
    throw new OwnNetworkError(
      `expected a vector, rows or a map of features, layer ${name} gives [${shape.join(', ')}]`,
    );
  const map = shape.length === 1 ? [1, 1, shape[0]!] : [shape[0]!, 1, shape[1]!];
  const mapped = apply(layers.layers.reshape({ name: free(topology, 'map'), targetShape: map }), features);
  return [mapped, averagePool(mapped, free(topology, 'features'))];
}

/**
 * Inputs [N, H, W, C] about [0, 1] → feature map and representation, as `buildEncoder` gives them, of the layer
 * `encoder.features`; layers that it does not need are left out.
 * @throws OwnNetworkError naming the layer that can't be built
 */
export function buildOwnNetwork(
  encoder: OwnEncoder,
  inputShape: readonly [number, number, number],
  onWeight?: OnWeight,
): layers.LayersModel {
  const { topology } = encoder;
  const end = featureStep(topology, encoder.features);
  const needed = stepsFor(topology.steps, end);
  const images = layers.input({ shape: [...inputShape], name: topology.inputName });
  const results: Symbolic[] = [
    encoder.normalisation ? normaliseInputs(images, free(topology, 'normalisation'), encoder.normalisation) : images,
  ];
  const built = new Map<number, layers.layers.Layer>();
  const dispose = (): void => {
    for (const layer of built.values()) for (const weight of layer.weights) weight.dispose();
  };
  try {
    topology.steps.forEach(({ layer: index, from }, i) => {
      if (!needed.has(i + 1)) return;
      const own = topology.layers[index]!;
      results[i + 1] = applied(
        own,
        built,
        index,
        from.map((each) => results[each]!),
        onWeight,
      );
    });
    for (const [index, layer] of built) if (!topology.layers[index]!.trainable) layer.trainable = false;
    if (end === 0) throw new OwnNetworkError('expected a model with a layer at least');
    return layers.model({ inputs: images, outputs: ends(topology, results[end]!), name: 'encoder' });
  } catch (error) {
    tf.tidy(dispose);
    throw error;
  }
}

/** Channels lie last here: what is normalised, and what shares of one are of. */
function requireLastAxis({ settings: { axis } }: OwnLayer, { shape }: Symbolic): void {
  const last = Array.isArray(axis) ? axis[0] : axis;
  if (last === undefined || last === -1 || last === shape.length - 1) return;
  throw new Error(`expected it to go over the last axis, got axis ${JSON.stringify(axis)}`);
}

function applied(
  own: OwnLayer,
  built: Map<number, layers.layers.Layer>,
  index: number,
  inputs: Symbolic[],
  onWeight: OnWeight | undefined,
): Symbolic {
  const { name, className } = own;
  let result: Symbolic;
  try {
    const layer = built.get(index) ?? madeLayer(own, onWeight);
    built.set(index, layer);
    if (['BatchNormalization', 'Softmax'].includes(className)) requireLastAxis(own, inputs[0]!);
    result = apply(layer, inputs.length === 1 ? inputs[0]! : inputs);
  } catch (error) {
    if (error instanceof OwnNetworkError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    const given = inputs.map(({ shape }) => `[${shape.slice(1).join(', ')}]`).join(' and ');
    throw new OwnNetworkError(`layer ${name} (${className}) can't be built on ${given}: ${why.slice(0, 500)}`);
  }
  const sides = result.shape.slice(1);
  const numbers = sides.reduce<number>((product, side) => product * (side ?? Number.NaN), 1);
  if (!(numbers >= 1 && numbers <= LARGEST_RESULT))
    throw new OwnNetworkError(
      `expected layer ${name} (${className}) to give 1 to ${LARGEST_RESULT} numbers a sample, it gives ` +
        `[${sides.join(', ')}]`,
    );
  return result;
}
