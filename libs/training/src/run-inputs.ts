/** Inputs of a run: its dataset, and the networks of its parent. */
import {
  gridOf,
  isOwnNetwork,
  sampleAt,
  transformerOf,
  type Autoencode,
  type DatasetManifest,
  type Encoder,
  type Finetune,
  type Knn,
  type Projection,
  type RunKind,
  type SampleShape,
  type Split,
  type TrainerInputs,
} from '#libs/contracts';
import { inputShape, InvalidDataError, openSplit, Random, type SampleSplit } from '#libs/data';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import path from 'node:path';
import { assignTensors, readTensors, writeTensors, type StoredTensor } from './checkpoint.js';
import { buildEncoder, featureWidth } from './networks/encoder.js';
import { buildClassifier, buildProjectionHead } from './networks/heads.js';
import { resizedPositions } from './networks/positions.js';
import { Positions } from './networks/transformer.js';
import { withOwnWeights } from './own/own-weights.js';
import { initialise, weightsOf } from './networks/weights.js';
import { TrainingError, type TrainContext } from './train-context.js';
import { withAverages } from './weight-averages.js';

export interface Data {
  manifest: DatasetManifest;
  train: SampleSplit;
  evaluation: SampleSplit;
}

/** @throws InvalidDataError where the dataset has no such split, or nothing is in it. */
export async function openOne(inputs: TrainerInputs, split: Split): Promise<SampleSplit> {
  const { dataset } = inputs;
  if (!dataset) throw new TrainingError('internal_error', 'expected a dataset among the inputs, got none');
  const files = dataset.files[split];
  if (!files) throw new InvalidDataError(`expected dataset ${dataset.manifest.name} to have a ${split} split`);
  const opened = await openSplit(dataset.manifest, split, files);
  if (opened.count === 0)
    throw new InvalidDataError(
      `expected samples in the ${split} split of dataset ${dataset.manifest.name}, found none`,
    );
  return opened;
}

/** The splits that a run trains on and evaluates on. */
export async function openData(inputs: TrainerInputs, evalSplit: Split): Promise<Data> {
  const [train, evaluation] = [await openOne(inputs, 'train'), await openOne(inputs, evalSplit)];
  return { manifest: inputs.dataset!.manifest, train, evaluation };
}

export function requireBatch(batchSize: number, available: number): void {
  if (batchSize > available)
    throw new TrainingError(
      'invalid_spec',
      `expected a batch of at most the ${available} samples there are to train on, got ${batchSize}`,
    );
}

export function reportNeighbours({ k, bankSize }: Knn, { train: { count } }: Data, { log }: TrainContext): void {
  const bank = Math.min(bankSize, count);
  if (k > bank)
    log('warn', `the kNN evaluation asks for ${k} neighbours, but only ${bank} samples vote: all of them do`);
}

/** Description in a model file: enough to build its networks and to feed them. */
export interface ModelState {
  kind: RunKind;
  /** What the networks see of a sample. */
  sample: SampleShape;
  /** Images were resized for them to this height and width, of whatever size they are stored. */
  size?: number;
  classes: readonly string[];
  /** Range of the values of the encoder's input; waveforms are in [-1, 1]. */
  range: [0, 1];
  encoder: Encoder;
  /** Of pretraining: the head. Of finetuning from its middle: the same, of which `headLayers` are in the file. */
  projection?: Projection;
  headLayers?: number;
  task?: Finetune['task'];
  latent?: number;
  variant?: Autoencode['variant'];
  domain?: Autoencode['domain'];
}

export interface ParentModel {
  state: ModelState;
  tensors: ReadonlyMap<string, StoredTensor>;
}

/**
 * The parent run's networks, with the weights of a checkpoint, or their averages, where the spec names one.
 * @throws TrainingError, CheckpointError
 */
export async function readParent(
  inputs: TrainerInputs,
  { checkpoint }: { checkpoint?: number | undefined } = {},
): Promise<ParentModel> {
  if (!inputs.parentModel)
    throw new TrainingError('internal_error', "expected the parent's model among the inputs, got none");
  const model = await readTensors<ModelState>(inputs.parentModel);
  if (checkpoint === undefined) return model;
  if (!inputs.parentCheckpoint)
    throw new TrainingError(
      'internal_error',
      `expected the parent's checkpoint of step ${checkpoint} among the inputs, got none`,
    );
  return { ...model, tensors: withAverages((await readTensors(inputs.parentCheckpoint)).tensors) };
}

/**
 * A network with the parent's weights, built for samples that may be of another size. Learnt positions of another size
 * are interpolated.
 */
export function restored<Model extends LayersModel>(model: Model, parent: ParentModel): Model {
  assignTensors(withPositionsFor(model, parent), weightsOf(model));
  return model;
}

function withPositionsFor(model: LayersModel, { state, tensors }: ParentModel): ParentModel['tensors'] {
  const layer = model.layers.find((each) => each instanceof Positions);
  const key = `${model.name}/positions/positions`;
  const stored = tensors.get(key);
  if (!layer || !stored) return tensors;
  const { grid, pooling } = layer.settings;
  const from = gridOf(transformerOf(state.encoder)!.patch, inputShape(state.sample));
  const positions = resizedPositions(stored, { from, to: grid, before: pooling === 'class' ? 1 : 0 });
  return new Map([...tensors, [key, positions]]);
}

/** The first layers of the parent's projection head, on its encoder. */
export function restoredHead(
  encoder: LayersModel,
  projection: Projection,
  through: number,
  parent: ParentModel,
): LayersModel {
  // The head of SimSiam ends in a normalisation without scale and shift.
  const affineEnd = through < projection.layers || parent.tensors.has(`projection/bn${through}/gamma`);
  return restored(buildProjectionHead(featureWidth(encoder), projection, { through, affineEnd }), parent);
}

/**
 * The parent's encoder, the layers of its projection head that are in its file, and its classifier where it classifies
 * samples.
 */
export function storedNetworks(
  parent: ParentModel,
  sample = parent.state.sample,
): { encoder: LayersModel } & ReturnType<typeof storedTop> {
  const encoder = restored(buildEncoder(parent.state.encoder, inputShape(sample)), parent);
  return { encoder, ...storedTop(encoder, parent) };
}

/** The networks that the parent has on top of its encoder. */
export function storedTop(
  encoder: LayersModel,
  parent: ParentModel,
): { head: LayersModel | undefined; classifier: LayersModel | undefined } {
  const { projection, headLayers = projection?.layers ?? 0, classes, task } = parent.state;
  const head = projection && headLayers > 0 ? restoredHead(encoder, projection, headLayers, parent) : undefined;
  const classifier =
    task === 'classification'
      ? restored(buildClassifier(head ? head.outputs[0]!.shape.at(-1)! : featureWidth(encoder), classes.length), parent)
      : undefined;
  return { head, classifier };
}

export function newEncoder(architecture: Encoder, sample: SampleShape, seed: number): LayersModel {
  const encoder = buildEncoder(architecture, inputShape(sample));
  initialise([encoder], Random.seeded(seed, 'encoder'));
  return encoder;
}

/** A new encoder, or that of a model of its users' own with the weights that it has. */
export async function firstEncoder(
  architecture: Encoder,
  sample: SampleShape,
  seed: number,
  inputs: TrainerInputs,
): Promise<LayersModel> {
  return isOwnNetwork(architecture)
    ? withOwnWeights(buildEncoder(architecture, inputShape(sample)), inputs)
    : newEncoder(architecture, sample, seed);
}

interface Start {
  encoder: LayersModel;
  architecture: Encoder;
  parent: ParentModel | undefined;
  /** Height and width at which the encoder sees images (`seenAt`); undefined: those of the samples. */
  size: number | undefined;
}

/**
 * The parent's encoder, or a new one where there is no parent. It sees images at the size at which the parent has
 * learnt from them, but for segmentation, which needs all pixels of a mask.
 */
export async function startingEncoder(
  spec: {
    from?: string | null | undefined;
    encoder?: Encoder | undefined;
    seed: number;
    checkpoint?: number | undefined;
    task?: Finetune['task'];
  },
  inputs: TrainerInputs,
  sample: SampleShape,
): Promise<Start> {
  if (!spec.from) {
    if (!spec.encoder) throw new TrainingError('invalid_spec', 'expected an encoder in a spec without a parent');
    const encoder = await firstEncoder(spec.encoder, sample, spec.seed, inputs);
    return { encoder, architecture: spec.encoder, parent: undefined, size: undefined };
  }
  const parent = await readParent(inputs, spec);
  if (parent.state.domain === 'waveform' && parent.state.sample.modality === 'audio')
    throw new TrainingError(
      'invalid_spec',
      'expected a parent whose encoder sees spectrograms, got an autoencoder of waveforms: train one with ' +
        '`domain: spectrogram`',
    );
  const size = spec.task === 'segmentation' ? undefined : parent.state.size;
  const [own, theirs] = [inputShape(sampleAt(sample, size)), inputShape(parent.state.sample)];
  if (own[2] !== theirs[2])
    throw new TrainingError(
      'invalid_spec',
      `expected samples of ${theirs[2]} channels, on which the parent was trained, got ${own[2]}`,
    );
  return {
    encoder: restored(buildEncoder(parent.state.encoder, own), parent),
    architecture: parent.state.encoder,
    parent,
    size,
  };
}

/** Stores networks as the run's `model` artifact. Returns the file's path. */
export async function storeModel(
  state: Omit<ModelState, 'range'>,
  models: LayersModel[],
  context: TrainContext,
): Promise<string> {
  const file = path.join(context.workDir, 'model.safetensors');
  await writeTensors(file, { ...state, range: [0, 1] }, weightsOf(...models));
  await context.store({
    name: 'model.safetensors',
    kind: 'model',
    mime: 'application/octet-stream',
    path: file,
    step: null,
  });
  return file;
}
