/** A run of kind import-model: a model of another program as one of this one, which runs begin with. */
import {
  canonicalJson,
  isLayersModel,
  type Encoder,
  type ImportModel,
  type ModelManifest,
  type RunResult,
  type SampleShape,
  type TrainerInputs,
} from '#libs/contracts';
import { insideRoot, InvalidDataError } from '#libs/data';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { weightsOf } from '../networks/weights.js';
import { ownEncoderFrom, withoutTopology } from '../own/import-layers.js';
import { storeModel } from '../run-inputs.js';
import type { TrainContext } from '../train-context.js';
import { SafetensorsFile } from './safetensors.js';
import { TensorBundle } from './tensor-bundle.js';
import { encoderFrom } from './weights.js';

/** What was taken in, whose caller owns the encoder. */
interface TakenIn {
  encoder: LayersModel;
  architecture: Encoder;
  sample: SampleShape;
  /** Height and width at which it sees images, where they are brought to those. */
  size?: number;
  layers?: ModelManifest['layers'];
  /** What was left in the file. */
  beside: string[];
}

/** @throws InvalidDataError for a file that is none, or does not fit */
export async function importModel(spec: ImportModel, inputs: TrainerInputs, context: TrainContext): Promise<RunResult> {
  const { encoder, architecture, sample, size, layers, beside } = await takenIn(spec, inputs.dataRoot);
  try {
    const weights = weightsOf(encoder);
    const parameters = weights.reduce((sum, { variable }) => sum + variable.size, 0);
    const { normalisation } = architecture;
    const network = layers ? `${layers.length} layers` : `${architecture.name}, ${architecture.width} wide`;
    context.log(
      'info',
      `${weights.length} weights of ${network}, ${parameters} numbers; its input in [0, 1] is ${
        normalisation
          ? `normalised by mean ${normalisation.mean.join(', ')} and std ${normalisation.std.join(', ')}`
          : 'taken as it is'
      }`,
    );
    const left = beside.filter((name) => !name.endsWith('num_batches_tracked'));
    if (left.length) context.log('info', `left in the file, no part of an encoder: ${left.join(', ')}`);
    const stored = await storeModel(
      { kind: 'import-model', sample, ...(size !== undefined && { size }), classes: [], encoder: architecture },
      [encoder],
      context,
    );
    const content = {
      encoder: withoutTopology(architecture),
      sample,
      parameters,
      weights: await sha256Of(stored),
      ...(layers && { layers }),
    };
    const digest = createHash('sha256').update(canonicalJson(content)).digest('hex');
    context.progress(1, 1);
    return { metrics: {}, model: { name: spec.name, digest, ...content } };
  } finally {
    encoder.dispose();
  }
}

async function takenIn(spec: ImportModel, dataRoot: string): Promise<TakenIn> {
  if (isLayersModel(spec.path)) return ownEncoderFrom(spec, dataRoot);
  const file = /\.index$/i.test(spec.path)
    ? await TensorBundle.open(spec.path, dataRoot)
    : await openedFile(spec.path, dataRoot);
  try {
    return await encoderFrom(file, spec);
  } finally {
    await file.close();
  }
}

async function openedFile(target: string, dataRoot: string): Promise<SafetensorsFile> {
  const { found } = await insideRoot(dataRoot, target, 'a safetensors file');
  if (!(await stat(found)).isFile())
    throw new InvalidDataError(`expected a safetensors file at ${target} in the data root, found something else`);
  return SafetensorsFile.open(found, target);
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(file) as AsyncIterable<Buffer>) hash.update(piece);
  return hash.digest('hex');
}
