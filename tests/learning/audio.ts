import { estimateMean } from '#libs/contracts';
import { Lab, percent, percentEstimate, provenance, type Section, type SuiteOptions } from './lab.js';

const SEEDS = [1, 2, 3, 4, 5];
/** Of which each arm takes the one that does better on the validation speaker, by labels that the table does not use. */
const LEARNING_RATES = [1e-4, 3e-4, 1e-3, 3e-3];
const CHOOSING_SEED = 0;
const FRACTION = 0.05;
const HELD_OUT = { val: ['lucas'], test: ['theo'] };
const encoder = { name: 'small-resnet', width: 16 } as const;

/**
 * Spoken digits (`<digit>_<speaker>_<n>.wav`), one speaker kept for testing: autoencoders on spectrograms and on the waveform, and
 * contrastive pretraining against scratch on 5 % of the labels.
 */
export async function audio({ lab, source, quick, seed }: SuiteOptions): Promise<Section> {
  const prepared = await lab.complete({ kind: 'prepare-dataset', name: 'digits', path: source, audio: { sampleRate: 8000, seconds: 1 }, fileName: '{label}_{group}_{}', holdOut: HELD_OUT }, 'prepare');
  const splits = prepared.result!.dataset!.splits;
  const autoencoders = [];
  // A waveform has far more to say than a spectrogram of few frames: it gets more numbers, and smaller steps of the data.
  for (const { domain, latent, batchSize, learningRate } of [{ domain: 'spectrogram', latent: 64, batchSize: 32, learningRate: 2e-3 }, { domain: 'waveform', latent: 512, batchSize: 16, learningRate: 4e-3 }] as const) {
    const run = await lab.complete({ kind: 'autoencode', dataset: 'digits', domain, latent, encoder, epochs: quick ? 1 : 30, batchSize, optimizer: { name: 'adam', learningRate }, evalSplit: 'test', seed }, `autoencoder of the ${domain}`);
    autoencoders.push({ domain, latent, snr: Lab.metric(run, 'eval/snr_db'), wavs: (await lab.client.artifacts(run.id)).items.filter(({ kind }) => kind === 'audio').length, seconds: Lab.seconds(run) });
  }
  const pretraining = await lab.complete({
    kind: 'pretrain', dataset: 'digits', encoder, projection: { layers: 2, hidden: 128, output: 64 }, batchSize: 128, epochs: quick ? 1 : 80, temperature: 0.1,
    optimizer: { name: 'adam', learningRate: 2e-3 }, schedule: { warmupSteps: 40 }, knn: { bankSize: 1000 }, seed,
  }, 'pretrain');
  const finetune = async (from: string | null, { steps, learningRate, labelSeed, evalSplit = 'test' }: { steps: number; learningRate: number; labelSeed: number; evalSplit?: 'val' | 'test' }) => Lab.metric(await lab.complete({
    kind: 'finetune', dataset: 'digits', from, ...(from === null && { encoder }), labelFraction: FRACTION, labelSeed, seed: labelSeed, steps: quick ? 5 : steps, batchSize: 32, evalSplit, optimizer: { name: 'adam', learningRate },
  }, `${from ? 'finetune' : 'scratch'}, ${steps} steps at ${learningRate}, label seed ${labelSeed}`), 'eval/accuracy');
  const arms = { pretrained: { from: pretraining.id, steps: 300 }, scratch: { from: null, steps: 300 }, twice: { from: null, steps: 600 } };
  const chosen = new Map<keyof typeof arms, number>();
  const accuracies = new Map<keyof typeof arms, number[]>();
  for (const [arm, { from, steps }] of Object.entries(arms) as [keyof typeof arms, (typeof arms)[keyof typeof arms]][]) {
    const tried = [];
    for (const learningRate of LEARNING_RATES) tried.push({ learningRate, accuracy: await finetune(from, { steps, learningRate, labelSeed: CHOOSING_SEED, evalSplit: 'val' }) });
    const { learningRate } = tried.reduce((best, each) => (each.accuracy > best.accuracy ? each : best));
    chosen.set(arm, learningRate);
    accuracies.set(arm, []);
    for (const labelSeed of SEEDS) accuracies.get(arm)!.push(await finetune(from, { steps, learningRate, labelSeed }));
  }
  const of = (key: keyof typeof arms) => accuracies.get(key)!;
  const control = estimateMean(of('twice')).mean > estimateMean(of('scratch')).mean ? 'twice' : 'scratch';
  const gains = SEEDS.map((_, i) => of('pretrained')[i]! - of(control)[i]!);
  const { mean, ci95 } = estimateMean(gains);
  const met = mean - (ci95 ?? 0) > 0;
  return {
    heading: 'Spoken digits: sound', met,
    body: `
\`npm run learn -- --suite audio --dataset PATH\` with 1,500 recordings of six speakers, one second at 8 kHz: ${splits.train.count} of four speakers to train on, ${splits.test!.count} of one
(${HELD_OUT.test.join()}) to test on, one (${HELD_OUT.val.join()}) for validation; seed ${seed}, ${provenance()}.

| autoencoder | numbers in the code | signal-to-noise ratio on the unknown speaker | WAV files kept | time |
|---|---|---|---|---|
${autoencoders.map(({ domain, latent, snr, wavs, seconds }) => `| ${domain} | ${latent} | ${snr.toFixed(1)} dB | ${wavs} | ${seconds.toFixed(0)} s |`).join('\n')}

(The first is of the log-mel spectrogram, the second of the waveform.) Contrastive pretraining (SimCLR, 80 epochs, ${Lab.seconds(pretraining).toFixed(0)} s), then the whole network on ${100 * FRACTION} % of the
labels, each arm at the learning rate (of ${LEARNING_RATES.join(', ')}) that did best on the validation speaker with other labels; accuracy on the unknown speaker in %:

| label seed | pretrained | from scratch | from scratch, twice the steps |
|---|---|---|---|
| learning rate | ${(['pretrained', 'scratch', 'twice'] as const).map((arm) => chosen.get(arm)).join(' | ')} |
${SEEDS.map((labelSeed, i) => `| ${labelSeed} | ${(['pretrained', 'scratch', 'twice'] as const).map((arm) => percent(of(arm)[i]!)).join(' | ')} |`).join('\n')}
| mean | **${percentEstimate(of('pretrained'))}** | ${percentEstimate(of('scratch'))} | ${percentEstimate(of('twice'))} |

Gain over the better control, paired by label seed: **${percentEstimate(gains)} points**.${met ? '' : ' The interval holds 0: at this budget a gain is not shown.'}`,
  };
}
