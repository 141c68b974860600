/** Views a second of the SimCLR pipeline, from bytes to float images, against the best of torchvision's ways. */
import { Augmentation } from '#libs/contracts';
import { DrawnViews, inOrder, Random, Rows, type SampleSplit } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { availableParallelism } from 'node:os';
import { CompiledStep } from '../libs/training/src/compiled-step.js';
import { median, Peer, type BenchOptions, type BenchResult } from './peer.js';

const PLAIN = Augmentation.parse({ crop: {}, flip: {}, colorJitter: {}, grayscale: {} });
const CASES = [
  { size: 32, count: 2048, batch: 256, augmentation: PLAIN },
  { size: 224, count: 256, batch: 32, augmentation: { ...PLAIN, ...Augmentation.parse({ blur: {} }) } },
] as const;

export async function benchAugment({ quick, rounds = quick ? 2 : 7 }: BenchOptions): Promise<BenchResult> {
  const threads = availableParallelism();
  const runtime = await loadTensorFlow({ threads });
  const cases: Record<string, { ours: number; peer: number; ratio: number; way: string }> = {};
  let torchvision = '';
  for (const { size, count, batch, augmentation } of CASES) {
    const random = Random.seeded(0, `bench ${size}`);
    const images = Uint8Array.from({ length: count * size * size * 3 }, () => random.uint32() & 255);
    const split: SampleSplit = {
      count,
      sample: { modality: 'image', height: size, width: size, channels: 3 },
      classes: [],
      samples: Rows.of<'|u1'>([count, size, size, 3], images),
      labels: undefined,
      masks: undefined,
    };
    const drawn = new DrawnViews(split, [[{ augmentation, count: 1 }]], batch);
    // As in a step, where a network reads them.
    const graph = new CompiledStep((inputs) => ({ brightest: tf.max(drawn.make(inOrder(inputs))[0]!) }), []);
    const ours = (): number => {
      const started = performance.now();
      for (let start = 0; start < count; start += batch) {
        const rows = Int32Array.from({ length: batch }, (_, i) => start + i);
        graph.run(drawn.draw(rows, random));
      }
      return (count * 1000) / (performance.now() - started);
    };
    const peer = Peer.start('augment_peer.py', 1);
    try {
      ({ torchvision } = await peer.request<{ torchvision: string }>({
        command: 'start',
        size,
        count,
        blur: 'blur' in augmentation,
      }));
      ours();
      const rates: { ours: number[]; pil: number[]; tensor: number[] } = { ours: [], pil: [], tensor: [] };
      for (let round = 0; round < rounds; round++) {
        rates.ours.push(ours());
        for (const way of ['pil', 'tensor'] as const)
          rates[way].push((await peer.request<{ viewsPerSecond: number }>({ command: 'pass', way })).viewsPerSecond);
        console.log(
          `${size} x ${size}, round ${round + 1}: ours ${rates.ours.at(-1)!.toFixed(0)}, PIL ` +
            `${rates.pil.at(-1)!.toFixed(0)}, tensors ${rates.tensor.at(-1)!.toFixed(0)} views a second`,
        );
      }
      const best = median(rates.pil) > median(rates.tensor) ? 'pil' : 'tensor';
      cases[size] = {
        ours: median(rates.ours),
        peer: median(rates[best]),
        ratio: median(rates.ours) / median(rates[best]),
        way: best,
      };
    } finally {
      graph.dispose();
      peer.stop();
    }
  }
  const { ours, peer, ratio } = cases['32']!;
  return {
    name: 'augment',
    ours,
    peer,
    unit: 'views per second at 32 x 32',
    ratio,
    cases,
    threads,
    versions: { tensorflow: runtime.version, torchvision },
  };
}
