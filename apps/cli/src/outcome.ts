/** Follows runs and sweeps to their end; the exit code says how they ended. */
import type { LoomClient, Run } from '#libs/contracts';
import { EXIT } from './exit-codes.js';
import { followed, followedSweep, type FollowOptions } from './follow.js';
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
  const runs = await followedSweep(api, id, followOptions(watching, id));
  const [sweep, results] = [await api.sweep(id), await api.sweepResults(id)];
  show({ ...sweep, results }, () => resultsText(results, out));
  return sweep.status === 'succeeded' && runs.every(succeeded) ? EXIT.ok : EXIT.failed;
}

/** Follows runs and says how they ended. The exit code says whether all succeeded, or were stopped early. */
export async function follow(api: LoomClient, runs: readonly Run[], watching: Watching = {}): Promise<number> {
  const ended = await followed(api, runs, followOptions(watching));
  if (settings().json) say(JSON.stringify(ended, null, 2));
  return ended.every(succeeded) ? EXIT.ok : EXIT.failed;
}
