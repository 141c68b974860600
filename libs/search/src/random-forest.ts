/** Which parameters a metric depends on, by a random forest (`random-forest-thread.ts`). */
import { canonicalJson } from '#libs/contracts';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Outcome } from './effects.js';
import type { Column, Trials } from './random-forest-thread.js';

const LEAST_TRIALS = 8;
/** Most trials that a forest is grown on; of more, so many spread evenly, because somebody waits for it. */
const MOST_TRIALS = 500;

/**
 * How much each parameter that varies explains of the metric, as `importances` of the thread tells it: the highest
 * first. Empty for fewer than 8 trials or where the metric does not vary. Seeded: the same trials give the same
 * numbers. The forest grows in a thread; what asks is not held up.
 */
export async function parameterImportance(
  all: readonly Pick<Outcome, 'parameters' | 'value'>[],
): Promise<{ parameter: string; importance: number }[]> {
  const outcomes =
    all.length <= MOST_TRIALS
      ? all
      : Array.from({ length: MOST_TRIALS }, (_, i) => all[Math.floor((i * all.length) / MOST_TRIALS)]!);
  const y = Float64Array.from(outcomes, ({ value }) => value);
  if (y.length < LEAST_TRIALS || y.every((value) => value === y[0])) return [];
  const columns = [...new Set(outcomes.flatMap(({ parameters }) => Object.keys(parameters)))]
    .map((parameter) => ({ parameter, ...columnOf(outcomes.map(({ parameters }) => parameters[parameter] ?? null)) }))
    .filter(({ values }) => new Set(values).size > 1);
  const importances = await inThread({ columns: columns.map(({ numeric, values }) => ({ numeric, values })), y });
  return columns
    .map(({ parameter }, i) => ({ parameter, importance: importances[i]! }))
    .sort((a, b) => b.importance - a.importance || (a.parameter < b.parameter ? -1 : 1));
}

/** Numbers where all values that are given are; one that does not apply lies apart from all that do. */
function columnOf(given: readonly unknown[]): Column {
  if (given.some((value) => value !== null) && given.every((value) => value === null || typeof value === 'number'))
    return { numeric: true, values: Float64Array.from(given, (value) => value ?? Number.NEGATIVE_INFINITY) };
  const texts = given.map((value) => canonicalJson(value));
  const places = new Map([...new Set(texts)].sort().map((text, place) => [text, place]));
  return { numeric: false, values: Float64Array.from(texts, (text) => places.get(text)!) };
}

/** What the thread answers; it ends with that. */
function inThread(trials: Trials): Promise<number[]> {
  const { promise, resolve, reject } = Promise.withResolvers<number[]>();
  const thread = new Worker(new URL(`./random-forest-thread${path.extname(import.meta.url)}`, import.meta.url), {
    workerData: trials,
  });
  thread.once('message', resolve);
  thread.once('error', reject);
  thread.once('exit', (code) => reject(new Error(`expected what a random forest found, got a thread's end (${code})`)));
  return promise;
}
