/** A dataset that is known without having been made, for tests that play the workers themselves. */
import { DatasetManifest, SubmitRun } from '#libs/contracts';
import type { Runs } from '#libs/platform';

const split = (perClass: number) => ({
  count: perClass * 4,
  countPerClass: [perClass, perClass, perClass, perClass],
  samples: 'a'.repeat(64),
  labels: 'b'.repeat(64),
});
export const shapes: DatasetManifest = DatasetManifest.parse({
  name: 'shapes',
  digest: 'd'.repeat(64),
  sample: { modality: 'image', height: 16, width: 16, channels: 3 },
  classes: ['a', 'b', 'c', 'd'],
  splits: { train: split(100), val: split(10), test: split(10) },
});

/** Makes it known, by a run that is said to have prepared it. */
export async function knowShapes(runs: Runs, manifest = shapes): Promise<void> {
  const { runId } = await runs.submission.submitRun(
    SubmitRun.parse({ spec: { kind: 'prepare-dataset', name: manifest.name, path: manifest.name } }),
  );
  await runs.leases.succeed((await runs.claims.claim({ runId, attempt: 1 }, 'w'))!, { metrics: {}, dataset: manifest });
}
