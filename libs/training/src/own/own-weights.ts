/** The model that a spec's encoder is of, as a run gets it: its layers, and its weights. */
import { encoderModelOf, isOwnNetwork, type RunSpec, type TrainerInputs } from '#libs/contracts';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { assignTensors, CheckpointError, readTensors } from '../checkpoint.js';
import { weightsOf } from '../networks/weights.js';
import { OwnNetworkError, topologyOf, type OwnEncoder } from './own-network.js';

/** The file of the model. @throws Error where there is none among the inputs */
function fileOf({ encoderModel }: TrainerInputs): string {
  if (!encoderModel) throw new Error("expected the file of the encoder's model among the inputs, got none");
  return encoderModel;
}

/** A spec whose encoder has its layers with it, where they are those of a model. */
export async function withTheirLayers<Spec extends RunSpec>(spec: Spec, inputs: TrainerInputs): Promise<Spec> {
  if (!('encoder' in spec) || !spec.encoder || encoderModelOf(spec) === undefined || !isOwnNetwork(spec.encoder))
    return spec;
  const { state } = await readTensors<{ encoder: OwnEncoder }>(fileOf(inputs));
  const { topology, normalisation } = state.encoder;
  return { ...spec, encoder: { ...(normalisation && { normalisation }), ...spec.encoder, topology } };
}

/**
 * An encoder built of a model's layers, with the model's weights. It is let go where they do not fit.
 * @throws OwnNetworkError where a layer's weights are for images of another size
 */
export async function withOwnWeights(encoder: LayersModel, inputs: TrainerInputs): Promise<LayersModel> {
  try {
    const { tensors, state } = await readTensors<{ encoder: OwnEncoder }>(fileOf(inputs));
    // How inputs are normalised is the spec's business, which may have it otherwise.
    const layers = new Set(state.encoder.topology.layers.map(({ name }) => `${encoder.name}/${name}`));
    const weights = weightsOf(encoder).filter(({ key }) => layers.has(key.slice(0, key.lastIndexOf('/'))));
    try {
      assignTensors(tensors, weights);
    } catch (error) {
      throw error instanceof CheckpointError ? otherSize(error, state.encoder, encoder) : error;
    }
    return encoder;
  } catch (error) {
    encoder.dispose();
    throw error;
  }
}

/** Why weights of a model's file do not fit the network that was built of its layers. */
function otherSize(error: CheckpointError, architecture: OwnEncoder, { inputs }: LayersModel): OwnNetworkError {
  const [height, width] = topologyOf(architecture)!.input;
  const [, rows, columns] = inputs[0]!.shape;
  return new OwnNetworkError(
    `expected images of ${height} x ${width}, for which the weights of a layer of the model were made, got ` +
      `${rows} x ${columns}: ${error.message}`,
  );
}
