/** Follows runs and sweeps to their end; the exit code says how they ended. */
import type { LoomClient, Run } from '#libs/contracts';
import { setTimeout as delay } from 'node:timers/promises';
import { EXIT } from './exit-codes.js';
import { followed, type FollowOptions } from './follow.js';
import { interrupted } from './interrupt.js';
import { out, say, settings, show } from './program.js';
import { resultsText } from './render.js';

interface Watching {
  cancelOnInterrupt?: boolean | undefined;
  spareShared?: boolean | undefined;
}
export const followOptions = ({ cancelOnInterrupt, spareShared }: Watching = {}, sweep?: string): FollowOptions => ({
  output: settings().json ? { write: () => true } : out,
  signal: interrupted.signal,
  sweep,
  cancelOnInterrupt,
  spareShared,
  say: (line) => {
    process.stderr.write(`loom: ${line}\n`);
  },
});

const succeeded = ({ status }: Run): boolean => status === 'succeeded' || status === 'early_stopped';

/** Follows the runs of a sweep, also those that it starts later, and prints what it found. */
export async function followSweep(api: LoomClient, id: string, watching: Watching = {}): Promise<number> {
  const seen = new Set<string>();
  let code: number = EXIT.ok;
  for (let status = 'running'; status === 'running';) {
    const runs: Run[] = [];
    for await (const run of api.eachRun({ sweep: id })) if (!seen.has(run.id)) runs.push(run);
    for (const run of runs) seen.add(run.id);
    if (runs.length > 0 && !(await followed(api, runs.reverse(), followOptions(watching, id))).every(succeeded))
      code = EXIT.failed;
    ({ status } = await api.sweep(id));
    if (status !== 'running') code = status === 'succeeded' ? code : EXIT.failed;
    else if (runs.length === 0) await delay(1000, undefined, { signal: interrupted.signal });
  }
  const [sweep, results] = [await api.sweep(id), await api.sweepResults(id)];
  show({ ...sweep, results }, () => resultsText(results, out));
  return code;
}

/** Follows runs and says how they ended. The exit code says whether all succeeded, or were stopped early. */
export async function follow(api: LoomClient, runs: readonly Run[], watching: Watching = {}): Promise<number> {
  const ended = await followed(api, runs, followOptions(watching));
  if (settings().json) say(JSON.stringify(ended, null, 2));
  return ended.every(succeeded) ? EXIT.ok : EXIT.failed;
}
