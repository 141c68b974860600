import { NpyWriter } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { votes } from './features.js';
import { buildClassifier } from '../networks/heads.js';
import { newEncoder, storeModel } from '../run-inputs.js';
import {
  COUNT,
  CHANNELS,
  HEIGHT,
  WIDTH,
  alignTo,
  classes,
  contextIn,
  dir,
  fileOf,
  inputs,
  mapsOf,
  parentModel,
  run,
  sample,
  useEmbeddingInputs,
} from '../../../../tests/support/embedding-runs.js';

useEmbeddingInputs();

test('everything that is stored can be read and says the same', async () => {
  const outcome = await run();
  expect(outcome.stored).toEqual({
    'embeddings.npy': 'report',
    'embeddings.parquet': 'report',
    'atlas.webp': 'image',
    'maps.json': 'embedding',
    'quality.json': 'report',
  });
  const maps = await mapsOf(outcome);
  expect(maps).toMatchObject({
    dataset: 'tiny@abababababab',
    classes,
    dimensions: 16,
    rows: Array.from({ length: COUNT }, (_, i) => i),
    labels: Array.from({ length: COUNT }, (_, i) => i % 3),
  });
  expect(Object.keys(maps.maps)).toEqual(['pca', 'tsne', 'umap']);
  expect(maps.maps['tsne']!.parameters).toEqual({ perplexity: 5, iterations: 100 });

  const bytes = await readFile(fileOf(outcome, 'embeddings.npy'));
  expect(bytes.subarray(0, 128).toString('latin1')).toContain(
    `'descr': '<f4', 'fortran_order': False, 'shape': (${COUNT}, 16)`,
  );
  const features = new Float32Array(new Uint8Array(bytes.subarray(128)).buffer);
  expect(features).toHaveLength(COUNT * 16);

  const table = await parquetReadObjects({ file: await asyncBufferFromFile(fileOf(outcome, 'embeddings.parquet')) });
  expect(table).toHaveLength(COUNT);
  expect(Object.keys(table[0]!)).toEqual([
    'row',
    'label',
    'prediction',
    'pca_x',
    'pca_y',
    'tsne_x',
    'tsne_y',
    'umap_x',
    'umap_y',
    'embedding',
  ]);
  table.forEach((line, i) => {
    expect(line).toMatchObject({ row: i, label: classes[i % 3], prediction: classes[maps.predictions![i]!] });
    for (const [name, { x, y }] of Object.entries(maps.maps)) {
      expect([line[`${name}_x`], line[`${name}_y`]]).toEqual([Math.fround(x[i]!), Math.fround(y[i]!)]);
    }
    expect(line['embedding']).toEqual([...features.subarray(16 * i, 16 * i + 16)]);
  });

  const quality = JSON.parse(await readFile(fileOf(outcome, 'quality.json'), 'utf8')) as {
    samples: number;
    neighbours: number;
    maps: Record<string, { silhouette: number; silhouettePerClass: Record<string, number> }>;
  };
  expect(quality).toMatchObject({ samples: COUNT, neighbours: 15 });
  for (const name of ['pca', 'tsne', 'umap']) {
    const { silhouette, silhouettePerClass } = quality.maps[name]!;
    expect(Object.keys(silhouettePerClass)).toEqual(classes);
    expect(outcome.metrics[`map/${name}/silhouette`]).toBe(silhouette);
    expect(Object.values(silhouettePerClass).reduce((sum, value) => sum + value / 3, 0)).toBeCloseTo(silhouette, 10);
    for (const metric of ['trustworthiness', 'knn_purity', 'neighbours_kept'])
      expect(outcome.metrics[`map/${name}/${metric}`]).toBeGreaterThan(0.4);
  }
  expect(outcome.metrics['data/samples']).toBe(COUNT);
  expect(outcome.metrics['embedding/knn_purity']).toBeGreaterThan(0.8);
  const explained = Object.entries(outcome.metrics)
    .filter(([key]) => key.startsWith('pca/explained_'))
    .map(([, value]) => value);
  expect(explained).toHaveLength(10);
  expect(explained.toSorted((a, b) => b - a)).toEqual(explained);
  expect(outcome.steps.at(-1)).toBe(7);
}, 60_000);

test('votes of the nearest others, of as many votes the nearest', () => {
  const neighbours = {
    k: 3,
    places: Int32Array.of(1, 2, 3, 0, 2, 3, 3, 0, 1, 2, 1, 0),
    distances: new Float64Array(12),
  };
  // Point 0 is told 1, 2, 2; point 1 is told 0, 2, 2; point 2 has three opinions, the nearest says 2; so has point 3,
  // whose nearest says 2.
  expect([...votes(neighbours, Int32Array.of(0, 1, 2, 2), 3)]).toEqual([2, 2, 2, 2]);
  expect([...votes({ ...neighbours, k: 1, places: Int32Array.of(1, 0, 3, 0) }, Int32Array.of(0, 1, 2, 2), 3)]).toEqual([
    1, 0, 2, 0,
  ]);
});

test('samples are taken for what their nearest others are, or for what a finetuned parent says', async () => {
  const outcome = await run({ maps: ['pca'] });
  const { predictions, predictedBy, labels } = await mapsOf(outcome);
  expect(predictedBy).toBe('neighbours');
  const bytes = await readFile(fileOf(outcome, 'embeddings.npy'));
  const features = new Float32Array(new Uint8Array(bytes.subarray(128)).buffer);
  const naive = Array.from({ length: COUNT }, (_, i) => {
    const near = Array.from({ length: COUNT }, (_unused, j) => j)
      .filter((j) => j !== i)
      .map((j) => ({
        j,
        distance: Math.hypot(
          ...Array.from({ length: 16 }, (_value, d) => features[16 * i + d]! - features[16 * j + d]!),
        ),
      }))
      .sort((a, b) => a.distance - b.distance)
      .slice(0, 15)
      .map(({ j }) => labels![j]!);
    return near.reduce((best, label) =>
      near.filter((each) => each === label).length > near.filter((each) => each === best).length ? label : best,
    );
  });
  expect(predictions).toEqual(naive);
  expect(outcome.metrics['embedding/accuracy']).toBeCloseTo(
    naive.filter((label, i) => label === labels![i]).length / COUNT,
    12,
  );

  // A finetuned network whose classifier says class 2 whatever it sees.
  const workDir = await mkdtemp(path.join(dir, 'finetuned-'));
  const encoder = { name: 'small-resnet', width: 4 } as const;
  const network = newEncoder(encoder, sample, 3);
  const classifier = buildClassifier(16, classes.length);
  classifier.setWeights([tf.zeros([16, 3]), tf.tensor1d([0, 1, 5])]);
  await storeModel(
    { kind: 'finetune', task: 'classification', sample, classes, encoder },
    [network, classifier],
    contextIn(workDir),
  );
  for (const model of [network, classifier]) model.dispose();
  const parent = { parentModel: path.join(workDir, 'model.safetensors') };
  const before = tf.memory().numTensors;
  const told = await run({ maps: ['pca'] }, parent);
  expect(tf.memory().numTensors).toBe(before);
  expect(await mapsOf(told)).toMatchObject({
    predictedBy: 'classifier',
    predictions: labels!.map(() => 2),
    dimensions: 16,
  });
  expect(await readFile(fileOf(told, 'embeddings.npy'))).toEqual(bytes);
  // One of other classes has no say.
  const others = { ...inputs.dataset!.manifest, classes: ['a', 'b', 'c'] };
  expect(
    (await mapsOf(await run({ maps: ['pca'] }, { ...parent, dataset: { ...inputs.dataset!, manifest: others } })))
      .predictedBy,
  ).toBe('neighbours');
}, 60_000);

test('the same run gives the same files, another seed other maps of the same features', async () => {
  const [first, second, other] = [await run(), await run(), await run({ seed: 1 })];
  for (const name of Object.keys(first.stored))
    expect(await readFile(fileOf(second, name)), name).toEqual(await readFile(fileOf(first, name)));
  expect(second.metrics).toEqual(first.metrics);
  const [maps, others] = [await mapsOf(first), await mapsOf(other)];
  expect(others.maps['pca']).toEqual(maps.maps['pca']);
  expect(others.maps['umap']).not.toEqual(maps.maps['umap']);
  expect(others.maps['tsne']).not.toEqual(maps.maps['tsne']);
  expect(await readFile(fileOf(other, 'embeddings.npy'))).toEqual(await readFile(fileOf(first, 'embeddings.npy')));
}, 60_000);

test('maps are turned, mirrored, scaled and moved onto those of another run', async () => {
  const first = await run({ maps: ['pca', 'umap'] });
  const original = await mapsOf(first);
  const moved = structuredClone(original);
  for (const map of Object.values(moved.maps)) {
    const { x, y } = map;
    [map.x, map.y] = [
      x.map((value, i) => 0.5 * (0.6 * value + 0.8 * y[i]!) + 4),
      x.map((value, i) => 0.5 * (0.8 * value - 0.6 * y[i]!) - 9),
    ];
  }
  const file = path.join(dir, 'moved.json');
  await writeFile(file, JSON.stringify(moved));
  const second = await run({ alignTo }, { alignTo: file });
  const aligned = await mapsOf(second);
  for (const name of ['pca', 'umap']) {
    const [found, expected] = [aligned.maps[name]!, moved.maps[name]!];
    found.x.forEach((value, i) => expect(value).toBeCloseTo(expected.x[i]!, 4));
    found.y.forEach((value, i) => expect(value).toBeCloseTo(expected.y[i]!, 4));
    expect(found.alignment).toMatchObject({ to: alignTo });
    expect(found.alignment!.scale).toBeCloseTo(0.5, 5);
    expect(second.metrics[`map/${name}/disparity`]).toBeCloseTo(0, 6);
    expect(second.metrics[`map/${name}/trustworthiness`]).toBeCloseTo(first.metrics[`map/${name}/trustworthiness`]!, 2);
  }
  expect(aligned.maps['tsne']!.alignment).toBeUndefined();
  expect(second.lines).toContain('warn: the run in alignTo has no tsne map: this one stays as it is');
}, 60_000);

test('aligning to other samples, or to other maps only, is refused', async () => {
  const other = fileOf(await run({ maps: ['pca'], maxSamples: 20 }), 'maps.json');
  await expect(run({ alignTo }, { alignTo: other })).rejects.toMatchObject({
    reason: 'invalid_spec',
    message:
      'expected the run in alignTo to have mapped these 60 samples of the val split of tiny@abababababab, it ' +
      'mapped 20 of the val split of tiny@abababababab: give both runs the same dataset, split and maxSamples',
  });
  // The same rows of another split are other samples too.
  await expect(run({ alignTo, maxSamples: 20, split: 'train' }, { alignTo: other })).rejects.toMatchObject({
    reason: 'invalid_spec',
  });
  await expect(run({ alignTo, maxSamples: 20, maps: ['umap'] }, { alignTo: other })).rejects.toMatchObject({
    reason: 'invalid_spec',
    message: 'expected a map that the run in alignTo has too (pca), got umap',
  });
});

test('of an autoencoder, the latent code is mapped; samples of another size have none', async () => {
  const parent = await parentModel('autoencoder');
  const outcome = await run({ maps: ['pca'] }, { parentModel: parent });
  expect((await mapsOf(outcome)).dimensions).toBe(5);
  const manifest = { ...inputs.dataset!.manifest, sample: { ...sample, height: WIDTH, width: HEIGHT } };
  const files = { val: { samples: path.join(dir, 'turned.npy') } };
  const writer = await NpyWriter.create(files.val.samples, '|u1', [WIDTH, HEIGHT, CHANNELS]);
  await writer.append(new Uint8Array(COUNT * HEIGHT * WIDTH * CHANNELS));
  await writer.close();
  await expect(run({}, { parentModel: parent, dataset: { manifest, files } })).rejects.toMatchObject({
    reason: 'invalid_spec',
    message: 'expected samples of 12 x 48 x 3, of which the autoencoder knows the latent code, got 48 x 12 x 3',
  });
});

test('samples without classes are mapped without what needs classes; settings are lowered to them', async () => {
  const { val } = inputs.dataset!.files;
  const outcome = await run(
    { maps: ['tsne', 'umap'], tsne: { perplexity: 30, iterations: 100 }, umap: { neighbors: 100, epochs: 10 } },
    { dataset: { ...inputs.dataset!, files: { val: { samples: val!.samples } } } },
  );
  expect((await mapsOf(outcome)).labels).toBeNull();
  expect(Object.keys(outcome.metrics).filter((key) => /silhouette|purity/.test(key))).toEqual([]);
  expect(outcome.metrics['map/umap/trustworthiness']).toBeGreaterThan(0);
  const [line] = await parquetReadObjects({ file: await asyncBufferFromFile(fileOf(outcome, 'embeddings.parquet')) });
  expect(Object.keys(line!)).not.toContain('label');
  expect(outcome.lines).toEqual([
    'warn: t-SNE asks for a perplexity of 30, 60 samples allow 19.7: that is taken',
    'warn: UMAP asks for 100 neighbours, there are 60 samples: all are taken',
  ]);
}, 60_000);

test('a stop ends the run wherever it is and leaves no tensor', async () => {
  const signs = (await run()).steps.length;
  const before = tf.memory().numTensors;
  for (const stopAt of [1, 3, 4, 50, 120, signs - 3]) {
    const { stopped, steps } = await run({}, {}, { stopAt });
    expect(stopped, `sign ${stopAt}`).toMatchObject({ reason: 'cancel' });
    expect(steps.length).toBe(stopAt);
    expect(tf.memory().numTensors, `sign ${stopAt}`).toBe(before);
  }
  await run({ maps: ['pca'] });
  expect(tf.memory().numTensors).toBe(before);
}, 60_000);
