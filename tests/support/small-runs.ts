/** Real runs that are small enough for tests: tiny networks on striped JPEGs. */
import type { LoomClient } from '#libs/contracts';
import path from 'node:path';
import { expect } from 'vitest';
import { eventually } from './eventually.js';
import { readHistory, violations } from './history.js';
import { writeImageFolder } from './images.js';
import { drawnResNet, writeTensorsTo } from './safetensors.js';
import type { Stack } from './stack.js';

export const small = { encoder: { width: 4 }, evalSplit: 'test' as const, knn: { k: 5 } };

/** 24 steps an epoch, each of a few milliseconds on one thread, and an evaluation that does not take longer. */
export const pretraining = (epochs: number) =>
  ({ kind: 'pretrain', dataset: 'stripes', batchSize: 8, epochs, probe: { maxIterations: 1 }, ...small }) as const;
/** Long enough to be interrupted whatever the machine is doing. */
export const LONG = pretraining(4000);
/** Some seconds, and several checkpoints where one is written every half second. */
export const MEDIUM = pretraining(15);
/** Under a second of training. */
export const SHORT = pretraining(1);

/** Prepares the dataset `stripes` with a worker that is gone afterwards. */
export async function prepareStripes(stack: Stack): Promise<void> {
  await writeImageFolder(path.join(stack.dataRoot, 'stripes'), { classes: 4, perClass: 60 });
  const worker = stack.startWorker();
  await stack.ended(await stack.submit({ kind: 'prepare-dataset', name: 'stripes', path: 'stripes', imageSize: 16 }));
  await worker.kill('SIGTERM');
}

/** Submits the run that takes in a narrow ResNet-18, drawn as other programs write theirs, as the model `name`. */
export async function submitModel(stack: Stack, name: string): Promise<string> {
  const file = `${name}.safetensors`;
  await writeTensorsTo(path.join(stack.dataRoot, file), drawnResNet([2, 2, 2, 2], false, [8, 3, 3, 3]));
  return stack.submit({ kind: 'import-model', name, path: file, as: 'resnet18' });
}

/** Waits for a checkpoint of at least this step; its step. */
export const checkpointAt = (client: LoomClient, id: string, step = 1): Promise<number> =>
  eventually(
    async () => {
      const steps = (await client.artifacts(id)).items
        .filter(({ kind }) => kind === 'checkpoint')
        .map((file) => file.step ?? 0);
      const newest = Math.max(0, ...steps);
      if (newest < step) throw new Error(`expected a checkpoint of step ${step} or later, got ${newest}`);
      return newest;
    },
    { timeoutMs: 40_000 },
  );

/**
 * Each of these runs ended once, wrote each value once, without a gap, and no attempt wrote after the next had begun.
 */
export async function expectKeptPromises(
  stack: Pick<Stack, 'environment'>,
  ids: readonly string[],
  databaseUrl = stack.environment['DATABASE_URL']!,
): Promise<void> {
  expect(violations(await readHistory(databaseUrl, stack.environment['LOOM_ARTIFACTS_DIR']!, ids), ids)).toEqual([]);
}
