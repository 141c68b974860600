/** `npm run bench -- NAME [--quick]`: measures against a peer, alternating in one run. The last line is one JSON object. */
import { benchAugment } from './augment.js';
import { machine, type BenchResult } from './peer.js';
import { benchTrainStep } from './train-step.js';

const benches: Record<string, (options: { quick: boolean }) => Promise<BenchResult>> = { 'train-step': benchTrainStep, augment: benchAugment };

const names = process.argv.slice(2).filter((argument) => !argument.startsWith('-'));
const unknown = names.find((name) => !(name in benches));
if (names.length !== 1 || unknown) {
  console.error(`expected the name of one bench (${Object.keys(benches).join(', ')}), got ${names.join(' ') || 'none'}`);
  process.exit(2);
}
const result = await benches[names[0]!]!({ quick: process.argv.includes('--quick') });
console.log(JSON.stringify({ ...result, machine: machine() }));
process.exit(0);
