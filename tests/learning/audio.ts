import { estimateMean } from '#libs/search';
import { Lab, percent, percentEstimate, provenance, row, rule, type Section, type SuiteOptions } from './lab.js';

const SEEDS = [1, 2, 3, 4, 5];
const STEPS = 300;
/** A network from scratch gets so many times as many. */
const LONGER = [1, 2] as const;
/**
 * Of which each column takes the one that does best on the validation speaker, by labels that the table does not use.
 */
const FINETUNING_RATES = [1e-2, 3e-2];
const SCRATCH_RATES = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2];
const PROBE_L2 = [1e-4, 1e-2];
const CHOOSING_SEED = 0;
/**
 * Fifty labels spoil features that took a thousand sounds to learn, where the encoder learns as fast as the classifier
 * on it.
 */
const BACKBONE = { rate: 0.01, statistics: 'parent' } as const;
const FRACTION = 0.05;
const HELD_OUT = { val: ['lucas'], test: ['theo'] };
const encoder = { name: 'small-resnet', width: 16 } as const;

/**
 * Spoken digits (`<digit>_<speaker>_<n>.wav`), one speaker kept for testing: autoencoders on spectrograms and on the
 * waveform, and contrastive pretraining against scratch on 5 % of the labels.
 */
export async function audio({ lab, source, quick, seed }: SuiteOptions): Promise<Section> {
  const prepared = await lab.complete(
    {
      kind: 'prepare-dataset',
      name: 'digits',
      path: source,
      audio: { sampleRate: 8000, seconds: 1 },
      fileName: '{label}_{group}_{}',
      holdOut: HELD_OUT,
    },
    'prepare',
  );
  const splits = prepared.result!.dataset!.splits;
  const autoencoders: { domain: string; latent: number; snr: number; wavs: number; seconds: number }[] = [];
  // A waveform has far more to say than a spectrogram of few frames: it gets more numbers, and smaller steps of the
  // data.
  for (const { domain, latent, batchSize, learningRate } of [
    { domain: 'spectrogram', latent: 64, batchSize: 32, learningRate: 2e-3 },
    { domain: 'waveform', latent: 512, batchSize: 16, learningRate: 4e-3 },
  ] as const) {
    const run = await lab.complete(
      {
        kind: 'autoencode',
        dataset: 'digits',
        domain,
        latent,
        encoder,
        epochs: quick ? 1 : 30,
        batchSize,
        optimizer: { name: 'adam', learningRate },
        evalSplit: 'test',
        seed,
      },
      `autoencoder of the ${domain}`,
    );
    autoencoders.push({
      domain,
      latent,
      snr: Lab.metric(run, 'eval/snr_db'),
      wavs: (await lab.client.artifacts(run.id)).items.filter(({ kind }) => kind === 'audio').length,
      seconds: Lab.seconds(run),
    });
  }
  const pretraining = await lab.complete(
    {
      kind: 'pretrain',
      dataset: 'digits',
      encoder,
      projection: { layers: 2, hidden: 128, output: 64 },
      batchSize: 128,
      epochs: quick ? 1 : 80,
      temperature: 0.1,
      optimizer: { name: 'adam', learningRate: 2e-3 },
      schedule: { warmupSteps: 40 },
      knn: { bankSize: 1000 },
      seed,
    },
    'pretrain',
  );
  const labelled = { dataset: 'digits', labelFraction: FRACTION } as const;
  const finetune = async (
    from: string | null,
    steps: number,
    learningRate: number,
    labelSeed: number,
    evalSplit: 'val' | 'test',
  ) =>
    Lab.metric(
      await lab.complete(
        {
          kind: 'finetune',
          ...labelled,
          from,
          ...(from === null ? { encoder } : { backbone: BACKBONE }),
          labelSeed,
          seed: labelSeed,
          steps: quick ? 5 : steps,
          batchSize: 32,
          evalSplit,
          optimizer: { name: 'adam', learningRate },
        },
        `${from ? 'finetune' : 'scratch'}, ${steps} steps at ${learningRate}, label seed ${labelSeed}`,
      ),
      'eval/accuracy',
    );
  const probe = async (l2: number, labelSeed: number, evalSplit: 'val' | 'test') =>
    Lab.metric(
      await lab.complete(
        {
          kind: 'evaluate',
          ...labelled,
          from: pretraining.id,
          knn: { bankSize: 1000 },
          probe: { l2 },
          labelSeed,
          seed,
          evalSplit,
        },
        `probe at ${l2}, label seed ${labelSeed}`,
      ),
      'eval/probe_accuracy',
    );
  /** Each with its settings, from which the validation speaker takes one. */
  const arms = [
    {
      name: 'pretrained, finetuned',
      settings: FINETUNING_RATES,
      run: (rate: number, labelSeed: number, split: 'val' | 'test') =>
        finetune(pretraining.id, STEPS, rate, labelSeed, split),
    },
    {
      name: 'pretrained, a quarter of the steps',
      settings: FINETUNING_RATES,
      run: (rate: number, labelSeed: number, split: 'val' | 'test') =>
        finetune(pretraining.id, STEPS / 4, rate, labelSeed, split),
    },
    { name: 'pretrained, frozen: linear probe', settings: PROBE_L2, run: probe },
    ...LONGER.map((times) => ({
      name: times === 1 ? 'from scratch' : `from scratch, ${times} times the steps`,
      settings: SCRATCH_RATES,
      run: (rate: number, labelSeed: number, split: 'val' | 'test') =>
        finetune(null, times * STEPS, rate, labelSeed, split),
    })),
  ];
  const columns: { name: string; chosen: { setting: number; accuracy: number }; accuracies: number[] }[] = [];
  for (const { name, settings, run } of arms) {
    const tried = [];
    for (const setting of settings) tried.push({ setting, accuracy: await run(setting, CHOOSING_SEED, 'val') });
    const chosen = tried.reduce((best, each) => (each.accuracy > best.accuracy ? each : best));
    const accuracies = [];
    for (const labelSeed of SEEDS) accuracies.push(await run(chosen.setting, labelSeed, 'test'));
    columns.push({ name, chosen, accuracies });
  }
  const [finetuned, , probed, ...scratch] = columns.map(({ accuracies }) => accuracies) as [
    number[],
    number[],
    number[],
    number[],
    number[],
  ];
  const control = scratch.reduce((best, each) => (estimateMean(each).mean > estimateMean(best).mean ? each : best));
  const gainsOf = (accuracies: number[]) => accuracies.map((accuracy, i) => accuracy - control[i]!);
  const isShown = (gains: number[]) => {
    const { mean, ci95 } = estimateMean(gains);
    return mean - (ci95 ?? 0) > 0;
  };
  const [gains, probeGains] = [gainsOf(finetuned), gainsOf(probed)];
  const met = isShown(gains);
  const means = columns.map(({ accuracies }) => percentEstimate(accuracies));
  const autoencoderRow = ({ domain, latent, snr, wavs, seconds }: (typeof autoencoders)[number]) =>
    row(domain, latent, `${snr.toFixed(1)} dB`, wavs, `${seconds.toFixed(0)} s`);
  return {
    heading: 'Spoken digits: sound',
    met,
    body: `
\`npm run learn -- --suite audio --dataset PATH\` with 1,500 recordings of six speakers, one second at 8 kHz:
${splits.train.count} of four speakers to train on, ${splits.test!.count} of one (${HELD_OUT.test.join()}) to test on,
one (${HELD_OUT.val.join()}) for validation; seed ${seed}, ${provenance()}.

| autoencoder | numbers in the code | signal-to-noise ratio on the unknown speaker | WAV files kept | time |
|---|---|---|---|---|
${autoencoders.map(autoencoderRow).join('\n')}

(The first is of the log-mel spectrogram, the second of the waveform.) Contrastive pretraining (SimCLR, 80 epochs,
${Lab.seconds(pretraining).toFixed(0)} s), then ${100 * FRACTION} % of the labels
(${Math.round(FRACTION * splits.train.count)}): finetuning of the whole network, ${STEPS} steps of 32, its encoder at
${BACKBONE.rate} of the learning rate and normalised by the running averages of the pretraining;
a linear probe on the frozen features; and the same network from scratch, all layers alike. Each column at the setting
(learning rate: ${FINETUNING_RATES.join(', ')} finetuned, ${SCRATCH_RATES.join(', ')} from scratch; weight of the
probe's penalty: ${PROBE_L2.join(', ')}) that did best on the validation speaker with the labels of seed
${CHOOSING_SEED}, which the table does not use. Accuracy on the unknown speaker in %, last step:

${row('label seed', ...columns.map(({ name }) => name))}
${rule(1 + columns.length)}
${row('setting', ...columns.map(({ chosen }) => chosen.setting))}
${row(`validation speaker, seed ${CHOOSING_SEED}`, ...columns.map(({ chosen }) => percent(chosen.accuracy)))}
${SEEDS.map((each, i) => row(each, ...columns.map(({ accuracies }) => percent(accuracies[i]!)))).join('\n')}
${row('mean', `**${means[0]}**`, ...means.slice(1))}

Gain over the better control from scratch, paired by label seed: finetuned **${percentEstimate(gains)} points**, probed
${percentEstimate(probeGains)}.${met ? '' : ' The interval holds 0: at this budget a gain is not shown.'}`,
  };
}
