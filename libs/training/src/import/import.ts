/** A run of kind import-model: weights of another program as a model of this one, which runs begin with. */
import { canonicalJson, type ImportModel, type RunResult, type TrainerInputs } from '#libs/contracts';
import { insideRoot, InvalidDataError } from '#libs/data';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { weightsOf } from '../networks/weights.js';
import { storeModel } from '../run-inputs.js';
import type { TrainContext } from '../session.js';
import { SafetensorsFile } from './safetensors.js';
import { encoderFrom } from './weights.js';

/** @throws InvalidDataError for a file that is none, or does not fit */
export async function importModel(spec: ImportModel, inputs: TrainerInputs, context: TrainContext): Promise<RunResult> {
  const file = await openedFile(spec.path, inputs.dataRoot);
  try {
    const { encoder, architecture, sample, beside } = await encoderFrom(file, spec);
    try {
      const weights = weightsOf(encoder);
      const parameters = weights.reduce((sum, { variable }) => sum + variable.size, 0);
      const { normalisation } = architecture;
      context.log(
        'info',
        `${weights.length} weights of ${architecture.name}, ${architecture.width} wide, ${parameters} numbers; its ` +
          `input in [0, 1] is ${
            normalisation
              ? `normalised by mean ${normalisation.mean.join(', ')} and std ${normalisation.std.join(', ')}`
              : 'taken as it is'
          }`,
      );
      const left = beside.filter((name) => !name.endsWith('num_batches_tracked'));
      if (left.length) context.log('info', `left in the file, no part of an encoder: ${left.join(', ')}`);
      const stored = await storeModel(
        { kind: 'import-model', sample, classes: [], encoder: architecture },
        [encoder],
        context,
      );
      const content = { encoder: architecture, sample, parameters, weights: await sha256Of(stored) };
      const digest = createHash('sha256').update(canonicalJson(content)).digest('hex');
      context.progress(1, 1);
      return { metrics: {}, model: { name: spec.name, digest, ...content } };
    } finally {
      encoder.dispose();
    }
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
