/** Seconds that t-SNE and UMAP of many points take, and neighbours that they keep, beside openTSNE and umap-learn. */
import { Embed } from '#libs/contracts';
import { Random } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { mapsOf } from '../libs/training/src/embed/maps.js';
import { turn } from '../libs/training/src/evaluation.js';
import { nearestAmong } from '../libs/training/src/manifold/exact-search.js';
import { countOf, type Points } from '../libs/training/src/manifold/points.js';
import { Peer, rounded, type BenchOptions } from './peer.js';

const SIZES = [50_000, 200_000];
const WIDTH = 64;
const CLUSTERS = 50;
/** Points whose neighbours in a map are compared with those in space, and how many of each. */
const JUDGED = 500;
const NEAREST = 10;

const MAPS = ['tsne', 'umap'] as const;
type MapName = (typeof MAPS)[number];
interface Mapped {
  seconds: number;
  /** The part of the nearest ones that are among the nearest in the map. */
  kept: number;
}

/** Clusters of several widths, as features of a network that has learned are. [count, WIDTH] */
function pointsOf(count: number): Points {
  const random = Random.seeded(0, 'maps');
  const centres = Float32Array.from({ length: CLUSTERS * WIDTH }, () => random.normal(0, 1));
  const values = Float32Array.from({ length: count * WIDTH }, (_, i) => {
    const cluster = Math.floor(i / WIDTH) % CLUSTERS;
    return centres[cluster * WIDTH + (i % WIDTH)]! + random.normal(0, 0.3 + 0.5 * (cluster / CLUSTERS));
  });
  return { values, width: WIDTH };
}

/** The nearest of each judged point among all others. */
async function nearestOf(points: Points): Promise<Set<number>[]> {
  const rows = Array.from({ length: JUDGED }, (_, i) => Math.floor((i * countOf(points)) / JUDGED));
  const judged = rows.flatMap((row) => [...points.values.subarray(row * points.width, (row + 1) * points.width)]);
  const queries = { values: Float32Array.from(judged), width: points.width };
  const { places } = await nearestAmong(points, queries, NEAREST + 1, turn);
  return rows.map((row, i) => {
    const near = [...places.subarray(i * (NEAREST + 1), (i + 1) * (NEAREST + 1))].filter((place) => place !== row);
    return new Set(near.slice(0, NEAREST));
  });
}

async function keptBy(space: readonly Set<number>[], map: Points): Promise<number> {
  const kept = (await nearestOf(map)).flatMap((near, i) => [...near].filter((at) => space[i]!.has(at)));
  return rounded(kept.length / (JUDGED * NEAREST));
}

async function ours(points: Points, space: readonly Set<number>[]) {
  const spec = Embed.parse({ kind: 'embed', dataset: 'x', from: crypto.randomUUID(), maps: [...MAPS] });
  const ends: number[] = [performance.now()];
  const context = { log: () => undefined } as unknown as Parameters<typeof mapsOf>[4];
  const { maps, neighbours } = await mapsOf(spec, points, 0, undefined, context, turn, () =>
    ends.push(performance.now()),
  );
  const neighboursSeconds = (ends[1]! - ends[0]!) / 1000;
  const each: Partial<Record<MapName, Mapped>> = {};
  for (const [i, name] of MAPS.entries())
    each[name] = {
      seconds: rounded(neighboursSeconds + (ends[i + 2]! - ends[i + 1]!) / 1000),
      kept: await keptBy(space, { values: maps.get(name)!.coordinates, width: 2 }),
    };
  return { neighbours: { seconds: rounded(neighboursSeconds), recall: neighbours.recall ?? 1 }, ...each };
}

async function theirs(peer: Peer, folder: string, space: readonly Set<number>[]) {
  const each: Partial<Record<MapName, Mapped>> = {};
  for (const name of MAPS) {
    const file = path.join(folder, name);
    const { seconds } = await peer.request<{ seconds: number }>({
      map: name,
      points: path.join(folder, 'points'),
      width: WIDTH,
      threads: availableParallelism(),
      file,
    });
    const { buffer } = new Uint8Array(await readFile(file));
    each[name] = {
      seconds: rounded(seconds),
      kept: await keptBy(space, { values: new Float32Array(buffer), width: 2 }),
    };
  }
  return each;
}

export async function benchMaps({ quick, only }: BenchOptions): Promise<{ name: string } & Record<string, unknown>> {
  await loadTensorFlow({ threads: availableParallelism() });
  const peer = Peer.start('maps_peer.py', availableParallelism(), 'requirements-maps.txt');
  const folder = await mkdtemp(path.join(tmpdir(), 'bench-maps-'));
  const cases: Record<string, unknown> = {};
  try {
    for (const count of quick ? [10_000] : SIZES) {
      if (only !== undefined && only !== String(count)) continue;
      const points = pointsOf(count);
      await writeFile(path.join(folder, 'points'), new Uint8Array(points.values.buffer));
      const space = await nearestOf(points);
      cases[count] = { ours: await ours(points, space), peer: await theirs(peer, folder, space) };
      console.log(`${count} points of ${WIDTH} numbers: ${JSON.stringify(cases[count])}`);
    }
  } finally {
    peer.stop();
    await rm(folder, { recursive: true });
  }
  return { name: 'maps', unit: 'seconds with the neighbours', cases };
}
