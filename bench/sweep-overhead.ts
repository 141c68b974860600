/**
 * What a trial costs beside its training, with 8 slots: from the submit of a sweep to the success of its last run,
 * through API,
 * Postgres, Redis, worker and a process for each run, against Ray Tune on the same trial, which reports one metric and
 * ends.
 * The same runs with the real trainer, each a step, say what loading TensorFlow for each adds.
 */
import { RunSpec, type LoomClient } from '#libs/contracts';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import sharp from 'sharp';
import { TrainerProcess } from '../apps/worker/src/trainer-process.js';
import { median, Peer } from './peer.js';
import type { Measure } from './services.js';

const NO_OP = path.join(import.meta.dirname, 'no-op-trainer.js');
const SLOTS = 8;
const TRIALS = 100;
const SIDE = 16;
const DATASET = 'squares';
/** How often it is looked whether all is done: so long is what it takes overstated at most. */
const LOOK_MS = 25;

/** Two classes of grey squares. */
async function writeSquares(folder: string): Promise<void> {
  for (const [name, level] of [
    ['dark', 40],
    ['light', 200],
  ] as const) {
    await mkdir(path.join(folder, name), { recursive: true });
    await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        sharp(Buffer.alloc(SIDE * SIDE, level + i), { raw: { width: SIDE, height: SIDE, channels: 1 } })
          .png()
          .toFile(path.join(folder, name, `${i}.png`)),
      ),
    );
  }
}

/** Milliseconds a trial, until all have succeeded. */
async function trials(client: LoomClient, count: number, firstSeed: number): Promise<number> {
  const started = performance.now();
  const { sweep } = await client.submitSweep({
    spec: {
      name: `no-op-${firstSeed}`,
      metric: { name: 'eval/knn' },
      parameters: { 'pretrain.seed': { values: Array.from({ length: count }, (_, i) => firstSeed + i) } },
      stages: {
        pretrain: {
          kind: 'pretrain',
          dataset: DATASET,
          encoder: { width: 4 },
          batchSize: 16,
          epochs: 1,
          evalSplit: 'test',
          knn: { k: 5 },
          probe: { maxIterations: 1 },
        },
      },
    },
  });
  for (;;) {
    const { succeeded = 0, ...others } = await client.runCounts({ sweep: sweep.id });
    if (succeeded === count) return (performance.now() - started) / count;
    if (others.failed) throw new Error(`expected all runs to succeed, ${others.failed} failed`);
    await delay(LOOK_MS);
  }
}

/**
 * Milliseconds a trial of the processes alone, as many at a time as there are slots: nothing that gives each run one
 * can be quicker.
 */
async function processes(count: number): Promise<number> {
  const spec = RunSpec.parse({ kind: 'pretrain', dataset: DATASET });
  const started = performance.now();
  let left = count;
  await Promise.all(
    Array.from({ length: SLOTS }, async () => {
      while (left-- > 0) {
        const trainer = new TrainerProcess(process.env, { program: NO_OP });
        await trainer.ready;
        trainer.send({
          type: 'start',
          spec,
          inputs: { dataRoot: '' },
          workDir: '',
          checkpointEverySeconds: 60,
          stopAtStep: null,
          overlapsEvaluation: false,
        });
        await trainer.exited;
      }
    }),
  );
  return (performance.now() - started) / count;
}

export const measureOverhead: Measure = async (bench, { quick }) => {
  const environment = { LOOM_SLOTS: String(SLOTS), LOOM_TRAINER_THREADS: '1' };
  const real = await bench.stack('overhead', { workers: 1, environment });
  let withTrainer: number;
  try {
    await writeSquares(path.join(real.state.dataRoot, DATASET));
    const { run } = await real.client.submitRun({
      spec: { kind: 'prepare-dataset', name: DATASET, path: DATASET, imageSize: SIDE },
    });
    const prepared = await real.client.follow(run.id);
    if (prepared.status !== 'succeeded')
      throw new Error(`expected a dataset, its run is ${prepared.status}: ${prepared.statusDetail}`);
    withTrainer = await trials(real.client, quick ? SLOTS : 5 * SLOTS, 1_000_000);
    console.log(`overhead: with the real trainer, one step each, ${withTrainer.toFixed(0)} ms a trial`);
  } finally {
    await real.stop();
  }

  const stack = await bench.stack('overhead', { workers: 1, environment: { ...environment, LOOM_TRAINER: NO_OP } });
  const peer = Peer.start('ray_peer.py', 1, 'requirements-ray.txt');
  try {
    const { ray } = await peer.request<{ ray: string }>({ command: 'start', slots: SLOTS });
    const theirs = async (count: number, reuse: boolean) =>
      ((await peer.request<{ seconds: number }>({ command: 'run', trials: count, reuse })).seconds * 1000) / count;
    const count = quick ? TRIALS / 5 : TRIALS;
    await trials(stack.client, SLOTS, 2_000_000);
    await theirs(SLOTS, false);
    const rounds: Record<'ours' | 'processes' | 'peer' | 'peerReusing', number[]> = {
      ours: [],
      processes: [],
      peer: [],
      peerReusing: [],
    };
    for (let round = 0; round < (quick ? 2 : 5); round++) {
      rounds.ours.push(await trials(stack.client, count, round * count));
      rounds.processes.push(await processes(count));
      rounds.peer.push(await theirs(count, false));
      rounds.peerReusing.push(await theirs(count, true));
      console.log(
        `overhead, round ${round + 1}: ours ${rounds.ours.at(-1)!.toFixed(0)}, of which processes ` +
          `${rounds.processes.at(-1)!.toFixed(0)}, Ray Tune ${rounds.peer.at(-1)!.toFixed(0)}, and with one process ` +
          `for many trials ${rounds.peerReusing.at(-1)!.toFixed(0)} ms a trial`,
      );
    }
    const [ours, peerMs] = [median(rounds.ours), median(rounds.peer)];
    return {
      ours,
      peer: peerMs,
      unit: 'ms per trial',
      ratio: peerMs / ours,
      trialsPerSecond: 1000 / ours,
      trials: count * rounds.ours.length,
      slots: SLOTS,
      processesAlone: median(rounds.processes),
      oursWithRealTrainer: withTrainer,
      peerReusingActors: median(rounds.peerReusing),
      rounds,
      versions: { ray },
    };
  } finally {
    peer.stop();
    await stack.stop();
  }
};
