import type { TrainerInputs } from '#libs/contracts';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { npy } from '../../../tests/support/npy.js';
import { CLASSES, inputs, run, small, trained, useTinyDataset } from '../../../tests/support/training-runs.js';

useTinyDataset();

test('the raw samples can be evaluated without a network', async () => {
  const { metrics } = await run({ kind: 'evaluate', dataset: 'tiny', from: null, features: 'pixels', knn: { k: 3 } });
  expect(metrics['eval/probe_accuracy']).toBeGreaterThan(0.6);
});

test('a probe tells how well it finds each class, with the strength that its labels have chosen', async () => {
  const { metrics, files, lines } = await run({
    kind: 'evaluate',
    dataset: 'tiny',
    from: null,
    features: 'pixels',
    knn: { k: 3 },
    probe: { l2: [1e-4, 1e-2, 1] },
  });
  const report = JSON.parse(await readFile(files.get('report')!, 'utf8')) as {
    accuracy: number;
    confusion: number[][];
    probe: { l2: number; loss: number; converged: boolean };
  };
  expect(report.accuracy).toBe(metrics['eval/probe_accuracy']);
  expect(report.confusion.flat().reduce((sum, count) => sum + count, 0)).toBeGreaterThan(0);
  expect(report.probe).toMatchObject({ loss: metrics['train/probe_loss'], converged: true });
  expect(lines).toContain(`info: of probe.l2 0.0001, 0.01, 1 held-out labels have chosen ${report.probe.l2}`);
});

/** The dataset `tiny` whose samples to evaluate on have the labels of others: nothing is found there. */
async function misjudged(): Promise<TrainerInputs> {
  const { manifest, files } = inputs.dataset!;
  const wrong = Int32Array.from({ length: 30 }, (_, i) => (i + 1) % CLASSES);
  const labels = await npy(path.join(inputs.dataRoot, 'wrong-labels.npy'), [wrong.length], wrong);
  return { ...inputs, dataset: { manifest, files: { ...files, val: { ...files.val!, labels } } } };
}

test('labels of the evaluated split have no say in how strong the probe is', async () => {
  // Where all answers are wrong, the most timid ones have the least loss.
  const l2 = [1e-3, 1000];
  const spec = { kind: 'evaluate', dataset: 'tiny', from: null, features: 'pixels', knn: { k: 3 } } as const;
  const lossOf = async (given: TrainerInputs, strength: number | number[]) => {
    const { files } = await trained(given, { ...spec, probe: { l2: strength } });
    return JSON.parse(await readFile(files.get('report')!, 'utf8')) as { loss: number; probe: { l2: number } };
  };
  const wrong = await misjudged();
  const [weak, strong] = [await lossOf(wrong, l2[0]!), await lossOf(wrong, l2[1]!)];
  expect(strong.loss).toBeLessThan(weak.loss);
  expect(await lossOf(wrong, l2)).toEqual(weak);
  expect((await lossOf(inputs, l2)).probe).toEqual(weak.probe);
});

test('a pretraining says which strength its probe was given, and again when that is another', async () => {
  const { lines } = await run({
    kind: 'pretrain',
    dataset: 'tiny',
    batchSize: 32,
    epochs: 2,
    projection: { hidden: 8, output: 8 },
    ...small,
    probe: { l2: [1e-3, 1000] },
  });
  const chosen = lines.flatMap((line) => /held-out labels have chosen (\S+)$/.exec(line)?.[1] ?? []);
  expect(chosen.length).toBeGreaterThan(0);
  chosen.forEach((l2, i) => expect(l2).not.toBe(chosen[i - 1]));
});
