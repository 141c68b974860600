/**
 * Does it learn? `npm run learn -- --dataset PATH` trains the published recipe on CIFAR-10 through the API and writes what
 * came out to docs/results.md, whether it meets the bar or not. Some twenty-five minutes on two cores.
 *
 * The last epoch counts, never the best. Test images are looked at by the evaluations only; nothing is chosen by them.
 */
import { estimateMean, type Estimate, type LoomClient, type Run, type RunSpec } from '#libs/contracts';
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import type { z } from 'zod';
import { Stack } from '../../apps/cli/src/stack.js';

const KNN_BAR = 0.5;
const GAIN_BAR = 0.05;
const LABEL_SEEDS = [1, 2, 3];
/** 60 epochs of 500 labels in batches of 64. */
const FINETUNE_STEPS = 420;

const { values: options } = parseArgs({ options: { dataset: { type: 'string' }, quick: { type: 'boolean', default: false }, seed: { type: 'string', default: '0' }, out: { type: 'string' } } });
if (!options.dataset) {
  console.error('expected --dataset PATH: CIFAR-10 as a folder or tar.gz with train/ and test/ in it');
  process.exit(2);
}
const dataset = path.resolve(options.dataset);
const seed = Number(options.seed);
const git = (...args: string[]) => { try { return execFileSync('git', args, { encoding: 'utf8', cwd: import.meta.dirname }).trim(); } catch { return 'unknown'; } };
const commit = git('rev-parse', '--short=12', 'HEAD') + (git('status', '--porcelain', '-uno') ? ' with changes' : '');
const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => interrupted.abort(new Error('interrupted')));

const dir = await mkdtemp(path.join(tmpdir(), 'loom-learn-'));
execFileSync('chmod', ['711', dir]);
const stack = await Stack.start({ dir, port: 0, dataRoot: path.dirname(dataset), environment: process.env, signal: interrupted.signal, log: console.log });
try {
  process.exitCode = await learn(stack.client) ? 0 : 1;
} finally {
  await stack.stop();
  await rm(dir, { recursive: true, force: true });
}
process.exit();

async function learn(client: LoomClient): Promise<boolean> {
  const started = performance.now();
  const complete = async (spec: z.input<typeof RunSpec>, label: string): Promise<Run> => {
    const { run } = await client.submitRun({ spec });
    const ended = await client.follow(run.id, { onMetrics: (points) => { for (const { key, step, value } of points) if (key.startsWith('eval/')) console.log(`${label}: ${key} ${value.toFixed(4)} at step ${step}`); } }, { signal: interrupted.signal });
    if (ended.status !== 'succeeded') throw new Error(`${label} is ${ended.status}: ${ended.statusDetail}`);
    return ended;
  };
  await complete({ kind: 'prepare-dataset', name: 'cifar10', path: path.basename(dataset), valFraction: 0, testFraction: 0 }, 'prepare');
  const pretraining = await complete({
    kind: 'pretrain', dataset: 'cifar10', evalSplit: 'test', seed, encoder: { name: 'small-resnet', width: 32 }, projection: { layers: 2, hidden: 256, output: 64 },
    temperature: 0.1, batchSize: 256, epochs: options.quick ? 1 : 8, optimizer: { name: 'adam', learningRate: 4e-3 }, schedule: { name: 'cosine', warmupSteps: 100 },
    augmentation: { crop: { minArea: 0.2 }, flip: {}, colorJitter: {}, grayscale: {} }, knn: { k: 20, temperature: 0.07, bankSize: 5000 },
  }, 'pretrain');
  const seconds = (Date.parse(pretraining.finishedAt!) - Date.parse(pretraining.startedAt!)) / 1000;
  const finetune = async (from: string | null, steps: number, labelSeed: number, label: string) => (await complete({
    kind: 'finetune', dataset: 'cifar10', evalSplit: 'test', from, ...(from === null && { encoder: { name: 'small-resnet', width: 32 } }), labelFraction: 0.01, labelSeed, seed: seed + labelSeed,
    steps, batchSize: 64, optimizer: { name: 'adam', learningRate: 1e-3 }, augmentation: { crop: { minArea: 0.5 }, flip: {} },
  }, `${label}, label seed ${labelSeed}`)).result!.metrics['eval/accuracy']!;
  const rows = [];
  for (const labelSeed of LABEL_SEEDS) {
    rows.push({
      labelSeed, pretrained: await finetune(pretraining.id, FINETUNE_STEPS, labelSeed, 'finetune'),
      scratch: await finetune(null, FINETUNE_STEPS, labelSeed, 'scratch'), twice: await finetune(null, 2 * FINETUNE_STEPS, labelSeed, 'scratch, twice the steps'),
    });
  }
  const [series] = await client.metrics(pretraining.id, { key: ['eval/knn'] });
  const curve = series!.points.map(({ value }) => value);
  const knn = curve.at(-1)!;
  const [scratch, twice] = [estimateMean(rows.map((row) => row.scratch)), estimateMean(rows.map((row) => row.twice))];
  const control = twice.mean > scratch.mean ? 'twice' : 'scratch';
  const gain = estimateMean(rows.map((row) => row.pretrained - row[control]));
  const bar = knn >= KNN_BAR && gain.mean >= GAIN_BAR;
  const text = report({ rows, curve, seconds, pretrained: estimateMean(rows.map((row) => row.pretrained)), scratch, twice, gain, control, bar, minutes: (performance.now() - started) / 60_000 });
  console.log(text);
  if (!options.quick) await writeFile(options.out ?? path.resolve(import.meta.dirname, '..', '..', '..', 'docs', 'results.md'), text);
  return bar;
}

interface Report {
  rows: { labelSeed: number; pretrained: number; scratch: number; twice: number }[];
  curve: number[]; seconds: number; pretrained: Estimate; scratch: Estimate; twice: Estimate; gain: Estimate; control: 'scratch' | 'twice'; bar: boolean; minutes: number;
}

function report({ rows, curve, seconds, pretrained, scratch, twice, gain, control, bar, minutes }: Report): string {
  const estimate = ({ mean, ci95 }: Estimate) => `${(100 * mean).toFixed(1)}${ci95 === null ? '' : ` ± ${(100 * ci95).toFixed(1)}`}`;
  const percent = (value: number) => (100 * value).toFixed(1);
  return `# Results

Published numbers carry the command that made them. All are of the last epoch, on 5,000 test images that nothing was chosen by;
intervals are 95 % by Student's t over the label seeds.

## CIFAR-10, SimCLR, small-resnet of width 32

\`npm run learn -- --dataset PATH\` with CIFAR-10 as JPEGs (50,000 training and 5,000 test images), seed ${seed}, commit ${commit},
${new Date().toISOString().slice(0, 10)}, ${availableParallelism()} cores (${cpus()[0]?.model.trim() ?? 'unknown'}), ${Math.round(totalmem() / 2 ** 30)} GiB, no GPU; ${minutes.toFixed(0)} minutes in all.

Pretraining: 8 epochs of 50,000 unlabelled images (the labelled ones are among them), 256 images a step, NT-Xent at temperature 0.1,
Adam 4e-3, 100 steps of warm-up, cosine; ${seconds.toFixed(0)} s. Weighted kNN (k 20, T 0.07, bank of 5,000) before the first epoch and after each:

| epoch | ${curve.map((_, epoch) => epoch).join(' | ')} |
|---|${curve.map(() => '---').join('|')}|
| kNN, % | ${curve.map(percent).join(' | ')} |

Finetuning of the whole network on 1 % of the labels (500, stratified), ${FINETUNE_STEPS} steps of 64, Adam 1e-3, cosine; accuracy in %:

| label seed | pretrained | from scratch | from scratch, twice the steps |
|---|---|---|---|
${rows.map((row) => `| ${row.labelSeed} | ${percent(row.pretrained)} | ${percent(row.scratch)} | ${percent(row.twice)} |`).join('\n')}
| mean | **${estimate(pretrained)}** | ${estimate(scratch)} | ${estimate(twice)} |

Gain over the better control (${control === 'twice' ? 'twice the steps' : 'the same steps'}), paired by label seed: **${estimate(gain)} points**. The bar (kNN at least ${100 * KNN_BAR} %, gain at least ${100 * GAIN_BAR} points) is ${bar ? 'met' : 'missed'}.
`;
}
