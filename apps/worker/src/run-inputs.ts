import type { Split, SplitFiles, TrainerInputs } from '#libs/contracts';
import { CorruptArtifactError, type ArtifactStore, type ClaimedRun } from '#libs/platform';

type Checkpoint = ClaimedRun['checkpoints'][number];

interface Sources {
  artifacts: ArtifactStore;
  /** Under which sources of datasets are. */
  dataRoot: string;
  /** Called for each piece of a file that was read. */
  onRead: () => void;
  /** Called for each checkpoint that is not whole. */
  onCorrupt: (checkpoint: Checkpoint, error: CorruptArtifactError) => void;
}

/**
 * The files a run needs, each compared with its sha256, and the newest checkpoint that is whole with its step (null:
 * there is none).
 * @throws CorruptArtifactError when a file other than a checkpoint is missing or differs.
 */
export async function verifiedInputs(
  run: ClaimedRun,
  { artifacts, dataRoot, onRead, onCorrupt }: Sources,
): Promise<{ inputs: TrainerInputs; step: number | null }> {
  const { dataset, parentModel, parentCheckpoint, encoderModel, alignTo, checkpoints } = run;
  const verified = (sha256: string) => artifacts.verified(sha256, onRead);
  const inputs: TrainerInputs = { dataRoot };
  if (dataset) {
    const files: Partial<Record<Split, SplitFiles>> = {};
    for (const split of ['train', 'val', 'test'] as const) {
      const arrays = dataset.splits[split];
      if (!arrays) continue;
      files[split] = {
        samples: await verified(arrays.samples),
        ...(arrays.labels && { labels: await verified(arrays.labels) }),
        ...(arrays.masks && { masks: await verified(arrays.masks) }),
      };
    }
    inputs.dataset = { manifest: dataset, files };
  }
  if (parentModel) inputs.parentModel = await verified(parentModel);
  if (parentCheckpoint) inputs.parentCheckpoint = await verified(parentCheckpoint);
  if (encoderModel) inputs.encoderModel = await verified(encoderModel);
  if (alignTo) inputs.alignTo = await verified(alignTo);
  for (const checkpoint of checkpoints) {
    try {
      inputs.checkpoint = await verified(checkpoint.sha256);
      return { inputs, step: checkpoint.step };
    } catch (error) {
      if (!(error instanceof CorruptArtifactError)) throw error;
      onCorrupt(checkpoint, error);
    }
  }
  return { inputs, step: null };
}
