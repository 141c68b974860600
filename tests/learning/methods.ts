import { METHODS } from '#libs/contracts';
import { estimateMean } from '#libs/search';
import { Lab, percentEstimate, provenance, row, rule, type Section, type SuiteOptions } from './lab.js';

const PROBE_BAR = 0.08;
/** Methods that have to be above the random encoder by the bar. */
const BARRED = ['simclr', 'barlow-twins', 'vicreg'] as const;
const LEARNING_RATES = [1e-3, 4e-3];
/** Parts of the labels, and the steps that a network is tuned by them. */
const FRACTIONS: [fraction: number, steps: number][] = [
  [0.01, 420],
  [0.1, 1000],
];
/** Of a slice of the images, whose hundredth would be too few. */
const QUICK_FRACTIONS: typeof FRACTIONS = [
  [0.1, 40],
  [0.5, 100],
];
const encoder = { name: 'small-resnet', width: 32 } as const;
/** What a masked autoencoder hides squares from: about as many steps a second as the network of the others. */
const transformer = { name: 'vit-tiny', width: 16, patch: 4 } as const;
/** Views of a sample that EMP-SSL learns from; its authors' 20 take ten times as long as the two of the others. */
const PATCHES = 4;

/**
 * All methods and the autoencoder with one budget on CIFAR-10, against three controls. The learning rate of each is
 * chosen on a tenth of the training images, by the probe after one epoch; the table is of the test images. Hours on two
 * cores: with `--dir` a second start goes on where the first ended, because equal runs are reused.
 */
export async function methods({
  lab,
  source,
  quick,
  seed,
  epochs = quick ? 1 : 4,
}: SuiteOptions & { epochs?: number | undefined }): Promise<Section> {
  const fractions = quick ? QUICK_FRACTIONS : FRACTIONS;
  const seeds = (quick ? [0] : [0, 1, 2]).map((each) => seed + each);
  await lab.complete(
    { kind: 'prepare-dataset', name: 'cifar10', path: source, valFraction: 0.1, testFraction: 0 },
    'prepare',
  );
  const batchSize = 256;
  const schedule = { warmupSteps: 50 };
  const pretrain = (method: (typeof METHODS)[number], learningRate: number, epochs: number, seed: number) => ({
    kind: 'pretrain' as const,
    method,
    dataset: 'cifar10',
    encoder,
    projection: { layers: 2, hidden: 256, output: 256 },
    batchSize,
    epochs,
    seed,
    optimizer: { name: 'adam' as const, learningRate },
    schedule,
    ...(method === 'emp-ssl' && {
      views: [{ augmentation: { crop: { minArea: 0.25, maxArea: 0.25 }, flip: {} }, count: PATCHES }],
    }),
  });
  const autoencode = (variant: 'plain' | 'masked', learningRate: number, epochs: number, seed: number) => ({
    kind: 'autoencode' as const,
    variant,
    dataset: 'cifar10',
    ...(variant === 'plain' ? { encoder, latent: 128 } : { encoder: transformer, masking: { blocks: 2 } }),
    batchSize,
    epochs,
    seed,
    optimizer: { name: 'adam' as const, learningRate },
    schedule,
  });
  const evaluate = async (
    from: string | null,
    evalSplit: 'val' | 'test',
    seed: number,
    label: string,
    features: 'encoder' | 'pixels' = 'encoder',
  ) => {
    const run = await lab.complete(
      {
        kind: 'evaluate',
        dataset: 'cifar10',
        from,
        features,
        ...(from === null && features === 'encoder' && { encoder }),
        evalSplit,
        seed,
      },
      `${label}: evaluate`,
    );
    return { knn: Lab.metric(run, 'eval/knn'), probe: Lab.metric(run, 'eval/probe_accuracy') };
  };
  const finetune = async (from: string | null, fraction: number, steps: number, labelSeed: number, label: string) =>
    Lab.metric(
      await lab.complete(
        {
          kind: 'finetune',
          dataset: 'cifar10',
          from,
          ...(from === null && { encoder }),
          labelFraction: fraction,
          labelSeed,
          seed: labelSeed,
          steps,
          evalSplit: 'test',
          optimizer: { name: 'adam', learningRate: 1e-3 },
          augmentation: { crop: { minArea: 0.5 }, flip: {} },
        },
        `${label}: ${100 * fraction} % of the labels, seed ${labelSeed}`,
      ),
      'eval/accuracy',
    );

  interface Row {
    knn: number[];
    probe: number[];
    accuracy: Map<number, number[]>;
    learningRate?: number;
  }
  const table = new Map<string, Row>();
  for (const name of [...METHODS, 'autoencoder', 'masked autoencoder'] as const) {
    const spec = (learningRate: number, epochs: number, seed: number) => {
      if (name === 'autoencoder') return autoencode('plain', learningRate, epochs, seed);
      if (name === 'masked autoencoder') return autoencode('masked', learningRate, epochs, seed);
      return pretrain(name, learningRate, epochs, seed);
    };
    const tried = [];
    for (const learningRate of LEARNING_RATES) {
      const run = await lab.complete(spec(learningRate, 1, seed), `${name}, learning rate ${learningRate}`);
      tried.push({ learningRate, probe: (await evaluate(run.id, 'val', seed, name)).probe });
    }
    const { learningRate } = tried.reduce((best, each) => (each.probe > best.probe ? each : best));
    const row: Row = {
      knn: [],
      probe: [],
      accuracy: new Map(fractions.map(([fraction]) => [fraction, []])),
      learningRate,
    };
    for (const each of seeds) {
      const run = await lab.complete(spec(learningRate, epochs, each), `${name}, seed ${each}`);
      const { knn, probe } = await evaluate(run.id, 'test', each, name);
      row.knn.push(knn);
      row.probe.push(probe);
      for (const [fraction, steps] of fractions)
        row.accuracy.get(fraction)!.push(await finetune(run.id, fraction, steps, each, name));
    }
    table.set(name, row);
  }
  const random: Row = { knn: [], probe: [], accuracy: new Map(fractions.map(([fraction]) => [fraction, []])) };
  const twice = new Map<number, number[]>(fractions.map(([fraction]) => [fraction, []]));
  for (const each of seeds) {
    const { knn, probe } = await evaluate(null, 'test', each, 'random encoder');
    random.knn.push(knn);
    random.probe.push(probe);
    for (const [fraction, steps] of fractions) {
      random.accuracy.get(fraction)!.push(await finetune(null, fraction, steps, each, 'scratch'));
      twice.get(fraction)!.push(await finetune(null, fraction, 2 * steps, each, 'scratch, twice the steps'));
    }
  }
  const pixels = await evaluate(null, 'test', seed, 'raw pixels', 'pixels');
  const mean = (values: readonly number[]) => estimateMean(values).mean;
  const short = [...table]
    .filter(([, { probe }]) => mean(probe) - mean(random.probe) < PROBE_BAR)
    .map(([name]) => name);
  const met = BARRED.every((name) => mean(table.get(name)!.probe) - mean(random.probe) >= PROBE_BAR);
  const ofFractions = (accuracy: Row['accuracy']) =>
    fractions.map(([fraction]) => percentEstimate(accuracy.get(fraction)!));
  const line = (name: string, { knn, probe, accuracy, learningRate }: Row) =>
    row(name, learningRate ?? '', percentEstimate(knn), percentEstimate(probe), ...ofFractions(accuracy));
  const columns = [
    '',
    'learning rate',
    'kNN',
    'linear probe',
    ...fractions.map(([each]) => `${100 * each} % of the labels`),
  ];
  const ofPixels = [percentEstimate([pixels.knn]), percentEstimate([pixels.probe])];
  return {
    heading: 'CIFAR-10: methods compared',
    met,
    body: `
\`npm run learn -- --suite methods --dataset PATH --epochs ${epochs}${quick ? ' --quick' : ''}\` with CIFAR-10 as JPEGs,
seeds ${seeds.join(', ')}, ${provenance()}.

One budget for all: ${epochs} epochs of the unlabelled images (45,000 of the whole), ${batchSize} a step,
small-resnet of width 32 (the masked autoencoder: vit-tiny of ${transformer.width} a head, squares of
${transformer.patch}; EMP-SSL: ${PATCHES} views a sample), Adam,
${schedule.warmupSteps} steps of warm-up, cosine, SimCLR's views at half strength. The learning rate (of
${LEARNING_RATES.join(' and ')}) is the one whose probe was better on 5,000 held-out training images after one epoch.
Everything in the table is of the test images (5,000 of the whole), after the last epoch, in %, mean ± 95 % interval
over ${seeds.length} ${seeds.length === 1 ? 'seed' : 'seeds'} of pretraining and labels.

${row(...columns)}
${rule(columns.length)}
${[...table].map(([name, values]) => line(name, values)).join('\n')}
${line('no pretraining', random)}
${row('no pretraining, twice the steps', '', '', '', ...ofFractions(twice))}
${row('raw pixels', '', ...ofPixels, ...fractions.map(() => ''))}

Less than ${100 * PROBE_BAR} points above the random encoder, so that they need more epochs than these:
${short.join(', ') || 'none'}.

kNN and probe of "no pretraining" are of the encoder as it was initialised. The bar (${BARRED.join(', ')} at least
${100 * PROBE_BAR} points above it in the linear probe) is ${met ? 'met' : 'missed'}.`,
  };
}
