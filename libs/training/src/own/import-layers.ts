/** A layers model of its users' own, from its files: a network with its weights, or what is wrong with them. */
import { SampleShape, type Encoder, type ImportModel, type ModelManifest } from '#libs/contracts';
import { insideRoot, InvalidDataError, named } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { weightsOf } from '../networks/weights.js';
import { LayersWeights, readJson } from './layers-file.js';
import { buildOwnNetwork, OwnNetworkError, type OwnEncoder } from './own-network.js';
import { topologyFrom } from './topology.js';

/** Layers that are told of in a model's manifest. */
type Layers = NonNullable<ModelManifest['layers']>;

export interface TakenIn {
  encoder: LayersModel;
  architecture: OwnEncoder;
  sample: SampleShape;
  layers: Layers;
  /** Weights of the file that its network has not. */
  beside: string[];
}

/**
 * The caller owns the encoder. Its features are what the model gives.
 * @throws InvalidDataError naming what does not fit
 */
export async function ownEncoderFrom(
  { path: target, normalisation }: Pick<ImportModel, 'path' | 'normalisation'>,
  dataRoot: string,
): Promise<TakenIn> {
  const { found } = await insideRoot(dataRoot, target, 'a layers model');
  const json = await readJson(found, target);
  const { topology, folders } = topologyFrom(json, target);
  const [height, width, channels] = topology.input;
  if (normalisation && ![1, channels].includes(normalisation.mean.length))
    throw new InvalidDataError(
      `expected a \`normalisation\` (--mean, --std) for ${channels} channels, got one for ${normalisation.mean.length}`,
    );
  const weights = await LayersWeights.of(json, target, dataRoot);
  const output = topology.output === 0 ? undefined : topology.layers[topology.steps[topology.output - 1]!.layer]!.name;
  const architecture = {
    name: 'layers',
    width: OWN_WIDTH,
    ...(output !== undefined && { features: output }),
    ...(normalisation && { normalisation }),
    topology,
  } satisfies OwnEncoder;
  const names = new Map<string, string>();
  const counts = new Map<string, number>();
  const encoder = built(architecture, target, (layer, weight, shape) => {
    const count = counts.get(layer) ?? 0;
    counts.set(layer, count + 1);
    const name = weights.nameOf(layer, weight, folders.get(layer), count);
    const there = name === undefined ? undefined : weights.shapeOf(name)!;
    if (name === undefined || there?.join() !== shape.join())
      throw new InvalidDataError(
        `expected ${layer}/${weight} of shape [${shape.join(', ')}] in ${target}, ` +
          (there ? `got [${there.join(', ')}]` : `found ${named(weights.names) || 'no weight'}`),
      );
    names.set(`${layer}/${weight}`, name);
  });
  try {
    for (const { key, variable } of weightsOf(encoder)) {
      const own = key.slice(encoder.name.length + 1);
      const name = names.get(own);
      if (name === undefined) continue;
      const values = await weights.values(name);
      if (own.endsWith('/moving_variance') && values.some((value) => value < 0))
        throw new InvalidDataError(`expected variances of at least 0 in ${name}, found a negative one`);
      tf.tidy(() => {
        variable.assign(tf.tensor(values, variable.shape));
      });
    }
  } catch (error) {
    encoder.dispose();
    throw error;
  }
  const taken = new Set(names.values());
  return {
    encoder,
    architecture,
    sample: SampleShape.parse({ modality: 'image', height, width, channels }),
    layers: layersOf(encoder, architecture),
    beside: weights.names.filter((name) => !taken.has(name)),
  };
}

/** Least channels of a decoder, which is all that width means for such an encoder. */
const OWN_WIDTH = 32;

function built(
  architecture: OwnEncoder,
  target: string,
  onWeight: (layer: string, weight: string, shape: readonly number[]) => void,
): LayersModel {
  try {
    return buildOwnNetwork(architecture, architecture.topology.input, ({ name }, weight, shape) => {
      onWeight(name, weight, shape);
    });
  } catch (error) {
    if (error instanceof OwnNetworkError) throw new InvalidDataError(`${target}: ${error.message}`);
    throw error;
  }
}

/** What each layer gives and how many weights it has, in the order in which they are computed. */
const layersOf = (encoder: LayersModel, { topology }: OwnEncoder): Layers =>
  topology.layers.flatMap(({ name }) => {
    const layer = encoder.layers.find((each) => each.name === name);
    if (!layer) return [];
    const { shape } = layer.inboundNodes.at(-1)!.outputTensors[0]!;
    return [
      {
        name,
        shape: shape.slice(1) as number[],
        parameters: layer.weights.reduce(
          (sum, weight) => sum + weight.shape.reduce<number>((product, side) => product * side!, 1),
          0,
        ),
      },
    ];
  });

/** An encoder as specs have it, without its layers. */
export const withoutTopology = ({ topology: _, ...encoder }: Encoder & Partial<OwnEncoder>): Encoder => encoder;
