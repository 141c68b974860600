/**
 * Does it learn? `npm run learn -- --dataset PATH [--suite NAME]` trains through the API and writes what came out to
 * docs/results.md, whether it meets the bar or not. The last epoch counts, never the best.
 */
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { writeDigits } from '../../apps/cli/src/digits.js';
import { Stack } from '../../apps/cli/src/stack.js';
import { asha } from './asha.js';
import { audio } from './audio.js';
import { Lab, publish, type Section, type SuiteOptions } from './lab.js';
import { methods } from './methods.js';
import { segmentation } from './segmentation.js';
import { simclr } from './simclr.js';

const suites: Record<string, (options: SuiteOptions & { epochs?: number | undefined }) => Promise<Section>> = {
  simclr,
  methods,
  audio,
  segmentation,
  asha,
};

const { values: options } = parseArgs({
  options: {
    dataset: { type: 'string' },
    suite: { type: 'string', default: 'simclr' },
    quick: { type: 'boolean', default: false },
    seed: { type: 'string', default: '0' },
    epochs: { type: 'string' },
    /** Where the section is written; docs/results.md without it. */
    out: { type: 'string' },
    /** Keeps the state: a second start reuses the runs of the first. */
    dir: { type: 'string' },
  },
});
const suite = suites[options.suite];
if (!suite || (!options.dataset && suite !== asha)) {
  console.error(
    'expected --dataset PATH (asha has the digits of the demo) and, where it is not simclr, --suite ' +
      `${Object.keys(suites).join('|')}, got --suite ${options.suite}${options.dataset ? '' : ' and no dataset'}`,
  );
  process.exit(2);
}
const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => interrupted.abort(new Error('interrupted')));

const dir = options.dir === undefined ? await mkdtemp(path.join(tmpdir(), 'loom-learn-')) : path.resolve(options.dir);
await mkdir(dir, { recursive: true });
execFileSync('chmod', ['711', dir]);
const dataset = path.resolve(options.dataset ?? path.join(dir, 'data', 'mnist-digits'));
if (options.dataset === undefined) await writeDigits(dataset, interrupted.signal);
const stack = await Stack.start({
  dir,
  port: 0,
  dataRoot: path.dirname(dataset),
  environment: process.env,
  signal: interrupted.signal,
  log: console.log,
});
try {
  const section = await suite({
    lab: new Lab(stack.client, interrupted.signal),
    source: path.basename(dataset),
    quick: options.quick,
    seed: Number(options.seed),
    epochs: options.epochs === undefined ? undefined : Number(options.epochs),
  });
  console.log(`## ${section.heading}\n${section.body}`);
  if (!options.quick || options.out !== undefined) await publish(section, options.out);
  process.exitCode = section.met ? 0 : 1;
} finally {
  await stack.stop();
  if (options.dir === undefined) await rm(dir, { recursive: true, force: true });
}
process.exit();
