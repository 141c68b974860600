/** Looking at a latent space: features of samples, maps of them in two dimensions, and what those maps are worth. */
import { sampleText, type Autoencode, type Embed, type RunResult, type TrainerInputs } from '#libs/contracts';
import {
  balancedRows,
  gatherLabels,
  gatherSamples,
  inputOf,
  inputShape,
  InvalidDataError,
  NpyWriter,
  Random,
  type SampleSplit,
} from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import { fileWriter, ParquetWriter, type SchemaElement } from 'hyparquet-writer';
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import { storedAutoencoder } from './autoencode.js';
import { accuracy, collect, representation, type Pause } from './evaluation.js';
import {
  geometryOf,
  knnPurity,
  largestPerplexity,
  MOST_NEIGHBOURS,
  nearest,
  neighboursKept,
  pca,
  procrustes,
  silhouette,
  trustworthiness,
  tsne,
  umap,
  type Geometry,
  type Neighbours,
  type Points,
} from './manifold.js';
import { encode, forward } from './networks.js';
import { pictureOf } from './pictures.js';
import { openOne, readParent, startingEncoder, storedTop } from './run-inputs.js';
import { breathe, TrainingError, type TrainContext } from './session.js';

type MapName = Embed['maps'][number];

const FEWEST_SAMPLES = 10;
const COMPONENTS = 10;
/** What compares all pairs of points looks at so many of them, drawn by the run's seed. */
const QUALITY_SAMPLES = 2000;
const QUALITY_NEIGHBOURS = 15;
/** Of one file, and of all of them: a page loads the files of what it shows. */
const ATLAS_TILES = 5000;
const MOST_TILES = 50_000;
const TILE_SIDE = 32;
const ROWS_AT_ONCE = 2048;
/**
 * Neighbours that vote for a sample's class where no classifier was trained; looked for on purpose up to so many
 * samples.
 */
const VOTERS = 15;
const MOST_JUDGED = 20_000;

/** `maps.json`, of kind `embedding`. Lists are in the order of `rows`. */
interface MapsFile {
  /** A reference, `name@digest`. */
  dataset: string;
  split: string;
  /** sha256 of dataset, split and rows: maps of one digest show the same samples, one by one. */
  samplesDigest: string;
  rows: number[];
  classes: readonly string[];
  /** Indices of `classes`; null where samples have no class. */
  labels: number[] | null;
  /**
   * What each sample is taken for, as an index of `classes`: by the parent's classifier, or by its nearest neighbours
   * among the others; null where neither can say.
   */
  predictions: number[] | null;
  predictedBy: 'classifier' | 'neighbours' | null;
  /** Width of the features that were mapped. */
  dimensions: number;
  seed: number;
  /**
   * Tiles from left to right and top to bottom, `perFile` of them in `atlas.webp`, the next in `atlas-1.webp` and so
   * on; `points` says which point each one shows.
   */
  atlas: { columns: number; tile: { width: number; height: number }; points: number[]; perFile: number };
  maps: Partial<
    Record<
      MapName,
      {
        x: number[];
        y: number[];
        parameters: Record<string, unknown>;
        alignment?: { to: string; scale: number; rotation: number[][]; translation: number[]; disparity: number };
      }
    >
  >;
}

/** Maps as they are stored: float32 [N, 2]. */
type Maps = Map<
  MapName,
  {
    coordinates: Float32Array;
    parameters: Record<string, unknown>;
    alignment?: NonNullable<NonNullable<MapsFile['maps'][MapName]>['alignment']>;
  }
>;

export async function embed(spec: Embed, inputs: TrainerInputs, context: TrainContext): Promise<RunResult> {
  const split = await openOne(inputs, spec.split);
  const rows = balancedRows(split, spec.maxSamples);
  if (rows.length < FEWEST_SAMPLES)
    throw new InvalidDataError(
      `expected at least ${FEWEST_SAMPLES} samples in the ${spec.split} split to map, found ${rows.length}`,
    );
  const labels = split.labels && gatherLabels(split, rows);
  const { name, digest } = inputs.dataset!.manifest;
  const dataset = `${name}@${digest.slice(0, 12)}`;
  const samplesDigest = createHash('sha256')
    .update(`${digest} ${spec.split} `)
    .update(new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength))
    .digest('hex');
  const wanted = Math.min(neighboursWanted(spec), rows.length - 1);
  if (rows.length * wanted > MOST_NEIGHBOURS) {
    throw new TrainingError(
      'invalid_spec',
      `expected maps that need at most ${MOST_NEIGHBOURS} neighbours in all, ${rows.length} samples with ` +
        `${wanted} neighbours each need ${rows.length * wanted}: lower maxSamples, tsne.perplexity (three ` +
        'neighbours for each) or umap.neighbors',
    );
  }
  const target = await readTarget(spec, inputs, dataset, samplesDigest, rows.length);

  // Features, neighbours and components, each map, its quality, the files.
  const parts = spec.maps.length + 4;
  let done = 0;
  const pause: Pause = () => breathe(context, done, parts);
  const { points, classified } = await featuresOf(spec, inputs, split, rows, pause);
  done++;
  const asked = labels && !classified && (wanted > 0 || rows.length <= MOST_JUDGED) ? VOTERS : 0;
  const { maps, explained, neighbours } = await mapsOf(spec, points, asked, target, context, pause, () => {
    done++;
  });
  const predictions = classified ?? (labels && asked > 0 ? votes(neighbours, labels, split.classes.length) : null);
  const { metrics, report } = await qualityOf(spec, points, maps, labels, split.classes, pause);
  explained.slice(0, COMPONENTS).forEach((ratio, i) => {
    metrics[`pca/explained_${i + 1}`] = ratio;
  });
  metrics['data/samples'] = rows.length;
  if (labels && predictions) metrics['embedding/accuracy'] = accuracy(predictions, labels);
  context.metrics(Object.entries(metrics).map(([key, value]) => ({ key, step: 0, value })));
  done++;

  const fileOf = (file: string) => path.join(context.workDir, file);
  const store = (file: string, kind: 'report' | 'image' | 'embedding', mime: string) =>
    context.store({ name: file, kind, mime, path: fileOf(file), step: null });
  await writeNpy(fileOf('embeddings.npy'), points, pause);
  await store('embeddings.npy', 'report', 'application/octet-stream');
  await writeParquet(fileOf('embeddings.parquet'), points, rows, labels, predictions, split.classes, maps, pause);
  await store('embeddings.parquet', 'report', 'application/vnd.apache.parquet');
  const { files: atlasFiles, ...atlas } = await writeAtlas(fileOf, split, rows, pause);
  for (const file of atlasFiles) await store(file, 'image', 'image/webp');
  const description: MapsFile = {
    dataset,
    split: spec.split,
    samplesDigest,
    rows: [...rows],
    classes: split.classes,
    labels: labels ? [...labels] : null,
    predictions: predictions && [...predictions],
    predictedBy: classified ? 'classifier' : predictions && 'neighbours',
    dimensions: points.width,
    seed: spec.seed,
    atlas,
    maps: Object.fromEntries(
      [...maps].map(([map, { coordinates, ...rest }]) => [
        map,
        { x: axisOf(coordinates, 0), y: axisOf(coordinates, 1), ...rest },
      ]),
    ),
  };
  await writeFile(fileOf('maps.json'), `${JSON.stringify(description)}\n`);
  await store('maps.json', 'embedding', 'application/json');
  await writeFile(fileOf('quality.json'), `${JSON.stringify({ ...report, explained }, null, 2)}\n`);
  await store('quality.json', 'report', 'application/json');
  context.progress(parts, parts);
  return { metrics };
}

/** For t-SNE three times the perplexity; UMAP counts the sample itself. */
const neighboursWanted = ({ maps, tsne: { perplexity }, umap: { neighbors } }: Embed): number =>
  Math.max(maps.includes('tsne') ? Math.floor(3 * perplexity) : 0, maps.includes('umap') ? neighbors - 1 : 0);

/** The maps to align to. @throws TrainingError where they are of other samples */
async function readTarget(
  spec: Embed,
  inputs: TrainerInputs,
  dataset: string,
  samplesDigest: string,
  count: number,
): Promise<MapsFile['maps'] | undefined> {
  if (spec.alignTo === null) return undefined;
  if (!inputs.alignTo)
    throw new TrainingError('internal_error', 'expected the maps to align to among the inputs, got none');
  const other = JSON.parse(await readFile(inputs.alignTo, 'utf8')) as MapsFile;
  if (other.samplesDigest !== samplesDigest) {
    throw new TrainingError(
      'invalid_spec',
      `expected the run in alignTo to have mapped these ${count} samples of the ${spec.split} split of ` +
        `${dataset}, it mapped ${other.rows.length} of the ${other.split} split of ${other.dataset}: give both runs ` +
        'the same dataset, split and maxSamples',
    );
  }
  if (!spec.maps.some((map) => other.maps[map]))
    throw new TrainingError(
      'invalid_spec',
      `expected a map that the run in alignTo has too (${Object.keys(other.maps).join(', ')}), got ` +
        `${spec.maps.join(', ')}`,
    );
  return other.maps;
}

/**
 * The class that most of a point's nearest others have, of classes with as many votes the one whose first voter is
 * nearest. `VOTERS` of them vote, or as many as there are. labels: [N] → [N]
 */
export function votes({ k, places }: Neighbours, labels: Int32Array, classCount: number): Int32Array {
  const voters = Math.min(k, VOTERS);
  const counts = new Int32Array(classCount);
  return Int32Array.from(labels, (_, point) => {
    counts.fill(0);
    const cast = Array.from({ length: voters }, (_unused, n) => labels[places[point * k + n]!]!);
    for (const label of cast) counts[label]!++;
    return cast.reduce((best, label) => (counts[label]! > counts[best]! ? label : best));
  });
}

/**
 * The parent's latent codes where it is an autoencoder, else its encoder's features; and what its classifier says,
 * where it has one of these classes. Leaves no tensor.
 */
async function featuresOf(
  spec: Embed,
  inputs: TrainerInputs,
  split: SampleSplit,
  rows: Int32Array,
  pause: Pause,
): Promise<{ points: Points; classified: Int32Array | undefined }> {
  const parent = await readParent(inputs, spec);
  const models: { dispose(): void }[] = [];
  try {
    let represent: (x: tf.Tensor4D) => tf.Tensor2D;
    let domain: Autoencode['domain'] | undefined;
    let classes = 0;
    if (parent.state.kind === 'autoencode') {
      const [own, theirs] = [sampleText(split.sample), sampleText(parent.state.sample)];
      if (own !== theirs)
        throw new TrainingError(
          'invalid_spec',
          `expected samples of ${theirs}, of which the autoencoder knows the latent code, got ${own}`,
        );
      const autoencoder = storedAutoencoder(parent, split.sample);
      models.push(...autoencoder.models);
      represent = (x) => autoencoder.code(x, false).mean;
      domain = autoencoder.domain;
    } else {
      const { encoder } = await startingEncoder(spec, inputs, split.sample);
      models.push(encoder);
      represent = representation(encoder);
      const { head, classifier } =
        parent.state.classes.join('\n') === split.classes.join('\n') ? storedTop(encoder, parent) : {};
      models.push(...[head, classifier].filter((model) => model !== undefined));
      if (classifier) {
        classes = split.classes.length;
        represent = (x) => {
          const { features } = encode(encoder, x, false);
          return tf.concat2d(
            [features, forward<tf.Tensor2D>(classifier, head ? forward(head, features, false) : features, false)],
            1,
          );
        };
      }
    }
    // [N, width], and beside it the logits.
    const collected = await collect(split, rows, represent, pause, domain);
    const width = collected.shape[1] - classes;
    const [values, classified] = tf.tidy(
      () =>
        [
          tf.slice2d(collected, [0, 0], [-1, width]).dataSync<'float32'>(),
          classes > 0
            ? Int32Array.from(tf.argMax(tf.slice2d(collected, [0, width], [-1, classes]), 1).dataSync())
            : undefined,
        ] as const,
    );
    collected.dispose();
    const wrong = values.findIndex((value) => !Number.isFinite(value));
    if (wrong >= 0)
      throw new TrainingError(
        'nan_loss',
        `expected finite features, got ${values[wrong]} for row ${rows[Math.floor(wrong / width)]}: the run in ` +
          'from has no usable weights',
      );
    return { points: { values, width }, classified };
  } finally {
    for (const model of models) model.dispose();
  }
}

/** `asked`: how many neighbours others want beside the maps. `onDone` is called after each part. */
async function mapsOf(
  spec: Embed,
  points: Points,
  asked: number,
  target: MapsFile['maps'] | undefined,
  { log }: TrainContext,
  pause: Pause,
  onDone: () => void,
): Promise<{ maps: Maps; explained: number[]; neighbours: Neighbours }> {
  const count = points.values.length / points.width;
  const { scores: start, explained } = await pca(points, 2, pause);
  const wanted = Math.max(neighboursWanted(spec), asked);
  const neighbours: Neighbours =
    wanted > 0
      ? await nearest(points, wanted, pause)
      : { k: 0, places: new Int32Array(), distances: new Float64Array() };
  onDone();
  const maps: Maps = new Map();
  for (const name of spec.maps) {
    await pause();
    const random = Random.seeded(spec.seed, name);
    let map: Float64Array;
    let parameters: Record<string, unknown> = {};
    switch (name) {
      case 'pca':
        map = start;
        break;
      case 'tsne': {
        const perplexity = Math.min(spec.tsne.perplexity, largestPerplexity(count));
        if (perplexity < spec.tsne.perplexity)
          log(
            'warn',
            `t-SNE asks for a perplexity of ${spec.tsne.perplexity}, ${count} samples allow ` +
              `${perplexity.toFixed(1)}: that is taken`,
          );
        parameters = { ...spec.tsne, perplexity };
        map = await tsne(neighbours, start, { ...spec.tsne, perplexity }, random, pause);
        break;
      }
      case 'umap': {
        const neighbors = Math.min(spec.umap.neighbors, count);
        if (neighbors < spec.umap.neighbors)
          log('warn', `UMAP asks for ${spec.umap.neighbors} neighbours, there are ${count} samples: all are taken`);
        parameters = { ...spec.umap, neighbors };
        map = await umap(neighbours, start, { ...spec.umap, neighbors }, random, pause);
        break;
      }
    }
    const onto = target?.[name];
    if (target && !onto) log('warn', `the run in alignTo has no ${name} map: this one stays as it is`);
    if (onto) {
      const { map: aligned, ...alignment } = procrustes(
        map,
        Float64Array.from(
          { length: 2 * count },
          (_, place) => (place % 2 === 0 ? onto.x : onto.y)[Math.floor(place / 2)]!,
        ),
      );
      maps.set(name, {
        coordinates: Float32Array.from(aligned),
        parameters,
        alignment: { to: spec.alignTo!, ...alignment },
      });
    } else maps.set(name, { coordinates: Float32Array.from(map), parameters });
    onDone();
  }
  return { maps, explained, neighbours };
}

interface Separation {
  silhouette?: number;
  knnPurity?: number;
  silhouettePerClass?: Record<string, number>;
}
interface QualityReport {
  samples: number;
  neighbours: number;
  embedding: Separation;
  maps: Partial<Record<MapName, Separation & { trustworthiness: number; neighboursKept: number }>>;
}

/** On at most `QUALITY_SAMPLES` points. What needs classes is left out where samples have none, or all the same. */
async function qualityOf(
  spec: Embed,
  points: Points,
  maps: Maps,
  labels: Int32Array | undefined,
  classes: readonly string[],
  pause: Pause,
): Promise<{ metrics: Record<string, number>; report: QualityReport }> {
  const count = points.values.length / points.width;
  const chosen =
    count <= QUALITY_SAMPLES
      ? Int32Array.from({ length: count }, (_, i) => i)
      : Random.seeded(spec.seed, 'quality').permutation(count).slice(0, QUALITY_SAMPLES).sort();
  const k = Math.min(QUALITY_NEIGHBOURS, Math.ceil(chosen.length / 2) - 1);
  const ofChosen = ({ values, width }: Points): Points => ({
    width,
    values: Float64Array.from(
      { length: chosen.length * width },
      (_, place) => values[chosen[Math.floor(place / width)]! * width + (place % width)]!,
    ),
  });
  const chosenLabels = labels && Int32Array.from(chosen, (place) => labels[place]!);
  const separation = (geometry: Geometry): Separation => {
    if (!chosenLabels || new Set(chosenLabels).size < 2) return {};
    const each = silhouette(geometry, chosenLabels);
    const mean = (values: Float64Array) => values.reduce((sum, value) => sum + value, 0) / values.length;
    const perClass = classes.flatMap((name, label) => {
      const own = each.filter((_, i) => chosenLabels[i] === label);
      return own.length > 0 ? [[name, mean(own)] as const] : [];
    });
    return {
      silhouette: mean(each),
      knnPurity: knnPurity(geometry, chosenLabels),
      silhouettePerClass: Object.fromEntries(perClass),
    };
  };
  const space = await geometryOf(ofChosen(points), k, pause);
  const report: QualityReport = { samples: chosen.length, neighbours: k, embedding: separation(space), maps: {} };
  const metrics: Record<string, number> = {};
  const note = (prefix: string, { silhouette: separated, knnPurity: purity }: Separation) => {
    if (separated !== undefined && purity !== undefined)
      Object.assign(metrics, { [`${prefix}/silhouette`]: separated, [`${prefix}/knn_purity`]: purity });
  };
  note('embedding', report.embedding);
  for (const [name, { coordinates, alignment }] of maps) {
    const map = await geometryOf(ofChosen({ values: coordinates, width: 2 }), k, pause);
    const quality = {
      trustworthiness: trustworthiness(space, map),
      neighboursKept: neighboursKept(space, map),
      ...separation(map),
    };
    report.maps[name] = quality;
    metrics[`map/${name}/trustworthiness`] = quality.trustworthiness;
    metrics[`map/${name}/neighbours_kept`] = quality.neighboursKept;
    note(`map/${name}`, quality);
    if (alignment) metrics[`map/${name}/disparity`] = alignment.disparity;
  }
  return { metrics, report };
}

/** Nine digits hold a float32. */
const axisOf = (coordinates: Float32Array, axis: 0 | 1): number[] =>
  Array.from({ length: coordinates.length / 2 }, (_, i) => Number(coordinates[2 * i + axis]!.toPrecision(9)));

async function writeNpy(file: string, { values, width }: Points, pause: Pause): Promise<void> {
  const writer = await NpyWriter.create(file, '<f4', [width]);
  try {
    for (let start = 0; start < values.length; start += ROWS_AT_ONCE * width) {
      await pause();
      await writer.append(Float32Array.from(values.subarray(start, start + ROWS_AT_ONCE * width)));
    }
  } finally {
    await writer.close();
  }
}

/**
 * Columns row, label (where there are classes), prediction (where there is one), x and y of each map, and the features
 * as a list.
 */
async function writeParquet(
  file: string,
  { values, width }: Points,
  rows: Int32Array,
  labels: Int32Array | undefined,
  predictions: Int32Array | null,
  classes: readonly string[],
  maps: Maps,
  pause: Pause,
): Promise<void> {
  const axes = [...maps].flatMap(([name, { coordinates }]) =>
    (['x', 'y'] as const).map((axis, offset) => ({ name: `${name}_${axis}`, coordinates, offset })),
  );
  const required = { repetition_type: 'REQUIRED' } as const;
  const named = Object.entries({ label: labels, prediction: predictions }).flatMap(([name, places]) =>
    places ? [{ name, places }] : [],
  );
  const columns: SchemaElement[] = [
    { name: 'row', type: 'INT32', ...required },
    ...named.map(({ name }) => ({ name, type: 'BYTE_ARRAY', converted_type: 'UTF8', ...required }) as const),
    ...axes.map(({ name }) => ({ name, type: 'FLOAT', ...required }) as const),
  ];
  const writer = new ParquetWriter({
    writer: fileWriter(file),
    schema: [
      { name: 'root', num_children: columns.length + 1 },
      ...columns,
      { name: 'embedding', converted_type: 'LIST', num_children: 1, ...required },
      { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
      { name: 'element', type: 'FLOAT', ...required },
    ],
  });
  for (let start = 0; start < rows.length; start += ROWS_AT_ONCE) {
    await pause();
    const places = Array.from({ length: Math.min(ROWS_AT_ONCE, rows.length - start) }, (_, i) => start + i);
    await writer.write({
      columnData: [
        { name: 'row', data: places.map((place) => rows[place]!) },
        ...named.map(({ name, places: some }) => ({ name, data: places.map((place) => classes[some[place]!]!) })),
        ...axes.map(({ name, coordinates, offset }) => ({
          name,
          data: places.map((place) => coordinates[2 * place + offset]!),
        })),
        // Floats neither repeat nor compress.
        {
          name: 'embedding',
          data: places.map((place) => Array.from(values.subarray(place * width, (place + 1) * width))),
          encoding: 'PLAIN',
          codec: 'UNCOMPRESSED',
        },
      ],
      rowGroupSize: ROWS_AT_ONCE,
    });
  }
  await writer.finish();
}

/**
 * Thumbnails of the samples, sounds as spectrograms, of at most `MOST_TILES` spread evenly, with the longer side at
 * most `TILE_SIDE`; files of the run by their names.
 */
async function writeAtlas(
  fileOf: (name: string) => string,
  split: SampleSplit,
  rows: Int32Array,
  pause: Pause,
): Promise<MapsFile['atlas'] & { files: string[] }> {
  const count = Math.min(MOST_TILES, rows.length);
  const points = Array.from({ length: count }, (_, tile) => Math.floor((tile * rows.length) / count));
  const { sample } = split;
  const [high, wide, channels] = inputShape(sample) as [number, number, 1 | 3];
  // Of a spectrogram, time is the first axis.
  const [height, width] = sample.modality === 'image' ? [high, wide] : [wide, high];
  const factor = Math.min(1, TILE_SIDE / Math.max(height, width));
  const tile = { width: Math.max(1, Math.round(width * factor)), height: Math.max(1, Math.round(height * factor)) };
  const columns = Math.ceil(Math.sqrt(Math.min(ATLAS_TILES, count)));
  const batch = Math.max(1, Math.min(256, Math.floor(2 ** 24 / (height * width * channels))));
  const files: string[] = [];
  for (let first = 0; first < count; first += ATLAS_TILES) {
    const own = points.slice(first, first + ATLAS_TILES);
    const atlas = { width: columns * tile.width, height: Math.ceil(own.length / columns) * tile.height, channels };
    const pixels = Buffer.alloc(atlas.width * atlas.height * channels);
    for (let start = 0; start < own.length; start += batch) {
      await pause();
      const some = own.slice(start, start + batch);
      const bytes = Uint8Array.from(
        tf.tidy(() => {
          const pictures = pictureOf(
            inputOf(
              sample,
              gatherSamples(
                split,
                some.map((point) => rows[point]!),
              ),
            ),
            sample,
            'spectrogram',
          );
          return tf.round(tf.mul(tf.clipByValue(pictures, 0, 1), 255)).dataSync();
        }),
      );
      for (let i = 0; i < some.length; i++) {
        const image = bytes.subarray(i * height * width * channels, (i + 1) * height * width * channels);
        const small =
          factor === 1
            ? image
            : await sharp(image, { raw: { width, height, channels } })
                .resize(tile.width, tile.height, { fit: 'fill' })
                .toColourspace(channels === 1 ? 'b-w' : 'srgb')
                .raw()
                .toBuffer();
        const [top, left] = [Math.floor((start + i) / columns) * tile.height, ((start + i) % columns) * tile.width];
        for (let y = 0; y < tile.height; y++)
          pixels.set(
            small.subarray(y * tile.width * channels, (y + 1) * tile.width * channels),
            ((top + y) * atlas.width + left) * channels,
          );
      }
    }
    files.push(files.length === 0 ? 'atlas.webp' : `atlas-${files.length}.webp`);
    await sharp(pixels, { raw: atlas })
      .webp({ quality: 85 })
      .toFile(fileOf(files.at(-1)!));
  }
  return { columns, tile, points, perFile: ATLAS_TILES, files };
}
