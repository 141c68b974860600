import { Random } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { nearest, type Neighbours } from './neighbours.js';
import type { Points } from './points.js';
import { pca } from './principal-components.js';
import { procrustes } from './procrustes.js';
import { Quadtree } from './quadtree.js';
import { geometryOf, knnPurity, neighboursKept, silhouette, trustworthiness } from './quality.js';
import { tsne } from './tsne.js';
import { curveOf, umap, usualEpochs } from './umap.js';

// One thread: with more, sums may be taken in another order.
beforeAll(() => loadTensorFlow({ threads: 1 }));

const points = (count: number, width: number, value: (i: number, j: number) => number): Points => ({
  values: Float64Array.from({ length: count * width }, (_, place) => value(Math.floor(place / width), place % width)),
  width,
});
const fraction = (x: number) => x - Math.floor(x);

/** Three clouds of 100 points in ten dimensions, with noise that is the same in any language. */
const clouds = points(300, 10, (i, j) =>
  Math.fround(2 * Math.sin(1.7 * (i % 3) + j) + 2 * fraction(Math.sin((10 * i + j + 1) * 12.9898) * 43758.5453) - 1),
);
/** A sheet of 600 points rolled up in three dimensions. */
const roll = points(600, 3, (i, j) => {
  const angle = 1.5 * Math.PI * (1 + 2 * fraction(i * 0.6180339887));
  return Math.fround([angle * Math.cos(angle), 21 * fraction(i * 0.7548776662), angle * Math.sin(angle)][j]!);
});
const small = points(40, 5, (i, j) => Math.sin(0.7 * i + 1.3 * j + 0.1) + 0.3 * Math.cos(2.1 * i * j));
const firstTwo = points(40, 2, (i, j) => small.values[5 * i + j]!);
const labels = Int32Array.from({ length: 40 }, (_, i) => (i === 7 ? 3 : i % 3));

const planar = ({ scores }: { scores: Float64Array }): Float64Array => scores;
const countOf = ({ values, width }: Points) => values.length / width;

describe('principal components', () => {
  // The rows of a, then those of b, of the reference input; ratios from scikit-learn 1.9.1.
  const both = points(8, 6, (i, j) =>
    i < 4 ? Math.sin(0.7 * i + 1.3 * j + 0.1) : Math.cos(0.5 * (i - 4) + 0.9 * j + 0.2),
  );

  test('parts of the variance are those of scikit-learn', async () => {
    const { explained } = await pca(both, 2);
    expect(explained).toHaveLength(6);
    [0.6915497956560978, 0.15270126330356174, 0.10840581373606777, 0.047343127304272696, 0, 0].forEach((ratio, i) =>
      expect(explained[i]).toBeCloseTo(ratio, 10),
    );
  });

  test('scores are uncorrelated, have those variances, and their signs are fixed', async () => {
    const { scores, explained } = await pca(both, 3);
    const along = (axis: number) => Array.from({ length: 8 }, (_, i) => scores[3 * i + axis]!);
    const dot = (a: number[], b: number[]) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
    expect(dot(along(0), along(1))).toBeCloseTo(0, 10);
    expect(dot(along(1), along(1)) / dot(along(0), along(0))).toBeCloseTo(explained[1]! / explained[0]!, 10);
    // Points mirrored at the origin have the axes of the points themselves, not their negatives.
    const mirrored = await pca({ values: both.values.map((value) => -value), width: 6 }, 3);
    mirrored.scores.forEach((score, place) => expect(score).toBeCloseTo(-scores[place]!, 10));
  });

  test('points that are all the same have no variance to explain', async () => {
    const { scores, explained } = await pca(
      points(12, 4, () => 3),
      2,
    );
    expect([...scores]).toEqual(Array(24).fill(0));
    expect(explained).toEqual([0, 0, 0, 0]);
  });
});

describe('neighbours', () => {
  test("are those of a naive loop, also where single precision can't tell, and no tensor is left", async () => {
    // Far from the origin and close together.
    const far = points(50, 6, (i, j) => Math.fround(1000 + Math.sin(i * 7.3 + j * 1.9)));
    const before = tf.memory().numTensors;
    const { k, places, distances } = await nearest(far, 7);
    expect(tf.memory().numTensors).toBe(before);
    expect(k).toBe(7);
    const { places: expected, distances: all } = await geometryOf(far, 7);
    expect([...places]).toEqual([...expected]);
    places.forEach((place, at) => expect(distances[at]).toBeCloseTo(all[Math.floor(at / 7) * 50 + place]!, 10));
  });

  const random = Random.seeded(9, 'far apart');
  const apart = points(400, 16, (i, j) =>
    Math.fround(1000 * Math.sin(((i % 4) + 1) * (j + 1) * 7.7) + random.normal()),
  );
  const outlier = points(400, 16, (i) => Math.fround(i === 123 ? 1e6 : random.normal()));
  const beyond = points(60, 4, (i) => (i === 5 ? 1e25 : random.normal(0, 1e-30)));
  test.each([
    ['of clusters 1,000 times farther apart than wide', apart],
    ['beside one outlier', outlier],
    ['beyond what single precision holds', beyond],
    ['of points in a grid, many as near as the last one', points(343, 3, (i, j) => Math.floor(i / 7 ** j) % 7)],
  ])('are exact %s', async (_, some) => {
    const { places, distances } = await nearest(some, 10);
    const { places: expected, distances: all } = await geometryOf(some, 10);
    expect([...places]).toEqual([...expected]);
    const count = countOf(some);
    places.forEach((place, at) => expect(distances[at]).toBe(all[Math.floor(at / 10) * count + place]));
  });

  test('a point is not its own neighbour, even among copies of it', async () => {
    const { k, places, distances } = await nearest(
      points(30, 3, () => 1),
      4,
    );
    for (let at = 0; at < places.length; at++) expect(places[at]).not.toBe(Math.floor(at / k));
    expect(Math.max(...distances)).toBe(0);
    expect(
      (
        await nearest(
          points(3, 2, (i) => i),
          10,
        )
      ).k,
    ).toBe(2);
  });
});

describe('quality', () => {
  // scikit-learn 1.9.1 on the same numbers.
  test.each([
    [5, 0.98875],
    [15, 0.9625490196078431],
  ])('trustworthiness of %i neighbours is that of scikit-learn', async (k, expected) => {
    expect(trustworthiness(await geometryOf(small, k), await geometryOf(firstTwo, k))).toBeCloseTo(expected, 10);
  });

  test('of a space to itself, all is kept', async () => {
    const space = await geometryOf(small, 5);
    expect(trustworthiness(space, space)).toBe(1);
    expect(neighboursKept(space, space)).toBe(1);
    expect(() => trustworthiness({ ...space, count: 10 }, space)).toThrow(/fewer than 5 neighbours, got 5/);
  });

  test('silhouettes are those of scikit-learn, 0 for the only one of its label', async () => {
    const each = silhouette(await geometryOf(small, 5), labels);
    expect(each.reduce((sum, value) => sum + value, 0) / 40).toBeCloseTo(-0.11520906087509156, 10);
    [
      0.14064186711987095, 0.12588675060083993, 0.04695365127078321, 0.02779959360092215, -0.020192332429963107,
      0.025278674178372484, -0.4303785278129529, 0,
    ].forEach((value, i) => expect(each[i]).toBeCloseTo(value, 10));
    expect(() =>
      silhouette({ count: 2, k: 1, distances: new Float64Array(4), places: new Int32Array(2) }, [1, 1]),
    ).toThrow(/at least two labels/);
  });

  test('purity and kept neighbours are those by the neighbours that scikit-learn finds', async () => {
    const [space, map] = [await geometryOf(small, 5), await geometryOf(firstTwo, 5)];
    expect(knnPurity(space, labels)).toBeCloseTo(0.67, 10);
    expect(neighboursKept(space, map)).toBeCloseTo(0.865, 10);
  });
});

describe.each([
  ['clouds', clouds],
  ['roll', roll],
] as const)('maps of the %s', (name, data) => {
  // Trustworthiness (15 neighbours), measured once: openTSNE 1.0.4 (perplexity 30) and umap-learn 0.5.12 (15
  // neighbours, 200 epochs), the lesser of seeds 0 and 1.
  const reference = {
    clouds: { pca: 0.9142623345367028, tsne: 0.9572964300040112, umap: 0.9423160850381067 },
    roll: { pca: 0.9473127286732139, tsne: 0.9981981513575968, umap: 0.9958083959175814 },
  }[name];
  let start: Float64Array;
  let neighbours: Neighbours;
  const trust = async (map: Float64Array) =>
    trustworthiness(await geometryOf(data, 15), await geometryOf({ values: map, width: 2 }, 15));
  beforeAll(async () => {
    start = planar(await pca(data, 2));
    neighbours = await nearest(data, 90);
  });

  test('principal components are as trustworthy as those of scikit-learn', async () => {
    expect(await trust(start)).toBeCloseTo(reference.pca, 6);
  });

  test('t-SNE is as trustworthy as openTSNE', async () => {
    expect(
      await trust(await tsne(neighbours, start, { perplexity: 30, iterations: 750 }, Random.seeded(1))),
    ).toBeGreaterThan(reference.tsne - 0.02);
  });

  test('UMAP takes as many epochs as umap-learn', () => {
    expect([10, 10_000, 10_001].map(usualEpochs)).toEqual([500, 500, 200]);
  });

  test('UMAP is as trustworthy as umap-learn', async () => {
    expect(
      await trust(await umap(neighbours, start, { neighbors: 15, minDistance: 0.1, epochs: 200 }, Random.seeded(1))),
    ).toBeGreaterThan(reference.umap - 0.02);
  });

  test('one seed gives one map, another seed another', async () => {
    for (const map of [
      (seed: number) => tsne(neighbours, start, { perplexity: 10, iterations: 100 }, Random.seeded(seed)),
      (seed: number) => umap(neighbours, start, { neighbors: 15, minDistance: 0.1, epochs: 20 }, Random.seeded(seed)),
    ]) {
      const first = await map(1);
      expect(await map(1)).toEqual(first);
      expect(await map(2)).not.toEqual(first);
    }
  });
});

describe('forces of a tree', () => {
  const exact = (y: Float64Array) => {
    const forces = new Float64Array(y.length);
    let normaliser = 0;
    for (let i = 0; i < y.length; i += 2) {
      for (let j = 0; j < y.length; j += 2) {
        if (i === j) continue;
        const [dx, dy] = [y[i]! - y[j]!, y[i + 1]! - y[j + 1]!];
        const q = 1 / (1 + dx * dx + dy * dy);
        normaliser += q;
        forces[i]! += q * q * dx;
        forces[i + 1]! += q * q * dy;
      }
    }
    return { forces, normaliser };
  };
  const length = (values: Float64Array) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));

  // Spread out as in a finished map, all in one heap as at its start, and copies.
  test.each([
    ['spread out', 30],
    ['in a heap', 1e-4],
  ])('are those of a naive loop over all pairs, points %s', (_, width) => {
    const random = Random.seeded(5);
    const y = Float64Array.from({ length: 1000 }, (__, place) => (place < 900 ? random.normal(0, width) : width));
    const { forces, normaliser } = exact(y);
    const found = new Float64Array(y.length);
    const tree = new Quadtree(500);
    for (let again = 0; again < 2; again++) expect(tree.repulsion(y, found) / normaliser).toBeCloseTo(1, 2);
    expect(length(found.map((value, place) => value - forces[place]!)) / length(forces)).toBeLessThan(0.03);
  });

  test('two points push each other apart exactly, two copies do not', () => {
    const forces = new Float64Array(4);
    expect(new Quadtree(2).repulsion(Float64Array.of(0, 0, 3, 1), forces)).toBeCloseTo(2 / 11, 12);
    [-3, -1, 3, 1].forEach((value, place) => expect(forces[place]).toBeCloseTo(value / 121, 12));
    expect(new Quadtree(2).repulsion(Float64Array.of(3, 1, 3, 1), forces)).toBe(2);
    expect([...forces].map(Math.abs)).toEqual([0, 0, 0, 0]);
  });
});

test('points that all lie on each other, or of which there are few, can be mapped', async () => {
  const same = points(40, 4, () => 2);
  const [neighbours, start] = [await nearest(same, 20), planar(await pca(same, 2))];
  for (const map of [
    await tsne(neighbours, start, { perplexity: 30, iterations: 100 }, Random.seeded(0)),
    await umap(neighbours, start, { neighbors: 15, minDistance: 0.1, epochs: 20 }, Random.seeded(0)),
  ])
    expect([...map].every(Number.isFinite)).toBe(true);
  const few = points(10, 4, (i, j) => Math.sin(i * 3 + j));
  const theirs = await nearest(few, 90);
  const map = await tsne(theirs, planar(await pca(few, 2)), { perplexity: 200, iterations: 100 }, Random.seeded(0));
  expect(
    [
      ...map,
      ...(await umap(
        theirs,
        planar(await pca(few, 2)),
        { neighbors: 200, minDistance: 0, epochs: 10 },
        Random.seeded(0),
      )),
    ].every(Number.isFinite),
  ).toBe(true);
});

test('what the pause throws ends the work', async () => {
  const stop = () => Promise.reject(new Error('stopped'));
  const [neighbours, start] = [await nearest(small, 10), planar(await pca(small, 2))];
  const before = tf.memory().numTensors;
  for (const work of [
    () => pca(small, 2, stop),
    () => nearest(small, 3, stop),
    () => geometryOf(small, 3, stop),
    () => tsne(neighbours, start, { perplexity: 3, iterations: 100 }, Random.seeded(0), stop),
    () => umap(neighbours, start, { neighbors: 5, minDistance: 0, epochs: 10 }, Random.seeded(0), stop),
  ])
    await expect(work()).rejects.toThrow('stopped');
  expect(tf.memory().numTensors).toBe(before);
});

// umap-learn 0.5.12, find_ab_params(1.0, min_dist).
test.each([
  [0, 1.93280839734315, 0.7904949732233831],
  [0.1, 1.5769434602697652, 0.8950608778515733],
  [0.5, 0.5830300203414425, 1.3341669924314914],
])('the curve of a least distance of %f is that of umap-learn', (minDistance, a, b) => {
  const curve = curveOf(minDistance);
  expect(curve.a).toBeCloseTo(a, 5);
  expect(curve.b).toBeCloseTo(b, 5);
});

describe('procrustes', () => {
  const shape = Float64Array.from({ length: 2 * countOf(small) }, (_, place) => Math.sin(place * 1.7) + 0.01 * place);
  const transform = (angle: number, mirror: 1 | -1) => (map: Float64Array) =>
    map.map((_, place) => {
      const [x, y] = [map[place - (place % 2)]!, mirror * map[place - (place % 2) + 1]!];
      return (
        2.5 *
          (place % 2 === 0 ? Math.cos(angle) * x - Math.sin(angle) * y : Math.sin(angle) * x + Math.cos(angle) * y) +
        [3, -7][place % 2]!
      );
    });

  test.each([
    [0.4, 1],
    [2.9, -1],
    [Math.PI / 2, -1],
  ] as const)('finds a turn by %f with mirror %i, a scale and a shift', (angle, mirror) => {
    const target = transform(angle, mirror)(shape);
    const found = procrustes(shape, target);
    found.map.forEach((value, place) => expect(value).toBeCloseTo(target[place]!, 10));
    expect(found.scale).toBeCloseTo(2.5, 10);
    expect(found.translation[0]).toBeCloseTo(3, 9);
    expect(found.translation[1]).toBeCloseTo(-7, 9);
    expect(found.disparity).toBeCloseTo(0, 10);
    const [[a, b], [c, d]] = found.rotation;
    expect(a * d - b * c).toBeCloseTo(mirror, 10);
  });

  test('no turn or scale does better', () => {
    const target = shape.map((value, place) => value + 0.3 * Math.cos(place * 3.1));
    const error = (map: Float64Array) => map.reduce((sum, value, place) => sum + (value - target[place]!) ** 2, 0);
    const found = procrustes(shape, target);
    const best = error(found.map);
    const centre = [0, 1].map(
      (axis) =>
        found.map.reduce((sum, value, place) => (place % 2 === axis ? sum + value : sum), 0) / (found.map.length / 2),
    );
    for (const [angle, scale] of [
      [0.01, 1],
      [-0.01, 1],
      [0, 1.01],
      [0, 0.99],
    ] as const) {
      const moved = found.map.map((_, place) => {
        const [x, y] = [found.map[place - (place % 2)]! - centre[0]!, found.map[place - (place % 2) + 1]! - centre[1]!];
        return (
          scale *
            (place % 2 === 0 ? Math.cos(angle) * x - Math.sin(angle) * y : Math.sin(angle) * x + Math.cos(angle) * y) +
          centre[place % 2]!
        );
      });
      expect(error(moved)).toBeGreaterThan(best);
    }
    const spread = target.reduce((sum, value, place) => {
      const mean = target.reduce((s, v, p) => (p % 2 === place % 2 ? s + v : s), 0) / (target.length / 2);
      return sum + (value - mean) ** 2;
    }, 0);
    expect(found.disparity).toBeCloseTo(best / spread, 10);
  });

  test('a map that is one point is moved to the middle of the target', () => {
    const found = procrustes(new Float64Array(6).fill(4), Float64Array.of(0, 0, 1, 1, 2, 2));
    [...found.map].forEach((value) => expect(value).toBeCloseTo(1, 10));
    expect(found.disparity).toBe(1);
  });
});
