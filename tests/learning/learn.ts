/**
 * Does it learn? `npm run learn -- --dataset PATH [--suite NAME]` trains through the API and writes what came out to
 * docs/results.md, whether it meets the bar or not. The last epoch counts, never the best.
 */
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Stack } from '../../apps/cli/src/stack.js';
import { audio } from './audio.js';
import { Lab, publish, type Section, type SuiteOptions } from './lab.js';
import { methods } from './methods.js';
import { segmentation } from './segmentation.js';
import { simclr } from './simclr.js';

const suites: Record<string, (options: SuiteOptions & { epochs?: number | undefined }) => Promise<Section>> = { simclr, methods, audio, segmentation };

const { values: options } = parseArgs({
  options: {
    dataset: { type: 'string' }, suite: { type: 'string', default: 'simclr' }, quick: { type: 'boolean', default: false }, seed: { type: 'string', default: '0' }, epochs: { type: 'string' },
    /** Where the section is written; docs/results.md without it. */
    out: { type: 'string' },
    /** Keeps the state: a second start reuses the runs of the first. */
    dir: { type: 'string' },
  },
});
const suite = suites[options.suite];
if (!options.dataset || !suite) {
  console.error(`expected --dataset PATH and, where it is not simclr, --suite ${Object.keys(suites).join('|')}, got --suite ${options.suite}${options.dataset ? '' : ' and no dataset'}`);
  process.exit(2);
}
const dataset = path.resolve(options.dataset);
const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => interrupted.abort(new Error('interrupted')));

const dir = options.dir === undefined ? await mkdtemp(path.join(tmpdir(), 'loom-learn-')) : path.resolve(options.dir);
await mkdir(dir, { recursive: true });
execFileSync('chmod', ['711', dir]);
const stack = await Stack.start({ dir, port: 0, dataRoot: path.dirname(dataset), environment: process.env, signal: interrupted.signal, log: console.log });
try {
  const section = await suite({
    lab: new Lab(stack.client, interrupted.signal), source: path.basename(dataset), quick: options.quick, seed: Number(options.seed), epochs: options.epochs === undefined ? undefined : Number(options.epochs),
  });
  console.log(`## ${section.heading}\n${section.body}`);
  if (!options.quick || options.out !== undefined) await publish(section, options.out);
  process.exitCode = section.met ? 0 : 1;
} finally {
  await stack.stop();
  if (options.dir === undefined) await rm(dir, { recursive: true, force: true });
}
process.exit();
