/** What training needs of the world around it, and how it ends before its end. */
import type { ArtifactKind, LogLevel, MetricPoint, StatusReason, StopReason } from '#libs/contracts';
import { turn } from './evaluation.js';

/** What training needs of the world around it. */
export interface TrainContext {
  /** Aborted with a `StopReason`. */
  signal: AbortSignal;
  workDir: string;
  checkpointEverySeconds: number;
  /** Stops (`rung`) when the evaluation of this step, or the first after it, is done; not at the last step. */
  stopAtStep?: number | null;
  /** Evaluations run beside the steps after them, where they can: the same comes out, and takes memory for both. */
  overlapsEvaluation?: boolean;
  progress(step: number, totalSteps: number): void;
  metrics(points: MetricPoint[]): void;
  log(level: LogLevel, message: string): void;
  /** Hands a finished file over; resolves when it is durable. */
  store(file: { name: string; kind: ArtifactKind; mime: string; path: string; step: number | null }): Promise<void>;
}

/** Training ended because it was asked to. Unless the reason is `cancel`, a checkpoint of this step was stored. */
export class Stopped extends Error {
  constructor(
    readonly reason: StopReason,
    readonly step: number,
  ) {
    super(`stopped at step ${step}: ${reason}`);
    this.name = 'Stopped';
  }
}

/** Why training can't go on; `reason` is the run's status reason. */
export class TrainingError extends Error {
  constructor(
    readonly reason: StatusReason,
    message: string,
  ) {
    super(message);
    this.name = 'TrainingError';
  }
}

/** Shows that the run lives, and lets messages in. @throws Stopped when the run is to stop; nothing is stored here. */
export async function breathe({ signal, progress }: TrainContext, step: number, totalSteps: number): Promise<void> {
  progress(step, totalSteps);
  await turn();
  if (signal.aborted) throw new Stopped(signal.reason as StopReason, step);
}
