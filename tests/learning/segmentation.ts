import { estimateMean } from '#libs/search';
import { Lab, percent, percentEstimate, provenance, row, type Section, type SuiteOptions } from './lab.js';

const SEEDS = [1, 2, 3];
const FRACTIONS = [0.05, 1];
const CLASSES = [
  'sky',
  'building',
  'pole',
  'road',
  'pavement',
  'tree',
  'sign',
  'fence',
  'car',
  'pedestrian',
  'bicyclist',
];
const encoder = { name: 'small-resnet', width: 16 } as const;

/**
 * Road scenes with masks (CamVid, 160 x 120): pretraining on all training images against scratch, with few masks and
 * with all.
 */
export async function segmentation({ lab, source, quick, seed }: SuiteOptions): Promise<Section> {
  const prepared = await lab.complete(
    {
      kind: 'prepare-dataset',
      name: 'camvid',
      path: source,
      imageSize: { height: 120, width: 160 },
      masks: { classes: CLASSES, unlabelled: 11 },
      testFraction: 0,
    },
    'prepare',
  );
  const splits = prepared.result!.dataset!.splits;
  const pretraining = await lab.complete(
    {
      kind: 'pretrain',
      dataset: 'camvid',
      encoder,
      projection: { layers: 2, hidden: 128, output: 64 },
      batchSize: 64,
      epochs: quick ? 1 : 40,
      temperature: 0.1,
      augmentation: { crop: { minArea: 0.1 }, flip: {}, colorJitter: {}, grayscale: {} },
      optimizer: { name: 'adam', learningRate: 2e-3 },
      schedule: { warmupSteps: 20 },
      seed,
    },
    'pretrain',
  );
  const finetune = async (from: string | null, labelFraction: number, labelSeed: number, label: string) =>
    Lab.metric(
      await lab.complete(
        {
          kind: 'finetune',
          task: 'segmentation',
          dataset: 'camvid',
          from,
          ...(from === null && { encoder }),
          labelFraction,
          labelSeed,
          seed: labelSeed,
          steps: quick ? 3 : 300,
          batchSize: 8,
          optimizer: { name: 'adam', learningRate: 2e-3 },
        },
        `${label}, ${100 * labelFraction} % of the masks, seed ${labelSeed}`,
      ),
      'eval/miou',
    );
  const rows: { fraction: number; pretrained: number[]; scratch: number[]; gains: number[] }[] = [];
  for (const fraction of FRACTIONS) {
    const [pretrained, scratch]: [number[], number[]] = [[], []];
    for (const labelSeed of SEEDS) {
      pretrained.push(await finetune(pretraining.id, fraction, labelSeed, 'finetune'));
      scratch.push(await finetune(null, fraction, labelSeed, 'scratch'));
    }
    rows.push({ fraction, pretrained, scratch, gains: pretrained.map((value, i) => value - scratch[i]!) });
  }
  const shown = rows.every(({ gains }) => {
    const { mean, ci95 } = estimateMean(gains);
    return mean > (ci95 ?? 0);
  });
  const line = ({ fraction, pretrained, scratch, gains }: (typeof rows)[number]) =>
    row(
      `${percent(fraction)} %`,
      percentEstimate(pretrained),
      percentEstimate(scratch),
      `**${percentEstimate(gains)}**`,
    );
  return {
    heading: 'Road scenes: segmentation',
    met: rows.every(({ gains }) => estimateMean(gains).mean > 0),
    body: `
\`npm run learn -- --suite segmentation --dataset PATH\` with CamVid at 160 x 120 (${splits.train.count} training and
${splits.val!.count} validation frames, 11 classes, unlabelled pixels ignored), seed ${seed}, ${provenance()}.

Pretraining: SimCLR on all training frames, 40 epochs, ${Lab.seconds(pretraining).toFixed(0)} s. Then 300 steps of 8
frames with masks, Adam 2e-3, small-resnet of width 16 with a decoder on its maps. Mean intersection over union on
the validation frames, in %:

| masks | pretrained | from scratch | gain, paired by seed |
|---|---|---|---|
${rows.map(line).join('\n')}

${shown ? 'No interval holds 0.' : 'An interval that holds 0 shows no gain: it takes more seeds or a larger budget.'}`,
  };
}
