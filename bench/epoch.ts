/**
 * Whole epochs of pretraining as a user gets them: through API, queue and worker, with reading, views, steps, the
 * evaluation at the end of each epoch and checkpoints; against the same recipe as a user of PyTorch writes it.
 */
import { RunSpec, type Encoder, type LoomClient } from '#libs/contracts';
import { Random } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import { mkdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import sharp from 'sharp';
import { KEEP_MEMORY } from '../apps/worker/src/trainer-process.js';
import { median, Peer, type BenchOptions, type BenchResult } from './peer.js';
import { Services } from './services.js';
import { millisecondsAStep, stepOf } from './train-step.js';

interface Case {
  encoder: Encoder;
  /** Side of the views, and of the stored images where that is another. */
  size: number;
  stored?: number;
  batch: number;
  epochs: number;
  samples: { train: number; test: number };
  /** Hours with the peer: measured where `--only` names it. */
  long?: boolean;
}
interface Measured {
  ours: number;
  /** The fastest of `peers`; null where ours alone was measured. */
  peer: number | null;
  peers: Record<string, number>;
  ratio: number | null;
  /** Images a second of the compiled step alone, on inputs that are there. */
  step: number;
  /** What part of the step's own rate a run of ours reaches. */
  run_over_step: number;
}

const SMALL: Pick<Case, 'encoder' | 'size' | 'batch'> = {
  encoder: { name: 'small-resnet', width: 32 },
  size: 32,
  batch: 256,
};
const RESNET18: typeof SMALL = { encoder: { name: 'resnet18', width: 64 }, size: 32, batch: 256 };
const CASES: Record<string, Case> = {
  'small network, 32 x 32': { ...SMALL, epochs: 4, samples: { train: 10_240, test: 2000 } },
  // As many as CIFAR-10 has beside those held out: of a shorter run, evaluations are a larger part.
  "small network, CIFAR-10's size": { ...SMALL, epochs: 2, samples: { train: 45_000, test: 5000 } },
  'ResNet-18, 32 x 32': { ...RESNET18, epochs: 1, samples: { train: 5120, test: 1000 } },
  "ResNet-18, CIFAR-10's size": { ...RESNET18, epochs: 1, samples: { train: 45_000, test: 5000 }, long: true },
  'ResNet-18, 224 x 224 from 256 x 256': {
    encoder: { name: 'resnet18', width: 64, stem: 'imagenet' },
    size: 224,
    stored: 256,
    batch: 32,
    epochs: 1,
    samples: { train: 640, test: 160 },
  },
};
const MAIN = 'small network, 32 x 32';
const NEIGHBOURS = 20;
const UNCOUNTED_STEPS = 3;
/** Samples that an evaluation compares with, as a run has it by default. */
const BANK = 5000;
const storedSide = ({ size, stored = size }: Case): number => stored;

/** How a user may run PyTorch; the fastest counts. */
const PEERS: Record<string, { compiled: boolean; workers: number; environment: Record<string, string> }> = {
  'eager, 1 worker': { compiled: false, workers: 1, environment: KEEP_MEMORY },
  'eager, 2 workers': { compiled: false, workers: 2, environment: KEEP_MEMORY },
  'compiled, 1 worker': { compiled: true, workers: 1, environment: KEEP_MEMORY },
  'compiled, 2 workers': { compiled: true, workers: 2, environment: KEEP_MEMORY },
};

/** PNGs of noise over a colour of their class: `train/CLASS/N.png` and `test/CLASS/N.png`, ten classes. */
async function writeImages(folder: string, each: Case): Promise<void> {
  const { samples } = each;
  const size = storedSide(each);
  const random = Random.seeded(0, `epochs ${size}`);
  for (const [split, count] of Object.entries(samples))
    for (let name = 0; name < 10; name++) {
      const dir = path.join(folder, split, `class${name}`);
      await mkdir(dir, { recursive: true });
      for (let i = 0; i < count / 10; i++) {
        const pixels = Buffer.from(
          Uint8Array.from(
            { length: size * size * 3 },
            (_, at) => ((name * (at % 3) * 25) & 127) + (random.uint32() & 127),
          ),
        );
        await sharp(pixels, { raw: { width: size, height: size, channels: 3 } })
          .png()
          .toFile(path.join(dir, `${i}.png`));
      }
    }
}

/** @throws Error where a run ends otherwise */
async function succeed(client: LoomClient, spec: RunSpec): Promise<void> {
  const { run } = await client.submitRun({ spec, onDuplicate: 'replicate' });
  const { kind, status, statusDetail } = await client.follow(run.id);
  if (status !== 'succeeded') throw new Error(`expected the ${kind} to succeed, it is ${status}: ${statusDetail}`);
}

/** Images a second, from submit to success. */
async function oursOf(client: LoomClient, dataset: string, each: Case, seed: number): Promise<number> {
  const spec = RunSpec.parse({
    kind: 'pretrain',
    dataset,
    encoder: each.encoder,
    batchSize: each.batch,
    epochs: each.epochs,
    projection: { layers: 2, hidden: 256, output: 64 },
    optimizer: { name: 'adam', learningRate: 1e-3 },
    evalSplit: 'test',
    ...(each.stored !== undefined && {
      views: [
        {
          augmentation: {
            crop: { minArea: 0.2 },
            flip: {},
            colorJitter: { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1, p: 0.8 },
            grayscale: { p: 0.2 },
          },
          count: 2,
          size: each.size,
        },
      ],
    }),
    knn: { k: NEIGHBOURS, bankSize: BANK },
    probe: { maxIterations: 1 },
    seed,
  });
  const started = performance.now();
  await succeed(client, spec);
  return (imagesOf(each) * 1000) / (performance.now() - started);
}

/** Images that a run sees: those of whole batches. */
const imagesOf = ({ samples, batch, epochs }: Case): number => Math.floor(samples.train / batch) * batch * epochs;

/** One case on a stack of ours and in each way of PyTorch, in turns. */
async function measure(
  name: string,
  each: Case,
  { client, dataRoot }: { client: LoomClient; dataRoot: string },
  { threads, device, rounds, alone: isAlone }: { threads: number; device: string; rounds: number; alone: boolean },
): Promise<Measured & { torch: string }> {
  const dataset = `noise-${storedSide(each)}-${each.samples.train}`;
  await writeImages(path.join(dataRoot, dataset), each);
  await succeed(
    client,
    RunSpec.parse({ kind: 'prepare-dataset', name: dataset, path: dataset, imageSize: storedSide(each) }),
  );
  const peers = Object.entries(isAlone ? {} : PEERS).map(([peerName, { compiled, workers, environment }]) => {
    const peer = Peer.start('epoch_peer.py', threads, 'requirements.txt', environment);
    const { encoder, size, batch, epochs } = each;
    const root = path.join(dataRoot, dataset);
    const stem = encoder.stem ?? 'small';
    const recipe = { root, size, batch, epochs, encoder: encoder.name, width: encoder.width, stem };
    const message = { ...recipe, k: NEIGHBOURS, bank: BANK, threads, device, compiled, workers };
    const rate = async () => {
      const { seconds, torch } = await peer.request<{ seconds: number; torch: string }>(message);
      return { rate: imagesOf(each) / seconds, torch };
    };
    return { name: peerName, rate, stop: () => peer.stop() };
  });
  const times: { ours: number[]; step: number[]; peers: number[][] } = {
    ours: [],
    step: [],
    peers: peers.map(() => []),
  };
  const alone = stepOf({ kind: 'simclr', encoder: each.encoder, batch: each.batch, steps: 5 }, each.size);
  let torch = '';
  try {
    for (let round = 0; round < rounds; round++) {
      times.ours.push(await oursOf(client, dataset, each, round));
      for (const [i, peer] of peers.entries()) {
        const measured = await peer.rate();
        ({ torch } = measured);
        times.peers[i]!.push(measured.rate);
      }
      // The last of a round: when the first begins, the peers are still being loaded. The first steps, of which one is
      // recorded, and those after minutes of other work are slower than a run's.
      millisecondsAStep(alone.step, UNCOUNTED_STEPS);
      times.step.push((each.batch * 1000) / millisecondsAStep(alone.step, 5));
      const words = peers.map((peer, i) => `${peer.name} ${times.peers[i]!.at(-1)!.toFixed(0)}`);
      console.log(
        `${name}, round ${round + 1}, images a second: ours ${times.ours.at(-1)!.toFixed(0)} (its step alone ` +
          `${times.step.at(-1)!.toFixed(0)}), PyTorch ${words.join(', ')}`,
      );
    }
  } finally {
    alone.dispose();
    for (const peer of peers) peer.stop();
  }
  const [ours, step] = [median(times.ours), median(times.step)];
  const byPeer = Object.fromEntries(peers.map((peer, i) => [peer.name, median(times.peers[i]!)]));
  const fastest = isAlone ? null : Math.max(...Object.values(byPeer));
  const ratio = fastest === null ? null : ours / fastest;
  return { ours, peer: fastest, peers: byPeer, ratio, step, run_over_step: ours / step, torch };
}

export async function benchEpoch({ quick, only, alone, rounds = quick ? 1 : 5 }: BenchOptions): Promise<BenchResult> {
  const threads = availableParallelism();
  const runtime = await loadTensorFlow({ threads });
  const device = runtime.gpu ? 'cuda' : 'cpu';
  const services = await Services.start();
  const cases: Record<string, Measured> = {};
  let torch = '';
  try {
    const environment = { LOOM_TRAINER_THREADS: String(threads) };
    const stack = await services.stack('epoch', { workers: 1, environment });
    const on = { client: stack.client, dataRoot: stack.state.dataRoot };
    for (const [name, each] of Object.entries(CASES)) {
      if (only === undefined ? each.long : name !== only) continue;
      const measured = await measure(name, each, on, { threads, device, rounds, alone });
      ({ torch } = measured);
      cases[name] = measured;
    }
  } finally {
    await services.stop();
  }
  const main = cases[MAIN] ?? Object.values(cases)[0];
  if (!main) throw new Error(`expected --only one of ${Object.keys(CASES).join('; ')}, got ${only}`);
  return {
    name: 'epoch',
    ours: main.ours,
    peer: main.peer,
    unit: 'images per second',
    ratio: main.ratio,
    run_over_step: main.run_over_step,
    cases,
    threads,
    gpu: runtime.gpu,
    versions: { tensorflow: runtime.version, torch },
  };
}
