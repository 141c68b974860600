import { type Run, type RunSpec, type SweepSpec } from '#libs/contracts';
import { estimateMean } from '#libs/search';
import { setTimeout as delay } from 'node:timers/promises';
import type { z } from 'zod';
import { Lab, percent, percentEstimate, provenance, row, type Section, type SuiteOptions } from './lab.js';

const EPOCHS = 9;
const FACTOR = 3;
const KNN = 'eval/knn';
const round = (value: number) => Number(value.toFixed(4));

/**
 * Is halving worth it? Twenty-seven pretrainings in full, and the same by asynchronous successive halving, trained
 * anew. The best three and what halving found are trained with other seeds too, which say how far two trials have to
 * lie apart to differ. The curves are kept: `early-stopping.spec.ts` plays halving over them.
 */
export async function asha({ lab, source, quick, seed }: SuiteOptions): Promise<Section> {
  const seeds = (quick ? [0, 1] : [0, 1, 2]).map((each) => seed + each);
  const { splits } = (
    await lab.complete(
      {
        kind: 'prepare-dataset',
        name: 'small-images',
        path: source,
        imageSize: 8,
        channels: 1,
        valFraction: 0.25,
        testFraction: 0.5,
      },
      'prepare',
    )
  ).result!.dataset!;
  const axes = {
    'pretrain.optimizer.learningRate': { values: quick ? [1e-3, 1e-2] : [3e-4, 2e-3, 1e-2] },
    'pretrain.temperature': { values: [0.05, 0.2, 1] },
    'pretrain.augmentation.crop.minArea': { values: quick ? [0.3] : [0.08, 0.3, 0.8] },
  };
  const spec = (more: Partial<z.input<typeof SweepSpec>>): z.input<typeof SweepSpec> => ({
    name: 'in-full',
    metric: { name: KNN },
    parameters: axes,
    stages: {
      pretrain: {
        kind: 'pretrain',
        dataset: 'small-images',
        encoder: { width: 4 },
        projection: { hidden: 64, output: 32 },
        batchSize: 250,
        epochs: EPOCHS,
        seed,
        optimizer: { name: 'adam' },
        schedule: { warmupSteps: 10 },
        knn: { bankSize: 1000 },
        probe: { maxIterations: 1 },
      },
    },
    ...more,
  });
  const trained = async (wanted: z.input<typeof SweepSpec>) => {
    const { sweep } = await lab.client.submitSweep({ spec: wanted });
    for (let counts = ''; ; await delay(2000)) {
      lab.signal.throwIfAborted();
      const now = await lab.client.sweep(sweep.id);
      const news = Object.entries(now.trialCounts)
        .map(([status, count]) => `${count} ${status}`)
        .join(', ');
      if (news !== counts) console.log(`${wanted.name}: ${(counts = news)}`);
      if (now.status === 'running') continue;
      if (now.status !== 'succeeded') throw new Error(`sweep ${sweep.id} is ${now.status}: ${now.haltReason}`);
      const runs = new Map<string, Run>();
      for await (const run of lab.client.eachRun({ sweep: sweep.id })) runs.set(run.id, run);
      return {
        steps: [...runs.values()].reduce((sum, { step }) => sum + step, 0),
        trials: now.trials.map(({ parameters, runs: [place] }) => ({ parameters, run: runs.get(place!.runId)! })),
      };
    }
  };
  type Trained = Awaited<ReturnType<typeof trained>>['trials'][number];
  const full = await trained(spec({}));
  // The same trials again would be taken from the first sweep.
  const halved = await trained(
    spec({
      name: 'halved',
      on_duplicate: 'replicate',
      parallel_trials: 4,
      early_terminate: { type: 'asha', metric: KNN, grace_period: 1, reduction_factor: FACTOR },
    }),
  );

  const first = full.trials;
  const ranked = (some: readonly Trained[]) =>
    some
      .filter(({ run }) => run.status === 'succeeded')
      .sort((a, b) => Lab.metric(b.run, KNN) - Lab.metric(a.run, KNN));
  const nameOf = ({ parameters }: Trained) =>
    Object.keys(axes)
      .map((path) => `${path.split('.').at(-1)} ${String(parameters[path])}`)
      .join(', ');
  const [bestInFull, bestOfHalved] = [nameOf(ranked(first)[0]!), nameOf(ranked(halved.trials)[0]!)];
  /** By name, the last kNN with each seed. */
  const finalists = new Map<string, number[]>();
  for (const name of new Set([...ranked(first).slice(0, 3).map(nameOf), bestOfHalved])) {
    const { run } = first.find((trial) => nameOf(trial) === name)!;
    finalists.set(name, [Lab.metric(run, KNN)]);
    for (const other of seeds.slice(1))
      finalists
        .get(name)!
        .push(
          Lab.metric(
            await lab.complete({ ...run.spec, seed: other } as z.input<typeof RunSpec>, `${name}, seed ${other}`),
            KNN,
          ),
        );
  }
  const finals = (name: string) => finalists.get(name)!;
  const behind = finals(bestInFull).map((value, i) => value - finals(bestOfHalved)[i]!);
  const steps = first.reduce((sum, { run }) => sum + run.step, 0);
  const { mean, ci95 } = estimateMean(behind);
  const same = bestInFull === bestOfHalved || mean <= (ci95 ?? 0);
  const met = same && halved.steps < steps / 2;
  const curves = await Promise.all(
    full.trials.map(async ({ parameters, run }) => {
      const [series] = await lab.client.metrics(run.id, { key: [KNN] });
      return {
        parameters: Object.fromEntries(
          Object.entries(parameters).map(([path, value]) => [path.slice('pretrain.'.length), value]),
        ),
        knn: series!.points.filter(({ step }) => step > 0).map(({ value }) => round(value)),
      };
    }),
  );
  const command = '`npm run learn -- --suite asha`';
  const preamble = {
    command: command.replaceAll('`', ''),
    seeds,
    provenance: provenance(),
    epochs: EPOCHS,
    metric: `${KNN} after each epoch`,
    finalists: Object.fromEntries([...finalists].map(([name, values]) => [name, values.map(round)])),
  };
  const lines = (each: readonly string[], separator: string) => each.join(`${separator}\n`);
  const [rates, temperatures, areas] = [
    axes['pretrain.optimizer.learningRate'],
    axes['pretrain.temperature'],
    axes['pretrain.augmentation.crop.minArea'],
  ].map(({ values }) => values.join(', '));
  const toTheEnd = halved.trials.filter(({ run }) => run.status === 'succeeded').length;
  const outcome =
    bestInFull === bestOfHalved
      ? ' and found the same trial.'
      : `. What it found is ${percentEstimate(behind)} points behind over the seeds.`;
  return {
    heading: 'Halving against running everything',
    met,
    recording: {
      file: 'tests/learning/curves.json',
      text: `${JSON.stringify(preamble).slice(0, -1)},"curves":[\n${lines(
        curves.map((curve) => JSON.stringify(curve)),
        ',',
      )}\n]}\n`,
    },
    body: `
${command} with the 10,000 digits of the demo at 8 x 8
(${splits.train.count} to train on, ${splits.val!.count} to judge by), seeds ${seeds.join(', ')}, ${provenance()}.

${first.length} pretrainings (SimCLR, small-resnet of width 4, ${EPOCHS} epochs): learning rate ${rates};
temperature ${temperatures}; smallest crop ${areas} of the image. In full, and once more,
trained anew, by \`asha\` (grace period 1, factor ${FACTOR}, 4 at once), judged by kNN. The
best three and what \`asha\` found were trained with the other seeds as well.

| | steps | trained to the end | best | its kNN over the seeds, % |
|---|---|---|---|---|
${row('in full', steps, first.length, bestInFull, percentEstimate(finals(bestInFull)))}
${row('`asha`', halved.steps, toTheEnd, bestOfHalved, percentEstimate(finals(bestOfHalved)))}

Halving took ${percent(halved.steps / steps)} % of the steps${outcome} The bar (the same trial, or none that is better
beyond the interval over the seeds, for less than half of the steps) is ${met ? 'met' : 'missed'}. All curves are in
\`tests/learning/curves.json\`.`,
  };
}
