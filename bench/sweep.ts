/**
 * What a sweep costs beside its training: to submit it, to run its trials, to list its runs, to take in their metrics.
 */
import type { BenchOptions } from './peer.js';
import { Services, type Measure, type Measured } from './services.js';
import { measureIngest } from './sweep-ingest.js';
import { measureList } from './sweep-list.js';
import { measureOverhead } from './sweep-overhead.js';
import { measureSubmit } from './sweep-submit.js';

const FIELDS: Record<string, Measure> = {
  submit: measureSubmit,
  overhead: measureOverhead,
  list: measureList,
  ingest: measureIngest,
};

export async function benchSweep({ quick, only }: BenchOptions): Promise<{ name: string } & Record<string, unknown>> {
  if (only !== undefined && !(only in FIELDS))
    throw new Error(`expected --only with one of ${Object.keys(FIELDS).join(', ')}, got ${only}`);
  const services = await Services.start();
  const result: Record<string, Measured> = {};
  try {
    for (const [field, measure] of Object.entries(FIELDS)) {
      if (only !== undefined && field !== only) continue;
      result[field] = await measure(services, { quick });
      const { ours, peer, unit, ratio } = result[field];
      console.log(
        `${field}: ours ${ours.toPrecision(4)}, peer ${peer.toPrecision(4)} ${unit}, ratio ${ratio.toPrecision(3)}`,
      );
    }
  } finally {
    await services.stop();
  }
  return { name: 'sweep', ...result };
}
