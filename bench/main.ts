/**
 * `npm run bench -- NAME [--quick] [--rounds N] [--profile] [--only FIELD] [--alone]`: measures against a peer,
 * alternating in one run. The last line is one JSON object.
 */
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { KEEP_MEMORY } from '../apps/worker/src/trainer-process.js';
import { machine, type BenchOptions } from './peer.js';

interface Bench {
  run: (options: BenchOptions) => Promise<{ name: string }>;
  trains: boolean;
}
const benches: Record<string, Bench> = {
  'train-step': { run: async (options) => (await import('./train-step.js')).benchTrainStep(options), trains: true },
  epoch: { run: async (options) => (await import('./epoch.js')).benchEpoch(options), trains: true },
  augment: { run: async (options) => (await import('./augment.js')).benchAugment(options), trains: true },
  features: { run: async (options) => (await import('./features.js')).benchFeatures(options), trains: true },
  maps: { run: async (options) => (await import('./maps.js')).benchMaps(options), trains: true },
  pages: { run: async (options) => (await import('./pages.js')).benchPages(options), trains: false },
  sweep: { run: async (options) => (await import('./sweep.js')).benchSweep(options), trains: false },
  search: { run: async (options) => (await import('./search.js')).benchSearch(options), trains: false },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false },
    only: { type: 'string' },
    alone: { type: 'boolean', default: false },
    rounds: { type: 'string' },
  },
});
const bench = positionals.length === 1 ? benches[positionals[0]!] : undefined;
if (!bench) {
  console.error(
    `expected the name of one bench (${Object.keys(benches).join(', ')}), got ${positionals.join(' ') || 'none'}`,
  );
  process.exit(2);
}
const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
if (rounds !== undefined && !(Number.isInteger(rounds) && rounds > 0)) {
  console.error(`expected --rounds to be a whole number from 1 on, got ${values.rounds}`);
  process.exit(2);
}
// A trainer has this from its worker, and the C library reads it when a process starts.
if (bench.trains && process.env['GLIBC_TUNABLES'] === undefined) {
  process.exit(
    spawnSync(process.execPath, process.argv.slice(1), { env: { ...process.env, ...KEEP_MEMORY }, stdio: 'inherit' })
      .status ?? 1,
  );
}
const result = await bench.run({ ...values, rounds });
console.log(JSON.stringify({ ...result, machine: machine() }));
process.exit(0);
