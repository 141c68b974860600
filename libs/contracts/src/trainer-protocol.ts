/**
 * What the worker (parent) and its trainer (child process) say to each other over the IPC channel.
 * The trainer knows files and numbers; runs, leases and databases are the parent's business.
 */
import type { DatasetSummary } from './dataset-summary.js';
import type { DatasetManifest, Split } from './dataset.js';
import type { ModelManifest } from './model.js';
import type { RunSpec } from './run-spec.js';
import type { StatusReason } from './run-status.js';

/** `embedding`: the maps that another embed run can be aligned to; `export`: a model for other programs. */
export type ArtifactKind = 'checkpoint' | 'model' | 'dataset' | 'image' | 'audio' | 'report' | 'embedding' | 'export';

/** The arrays of one split. */
export interface SplitFiles {
  samples: string;
  labels?: string;
  masks?: string;
}

/** Where the trainer finds what its run needs: absolute paths of files that the parent has verified. */
export interface TrainerInputs {
  /** Root that paths of `prepare-dataset` and `import-model` are relative to and must not leave. */
  dataRoot: string;
  dataset?: { manifest: DatasetManifest; files: Partial<Record<Split, SplitFiles>> };
  /** The parent run's `model` artifact. */
  parentModel?: string;
  /** The parent run's checkpoint that the spec names. */
  parentCheckpoint?: string;
  /** The `model` artifact of the run that took in the model which the spec's encoder is of. */
  encoderModel?: string;
  /** The `embedding` artifact of the run that an embed run is aligned to. */
  alignTo?: string;
  /** Checkpoint to go on from: written by an earlier attempt of this very run. */
  checkpoint?: string;
}

/**
 * `drain`: the worker goes away; `pause`: the user will resume; `rung`: it has come as far as it was to. All write a
 * checkpoint first; `cancel` does not.
 */
export type StopReason = 'cancel' | 'pause' | 'drain' | 'rung';

export type TrainerCommand =
  | {
      type: 'start';
      spec: RunSpec;
      inputs: TrainerInputs;
      workDir: string;
      checkpointEverySeconds: number;
      /** The trainer stops after the first evaluation at this step or beyond. */
      stopAtStep: number | null;
      /** Evaluations run beside the steps after them. */
      overlapsEvaluation: boolean;
    }
  | { type: 'stop'; reason: StopReason }
  | { type: 'stored'; id: number };

export interface MetricPoint {
  key: string;
  step: number;
  value: number;
}

export type LogLevel = 'info' | 'warn' | 'error';

export type TrainerMessage =
  /** `device`: where its tensors are; absent for a trainer that has none. */
  | { type: 'ready'; device?: 'cpu' | 'gpu' }
  | { type: 'progress'; step: number; totalSteps: number }
  | { type: 'metrics'; points: MetricPoint[] }
  | { type: 'log'; level: LogLevel; message: string }
  /** A finished file in the work folder. The trainer goes on when `stored` with the same id comes back. */
  | { type: 'artifact'; id: number; name: string; kind: ArtifactKind; mime: string; path: string; step: number | null }
  | { type: 'succeeded'; result: RunResult }
  | { type: 'stopped'; reason: StopReason; step: number }
  /** `code`: what the system called the error that it failed of. */
  | { type: 'failed'; reason: StatusReason; message: string; code?: string | undefined };

/** Last values (never best ones) of a finished run; a prepared dataset's manifest, and what became of its files. */
export interface RunResult {
  metrics: Record<string, number>;
  dataset?: DatasetManifest;
  summary?: DatasetSummary;
  /** Of a model that was taken in. */
  model?: ModelManifest;
  /** Where it used labels: how many, and the sha256 of their rows. */
  labels?: { count: number; sha256: string };
}
