import { estimateMean } from '#libs/contracts';
import { Lab, percent, percentEstimate, provenance, type Section, type SuiteOptions } from './lab.js';

const SEEDS = [1, 2, 3];
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
  const finetune = async (from: string | null, steps: number, labelSeed: number, label: string) => Lab.metric(await lab.complete({
    kind: 'finetune', dataset: 'digits', from, ...(from === null && { encoder }), labelFraction: FRACTION, labelSeed, seed: labelSeed, steps: quick ? 5 : steps, batchSize: 32, evalSplit: 'test', optimizer: { name: 'adam', learningRate: 1e-3 },
  }, `${label}, label seed ${labelSeed}`), 'eval/accuracy');
  const rows: { labelSeed: number; pretrained: number; scratch: number; twice: number }[] = [];
  for (const labelSeed of SEEDS) {
    rows.push({ labelSeed, pretrained: await finetune(pretraining.id, 300, labelSeed, 'finetune'), scratch: await finetune(null, 300, labelSeed, 'scratch'), twice: await finetune(null, 600, labelSeed, 'scratch, twice the steps') });
  }
  const of = (key: 'pretrained' | 'scratch' | 'twice') => rows.map((row) => row[key]);
  const control = estimateMean(of('twice')).mean > estimateMean(of('scratch')).mean ? 'twice' : 'scratch';
  const gains = rows.map((row) => row.pretrained - row[control]);
  const met = estimateMean(gains).mean > 0;
  return {
    heading: 'Spoken digits: sound', met,
    body: `
\`npm run learn -- --suite audio --dataset PATH\` with 1,500 recordings of six speakers, one second at 8 kHz: ${splits.train.count} of four speakers to train on, ${splits.test!.count} of one
(${HELD_OUT.test.join()}) to test on, one (${HELD_OUT.val.join()}) for validation; seed ${seed}, ${provenance()}.

| autoencoder | numbers in the code | signal-to-noise ratio on the unknown speaker | WAV files kept | time |
|---|---|---|---|---|
${autoencoders.map(({ domain, latent, snr, wavs, seconds }) => `| ${domain} | ${latent} | ${snr.toFixed(1)} dB | ${wavs} | ${seconds.toFixed(0)} s |`).join('\n')}

(The first is of the log-mel spectrogram, the second of the waveform.) Contrastive pretraining (SimCLR, 80 epochs, ${Lab.seconds(pretraining).toFixed(0)} s), then the whole network on ${100 * FRACTION} % of the
labels; accuracy on the unknown speaker in %:

| label seed | pretrained | from scratch | from scratch, twice the steps |
|---|---|---|---|
${rows.map((row) => `| ${row.labelSeed} | ${percent(row.pretrained)} | ${percent(row.scratch)} | ${percent(row.twice)} |`).join('\n')}
| mean | **${percentEstimate(of('pretrained'))}** | ${percentEstimate(of('scratch'))} | ${percentEstimate(of('twice'))} |

Gain over the better control, paired by label seed: **${percentEstimate(gains)} points**.`,
  };
}
