/** A run spec and its inputs → metrics and artifacts. Pure compute: everything else is the context's business. */
import type { RunResult, RunSpec, TrainerInputs } from '#libs/contracts';
import { lackOfBfloat16, processor } from '#libs/tensorflow';
import { autoencode } from './autoencode.js';
import { CheckpointError } from './checkpoint.js';
import { distill } from './distill.js';
import { embed } from './embed/embed.js';
import { evaluate } from './evaluate.js';
import { exportModel } from './export/export.js';
import { finetune } from './finetune.js';
import { importModel } from './import/import.js';
import { interpolate } from './interpolate.js';
import { OwnNetworkError } from './own/own-network.js';
import { withTheirLayers } from './own/own-weights.js';
import { pretrain } from './pretrain.js';
import { TrainingError, type TrainContext } from './train-context.js';

export type TrainSpec = Exclude<RunSpec, { kind: 'prepare-dataset' }>;

/**
 * Trains or evaluates to the end.
 * @throws Stopped, TrainingError, InvalidDataError
 */
export async function train(given: TrainSpec, inputs: TrainerInputs, context: TrainContext): Promise<RunResult> {
  try {
    requirePrecision(given, context);
    const spec = await withTheirLayers(given, inputs);
    switch (spec.kind) {
      case 'import-model':
        return await importModel(spec, inputs, context);
      case 'pretrain':
        return await pretrain(spec, inputs, context);
      case 'finetune':
        return await finetune(spec, inputs, context);
      case 'distill':
        return await distill(spec, inputs, context);
      case 'autoencode':
        return await autoencode(spec, inputs, context);
      case 'evaluate':
        return await evaluate(spec, inputs, context);
      case 'interpolate':
        return await interpolate(spec, inputs, context);
      case 'embed':
        return await embed(spec, inputs, context);
      case 'export':
        return await exportModel(spec, inputs, context);
    }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (/OOM when allocating|RESOURCE_EXHAUSTED|std::bad_alloc|Array buffer allocation failed/i.test(message))
      throw new TrainingError(
        'oom',
        `not enough memory: lower the batch size or the width (${message.split('\n')[0]})`,
      );
    if (/CUDA_ERROR_(?!OUT_OF_MEMORY)|CUDNN_STATUS|uncorrectable ECC/.test(message))
      throw new TrainingError('gpu_error', `the GPU failed: ${message.split('\n')[0]}`);
    if (error instanceof OwnNetworkError) throw new TrainingError('invalid_spec', message);
    if (error instanceof CheckpointError) throw new TrainingError('internal_error', message);
    throw error;
  }
}

/** @throws TrainingError where this machine has no bfloat16 and the run is to be in it */
function requirePrecision(spec: TrainSpec, context: TrainContext): void {
  if (!('precision' in spec) || spec.precision !== 'bfloat16') return;
  const lack = lackOfBfloat16(processor());
  if (lack === undefined) {
    context.log('info', 'networks multiply in bfloat16 while they learn, all else is in float32');
    return;
  }
  throw new TrainingError(
    'invalid_spec',
    `expected a CPU that multiplies in bfloat16, got ${lack}: leave \`precision\` out, or send the run to a worker ` +
      'that has one, by a label (`requires`)',
  );
}
