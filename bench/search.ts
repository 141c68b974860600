/** How near to the least value a search by a model comes in 60 trials, beside Optuna's by default. */
import { PROBLEMS, regretOf, type Problem } from '../tests/support/search-spaces.js';
import { median, Peer, rounded, type BenchOptions } from './peer.js';

const TRIALS = 60;
/** Of 20 seeds a mean still moves by a fifth. */
const SEEDS = 60;

const mean = (some: readonly number[]): number => some.reduce((sum, x) => sum + x, 0) / some.length;

async function peerRegret(peer: Peer, { space, loss, least }: Problem, seed: number): Promise<number> {
  await peer.request({ command: 'start', space, seed });
  let best = Number.POSITIVE_INFINITY;
  let last: number | undefined;
  for (let trial = 0; trial < TRIALS; trial++) {
    const { values } = await peer.request<{ values: Record<string, unknown> }>({ command: 'next', value: last });
    last = loss(values);
    best = Math.min(best, last);
  }
  return best - least;
}

export async function benchSearch({
  quick,
  only,
  rounds,
}: BenchOptions): Promise<{ name: string } & Record<string, unknown>> {
  const peer = Peer.start('search_peer.py', 1, 'requirements-optuna.txt');
  const seeds = Array.from({ length: rounds ?? (quick ? 20 : SEEDS) }, (_, seed) => seed);
  const cases: Record<string, unknown> = {};
  for (const [name, problem] of Object.entries(PROBLEMS)) {
    if (only !== undefined && only !== name) continue;
    const ours: number[] = [];
    const theirs: number[] = [];
    for (const seed of seeds) {
      ours.push(regretOf(problem, TRIALS, seed));
      theirs.push(await peerRegret(peer, problem, seed));
    }
    cases[name] = {
      ours: rounded(mean(ours)),
      peer: rounded(mean(theirs)),
      medians: [rounded(median(ours)), rounded(median(theirs))],
      nearer: seeds.filter((seed) => ours[seed]! < theirs[seed]!).length,
    };
    console.log(`${name}: ${JSON.stringify(cases[name])}`);
  }
  peer.stop();
  return { name: 'search', unit: 'distance from the least value, mean over seeds', seeds: seeds.length, cases };
}
