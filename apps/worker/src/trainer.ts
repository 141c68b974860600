/**
 * The child side: a thin shell around `train` and `prepareDataset`. It knows files and numbers, speaks over its IPC
 * channel only, trains one run and leaves.
 */
import type { StopReason, TrainerCommand, TrainerMessage } from '#libs/contracts';
import { InvalidDataError, prepareDataset } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import { Stopped, train, TrainingError, type TrainContext } from '#libs/training';
import { writeFile } from 'node:fs/promises';
import { flushCompileCache } from 'node:module';
import path from 'node:path';

const stop = new AbortController();
const stored = new Map<number, () => void>();
let artifacts = 0;

/** Resolves when the message has been handed to the channel. */
const say = (message: TrainerMessage): Promise<void> =>
  new Promise((resolve, reject) => {
    if (!process.send) throw new Error('expected an IPC channel: the worker starts trainers');
    process.send(message, undefined, {}, (error) => (error ? reject(error) : resolve()));
  });
const tell = (message: TrainerMessage): void => {
  void say(message).catch(() => process.exit(1));
};

const context = (command: Extract<TrainerCommand, { type: 'start' }>): TrainContext => ({
  signal: stop.signal,
  workDir: command.workDir,
  checkpointEverySeconds: command.checkpointEverySeconds,
  stopAtStep: command.stopAtStep,
  overlapsEvaluation: command.overlapsEvaluation,
  progress: (step, totalSteps) => tell({ type: 'progress', step, totalSteps }),
  metrics: (points) => tell({ type: 'metrics', points }),
  log: (level, message) => tell({ type: 'log', level, message }),
  store: (file) =>
    new Promise<void>((resolve) => {
      const id = ++artifacts;
      stored.set(id, resolve);
      tell({ type: 'artifact', id, ...file });
    }),
});

async function run(command: Extract<TrainerCommand, { type: 'start' }>): Promise<TrainerMessage> {
  const { spec, inputs } = command;
  const shell = context(command);
  try {
    if (spec.kind !== 'prepare-dataset') return { type: 'succeeded', result: await train(spec, inputs, shell) };
    const { manifest, files, summary, preview } = await prepareDataset(spec, {
      dataRoot: inputs.dataRoot,
      workDir: shell.workDir,
      signal: stop.signal,
      progress: shell.progress,
      log: shell.log,
    });
    for (const { name, path: at } of files)
      await shell.store({ name, kind: 'dataset', mime: 'application/octet-stream', path: at, step: null });
    for (const { bytes, ...file } of preview) {
      const at = path.join(shell.workDir, file.name);
      await writeFile(at, bytes);
      await shell.store({ ...file, path: at, step: null });
    }
    return { type: 'succeeded', result: { metrics: {}, ...(manifest && { dataset: manifest }), summary } };
  } catch (error) {
    if (error instanceof Stopped) return { type: 'stopped', reason: error.reason, step: error.step };
    if (stop.signal.aborted) return { type: 'stopped', reason: stop.signal.reason as StopReason, step: 0 };
    if (error instanceof TrainingError) return { type: 'failed', reason: error.reason, message: error.message };
    if (error instanceof InvalidDataError) return { type: 'failed', reason: 'invalid_data', message: error.message };
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOSPC')
      return {
        type: 'failed',
        reason: 'disk_full',
        message:
          `no space is left in ${path.basename(shell.workDir)}: make room where artifacts are stored, then retry ` +
          'the run',
        code,
      };
    return {
      type: 'failed',
      reason: 'internal_error',
      message: error instanceof Error ? (error.stack ?? error.message) : String(error),
      code,
    };
  }
}

process.on('disconnect', () => process.exit(1));
// The worker decides when a trainer ends: a Ctrl-C in the terminal reaches both.
process.on('SIGINT', () => undefined);
process.on('SIGTERM', () => undefined);
process.on('message', (command: TrainerCommand) => {
  if (command.type === 'stop') stop.abort(command.reason);
  else if (command.type === 'stored') {
    stored.get(command.id)?.();
    stored.delete(command.id);
  } else
    void run(command)
      .then(say)
      .then(
        () => process.exit(0),
        () => process.exit(1),
      );
});

const threads = Number(process.env['LOOM_TRAINER_THREADS']);
const { gpu } = await loadTensorFlow(threads > 0 ? { threads } : {});
// Compiled code is read only from the first run on (TrainerUsers).
flushCompileCache();
await say({ type: 'ready', device: gpu ? 'gpu' : 'cpu' });
