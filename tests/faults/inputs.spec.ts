/**
 * Storage that is slow, or gone, while inputs are verified. The numbers are rows of the table in docs/reliability.md.
 */
import { execFile } from 'node:child_process';
import { open, readFile, rename } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { expectKeptPromises, prepareStripes, SHORT } from '../support/small-runs.js';
import { startStack, type Stack } from '../support/stack.js';

// A trainer needs its time to start and to record its first step, more on a busy machine.
const HUNG_MS = 4000;
let stack: Stack;

beforeAll(async () => {
  stack = await startStack({ environment: { LOOM_HUNG_MS: String(HUNG_MS) } });
  await prepareStripes(stack);
}, 90_000);
afterEach(() => stack?.clear());
afterAll(() => stack?.stop());

/**
 * Puts a pipe in the place of the dataset's training samples: whoever reads them gets what is written into it, when it
 * is written. `restore` gives the file its place again.
 */
async function pipeInPlaceOfSamples() {
  const sha256 = (await stack.client.dataset('stripes')).manifest.splits.train.samples;
  const file = path.join(stack.environment['LOOM_ARTIFACTS_DIR']!, 'sha256', sha256.slice(0, 2), sha256);
  const aside = `${file}.aside`;
  const bytes = await readFile(file);
  await rename(file, aside);
  await promisify(execFile)('mkfifo', [file]);
  return { file, bytes, restore: () => rename(aside, file) };
}

test('#38 inputs whose verification takes longer than the limit on silence: bytes that come are progress', async () => {
  const { file, bytes, restore } = await pipeInPlaceOfSamples();
  stack.startWorker();
  const id = await stack.submit(SHORT);
  // Opens when the worker begins to read.
  const pipe = await open(file, 'w');
  const parts = 12;
  const size = Math.ceil(bytes.length / parts);
  for (let part = 0; part < parts; part++) {
    await pipe.write(bytes.subarray(part * size, (part + 1) * size));
    await delay((2 * HUNG_MS) / parts);
  }
  await restore();
  await pipe.close();
  await stack.ended(id);
  const run = await stack.client.run(id);
  expect(run.attempts.map(({ outcome }) => outcome)).toEqual(['succeeded']);
  await expectKeptPromises(stack, [id]);
}, 60_000);

test('#38 storage that gives nothing more: the attempt ends as hung, the next succeeds when it is back', async () => {
  const { restore } = await pipeInPlaceOfSamples();
  stack.startWorker();
  const id = await stack.submit({ ...SHORT, seed: 1 });
  await eventually(
    async () => expect((await stack.client.run(id)).attempts[0]).toMatchObject({ outcome: 'failed', reason: 'hung' }),
    { timeoutMs: 20_000 },
  );
  expect((await stack.client.run(id)).attempts[0]!.detail).toContain('inputs');
  await restore();
  await stack.ended(id);
  const run = await stack.client.run(id);
  expect(run.attempts.map(({ outcome }) => outcome)).toEqual(['failed', 'succeeded']);
  await expectKeptPromises(stack, [id]);
}, 60_000);
