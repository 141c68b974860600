/** `npm run bench -- NAME [--quick] [--profile]`: measures against a peer, alternating in one run. The last line is one JSON object. */
import { spawnSync } from 'node:child_process';
import { KEEP_MEMORY } from '../apps/worker/src/trainer-process.js';
import { benchAugment } from './augment.js';
import { machine, type BenchOptions, type BenchResult } from './peer.js';
import { benchTrainStep } from './train-step.js';

const benches: Record<string, (options: BenchOptions) => Promise<BenchResult>> = { 'train-step': benchTrainStep, augment: benchAugment };

const names = process.argv.slice(2).filter((argument) => !argument.startsWith('-'));
const unknown = names.find((name) => !(name in benches));
if (names.length !== 1 || unknown) {
  console.error(`expected the name of one bench (${Object.keys(benches).join(', ')}), got ${names.join(' ') || 'none'}`);
  process.exit(2);
}
// A trainer has this from its worker, and the C library reads it when a process starts.
if (process.env['GLIBC_TUNABLES'] === undefined) {
  process.exit(spawnSync(process.execPath, process.argv.slice(1), { env: { ...process.env, ...KEEP_MEMORY }, stdio: 'inherit' }).status ?? 1);
}
const result = await benches[names[0]!]!({ quick: process.argv.includes('--quick'), profile: process.argv.includes('--profile') });
console.log(JSON.stringify({ ...result, machine: machine() }));
process.exit(0);
