import { estimateMean } from '#libs/search';
import { Lab, percent, percentEstimate, provenance, row, type Section, type SuiteOptions } from './lab.js';

const KNN_BAR = 0.5;
const GAIN_BAR = 0.05;
const LABEL_SEEDS = [1, 2, 3];
/** 60 epochs of 500 labels in batches of 64. */
const FINETUNE_STEPS = 420;

/**
 * The published recipe on CIFAR-10: does pretraining beat the better of two controls on 1 % of the labels? Some
 * twenty-five minutes on two cores.
 */
export async function simclr({ lab, source, quick, seed }: SuiteOptions): Promise<Section> {
  await lab.complete(
    { kind: 'prepare-dataset', name: 'cifar10', path: source, valFraction: 0, testFraction: 0 },
    'prepare',
  );
  const pretraining = await lab.complete(
    {
      kind: 'pretrain',
      dataset: 'cifar10',
      evalSplit: 'test',
      seed,
      encoder: { name: 'small-resnet', width: 32 },
      projection: { layers: 2, hidden: 256, output: 64 },
      temperature: 0.1,
      batchSize: 256,
      epochs: quick ? 1 : 8,
      optimizer: { name: 'adam', learningRate: 4e-3 },
      schedule: { name: 'cosine', warmupSteps: 100 },
      augmentation: { crop: { minArea: 0.2 }, flip: {}, colorJitter: {}, grayscale: {} },
      knn: { k: 20, temperature: 0.07, bankSize: 5000 },
    },
    'pretrain',
  );
  const finetune = async (from: string | null, steps: number, labelSeed: number, label: string) =>
    Lab.metric(
      await lab.complete(
        {
          kind: 'finetune',
          dataset: 'cifar10',
          evalSplit: 'test',
          from,
          ...(from === null && { encoder: { name: 'small-resnet', width: 32 } }),
          labelFraction: 0.01,
          labelSeed,
          seed: seed + labelSeed,
          steps,
          batchSize: 64,
          optimizer: { name: 'adam', learningRate: 1e-3 },
          augmentation: { crop: { minArea: 0.5 }, flip: {} },
        },
        `${label}, label seed ${labelSeed}`,
      ),
      'eval/accuracy',
    );
  const rows: { labelSeed: number; pretrained: number; scratch: number; twice: number }[] = [];
  for (const labelSeed of LABEL_SEEDS) {
    rows.push({
      labelSeed,
      pretrained: await finetune(pretraining.id, FINETUNE_STEPS, labelSeed, 'finetune'),
      scratch: await finetune(null, FINETUNE_STEPS, labelSeed, 'scratch'),
      twice: await finetune(null, 2 * FINETUNE_STEPS, labelSeed, 'scratch, twice the steps'),
    });
  }
  const [series] = await lab.client.metrics(pretraining.id, { key: ['eval/knn'] });
  const curve = series!.points.map(({ value }) => value);
  const of = (key: 'pretrained' | 'scratch' | 'twice') => rows.map((each) => each[key]);
  const line = ({ labelSeed, pretrained, scratch, twice }: (typeof rows)[number]) =>
    row(labelSeed, percent(pretrained), percent(scratch), percent(twice));
  const control = estimateMean(of('twice')).mean > estimateMean(of('scratch')).mean ? 'twice' : 'scratch';
  const gains = rows.map((each) => each.pretrained - each[control]);
  const met = curve.at(-1)! >= KNN_BAR && estimateMean(gains).mean >= GAIN_BAR;
  return {
    heading: 'CIFAR-10, SimCLR, small-resnet of width 32',
    met,
    body: `
\`npm run learn -- --dataset PATH\` with CIFAR-10 as JPEGs (50,000 training and 5,000 test images), seed ${seed},
${provenance()}.

Pretraining: 8 epochs of 50,000 unlabelled images (the labelled ones are among them), 256 images a step, NT-Xent at
temperature 0.1, Adam 4e-3, 100 steps of warm-up, cosine; ${Lab.seconds(pretraining).toFixed(0)} s. Weighted kNN (k 20,
T 0.07, bank of 5,000) before the first epoch and after each:

| epoch | ${curve.map((_, epoch) => epoch).join(' | ')} |
|---|${curve.map(() => '---').join('|')}|
| kNN, % | ${curve.map(percent).join(' | ')} |

Finetuning of the whole network on 1 % of the labels (500, stratified), ${FINETUNE_STEPS} steps of 64, Adam 1e-3,
cosine; accuracy in %:

| label seed | pretrained | from scratch | from scratch, twice the steps |
|---|---|---|---|
${rows.map(line).join('\n')}
${row('mean', `**${percentEstimate(of('pretrained'))}**`, percentEstimate(of('scratch')), percentEstimate(of('twice')))}

Gain over the better control (${control === 'twice' ? 'twice the steps' : 'the same steps'}), paired by label seed:
**${percentEstimate(gains)} points**. The bar (kNN at least ${100 * KNN_BAR} %, gain at least ${100 * GAIN_BAR} points)
is ${met ? 'met' : 'missed'}.`,
  };
}
