import type { Encoder, SampleShape, TrainerInputs } from '#libs/contracts';
import { inputShape, Random } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildAutoencoder } from '../autoencoder.js';
import { writeTensors } from '../checkpoint.js';
import { buildEncoder, encode, featureWidth } from '../networks/encoder.js';
import { buildClassifier, buildProjectionHead } from '../networks/heads.js';
import { buildSegmenter, pyramidOf } from '../networks/segmenter.js';
import { forward, initialise, weightsOf } from '../networks/weights.js';
import type { ModelState } from '../run-inputs.js';
import type { TrainContext } from '../train-context.js';
import { train } from '../train.js';
import { byOnnx, expectClose, uniform } from '../../../../tests/support/onnx-runtime.js';

let dir: string;
beforeAll(async () => {
  await loadTensorFlow({ threads: 1 });
  dir = await mkdtemp(path.join(tmpdir(), 'loom-export-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const image = (height: number, width: number, channels: 1 | 3): SampleShape => ({
  modality: 'image',
  height,
  width,
  channels,
});
const sound: SampleShape = { modality: 'audio', sampleRate: 1000, length: 333 };
/** Random weights everywhere, as after a training: also in biases, normalisations and running averages. */
function randomised(...models: layers.LayersModel[]): void {
  initialise(models, Random.seeded(4));
  const random = Random.seeded(5, 'weights');
  for (const { key, variable } of weightsOf(...models)) {
    if (!key.endsWith('/kernel'))
      tf.tidy(() => {
        variable.assign(
          tf.tensor(
            Float32Array.from({ length: variable.size }, () => {
              // Of many bottlenecks each adds a little, as in trained networks: values stay near 1.
              if (/_bn3.gamma/.test(key)) return random.uniform(0.1, 0.3);
              return /variance|gamma/.test(key) ? random.uniform(0.5, 1.5) : random.normal(0, 0.3);
            }),
            variable.shape,
          ),
        );
      });
  }
}

type State = Omit<ModelState, 'range' | 'encoder' | 'classes'> & Partial<ModelState>;
interface Exported {
  files: Map<string, string>;
  metrics: Record<string, number>;
}

async function exported(
  state: State,
  models: layers.LayersModel[],
  formats: ('tfjs' | 'safetensors' | 'onnx')[] = ['tfjs', 'safetensors', 'onnx'],
): Promise<Exported> {
  const workDir = await mkdtemp(path.join(dir, 'run-'));
  const parentModel = path.join(workDir, 'model.safetensors');
  await writeTensors(
    parentModel,
    { range: [0, 1], classes: ['ant', 'bee', 'größe'], encoder: { name: 'small-resnet', width: 4 }, ...state },
    weightsOf(...models),
  );
  const files = new Map<string, string>();
  const context: TrainContext = {
    signal: new AbortController().signal,
    workDir,
    checkpointEverySeconds: 1000,
    progress: () => undefined,
    metrics: () => undefined,
    log: () => undefined,
    store: ({ name, kind, path: file }) => {
      expect(kind).toBe('export');
      files.set(name, file);
      return Promise.resolve();
    },
  };
  const inputs: TrainerInputs = { dataRoot: dir, parentModel };
  const { metrics } = await train(
    { kind: 'export', from: '00000000-0000-7000-8000-000000000000', formats },
    inputs,
    context,
  );
  return { files, metrics };
}

/** By tfjs's own layers, from the two files. */
async function byTfjs({ files }: Exported, name: string): Promise<layers.LayersModel> {
  const stored = JSON.parse(await readFile(files.get(`${name}.model.json`)!, 'utf8')) as tf.io.ModelJSON;
  expect(stored.weightsManifest[0]!.paths).toEqual([`${name}.weights.bin`]);
  const weights = new Uint8Array(await readFile(files.get(`${name}.weights.bin`)!));
  return layers.loadLayersModel(
    tf.io.fromMemory({
      modelTopology: stored.modelTopology,
      weightSpecs: stored.weightsManifest[0]!.weights,
      weightData: weights.buffer,
      ...(stored.userDefinedMetadata && { userDefinedMetadata: stored.userDefinedMetadata }),
    }),
  );
}

async function readSafetensors(file: string) {
  const bytes = await readFile(file);
  const length = Number(bytes.readBigUInt64LE());
  const { __metadata__: metadata, ...entries } = JSON.parse(bytes.subarray(8, 8 + length).toString()) as {
    __metadata__: Record<string, string>;
  } & Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;
  return { metadata, entries, data: bytes.subarray(8 + length) };
}

async function expectSame(
  run: Exported,
  name: string,
  input: tf.Tensor,
  expected: Record<string, tf.Tensor>,
): Promise<void> {
  const content = new Uint8Array(await readFile(run.files.get(`${name}.onnx`)!));
  const loaded = await byTfjs(run, name);
  const stock = [loaded.predict(input)].flat();
  const onnx = await byOnnx(content, [input], Object.keys(expected));
  Object.values(expected).forEach((values, i) => {
    expectClose(onnx[i]!, values, 1e-4);
    expectClose(stock[i]!, values, 1e-4);
  });
  const [first] = await byOnnx(content, [tf.slice(input, [0], [1])], Object.keys(expected));
  expectClose(first!, tf.slice(Object.values(expected)[0]!, [0], [1]), 1e-4);
  expect(run.metrics['export/tfjs_difference']).toBeLessThan(1e-5);
}

const normalisation = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
describe('what other runtimes compute is what the networks here compute', () => {
  test.each<[Encoder, SampleShape, boolean]>([
    [{ name: 'small-resnet', width: 4 }, image(32, 32, 3), true],
    [{ name: 'small-resnet', width: 4 }, image(28, 28, 1), false],
    [{ name: 'small-resnet', width: 4 }, image(33, 20, 3), true],
    [{ name: 'resnet18', width: 8 }, image(33, 20, 3), true],
    [{ name: 'small-resnet', width: 4 }, sound, true],
    [{ name: 'resnet18', width: 8 }, sound, true],
    [{ name: 'resnet50', width: 4 }, image(33, 20, 3), true],
    [{ name: 'resnet50', width: 4, stem: 'imagenet' }, image(32, 38, 3), true],
    [{ name: 'resnet34', width: 4, stem: 'imagenet', padding: 'same' }, image(32, 39, 1), true],
    [{ name: 'resnet50', width: 4, stem: 'imagenet', skRatio: 0.5, seRatio: 0.5 }, image(32, 39, 3), true],
    [{ name: 'small-resnet', width: 4, padding: 'symmetric' }, sound, true],
    [{ name: 'resnet18', width: 4, stem: 'imagenet', normalisation }, image(32, 38, 3), true],
    [{ name: 'vit-tiny', width: 4, patch: 8, normalisation }, image(20, 16, 3), true],
    [{ name: 'vit-tiny', width: 5, patch: 8, pooling: 'mean', stochasticDepth: 0.3 }, sound, true],
    [{ name: 'vit-tiny', width: 4, patch: 8, positions: 'learnt' }, image(16, 16, 1), true],
  ])(
    '%o on %o, with its projection head (factor at the end: %s)',
    async (architecture, sample, affineEnd) => {
      const encoder = buildEncoder(architecture, inputShape(sample));
      const projection = { layers: 3, hidden: 12, output: 9 };
      const head = buildProjectionHead(featureWidth(encoder), projection, { affineEnd });
      randomised(encoder, head);
      const run = await exported({ kind: 'pretrain', sample, encoder: architecture, projection }, [encoder, head]);
      expect([...run.files.keys()]).toEqual(
        ['encoder', 'projection']
          .flatMap((each) => [`${each}.model.json`, `${each}.weights.bin`, `${each}.safetensors`, `${each}.onnx`])
          .concat('export.json'),
      );
      const x = uniform([3, ...inputShape(sample)]) as tf.Tensor4D;
      const { features } = encode(encoder, x, false);
      await expectSame(run, 'encoder', x, { features });
      await expectSame(run, 'projection', features, { projection: forward(head, features, false) });
    },
    120_000,
  );

  test.each([
    ['small-resnet', image(28, 28, 1), 0],
    ['small-resnet', image(28, 28, 1), 2],
    ['small-resnet', image(28, 28, 1), 3],
    ['resnet18', image(33, 20, 3), 1],
    ['small-resnet', sound, 1],
  ] as const)('a classifier of %s on %o, on layer %i of the projection head', async (name, sample, headLayers) => {
    const encoder = buildEncoder({ name, width: 4 }, inputShape(sample));
    const projection = { layers: 3, hidden: 12, output: 9 };
    const head = headLayers
      ? buildProjectionHead(featureWidth(encoder), projection, { through: headLayers })
      : undefined;
    const classifier = buildClassifier(head?.outputs[0]!.shape.at(-1) ?? featureWidth(encoder), 3);
    const models = [encoder, ...(head ? [head] : []), classifier];
    randomised(...models);
    const run = await exported(
      {
        kind: 'finetune',
        task: 'classification',
        sample,
        encoder: { name, width: 4 },
        ...(head && { projection, headLayers }),
      },
      models,
    );
    const x = uniform([3, ...inputShape(sample)]) as tf.Tensor4D;
    const { features } = encode(encoder, x, false);
    await expectSame(run, 'encoder', x, { features });
    await expectSame(run, 'classifier', x, {
      logits: forward(classifier, head ? forward(head, features, false) : features, false),
    });
  });

  test.each([
    ['plain', 'small-resnet', image(33, 20, 3)],
    ['denoising', 'small-resnet', image(16, 16, 3)],
    ['variational', 'small-resnet', image(28, 28, 1)],
    ['plain', 'resnet18', image(33, 20, 3)],
    ['plain', 'vit-tiny', image(33, 20, 3)],
  ] as const)('a %s autoencoder with a %s of %o', async (variant, name, sample) => {
    const architecture = { encoder: { name, width: 4 }, latent: 5, variant, domain: 'spectrogram' } as const;
    const autoencoder = buildAutoencoder(architecture, sample);
    randomised(...autoencoder.models);
    const run = await exported({ kind: 'autoencode', sample, ...architecture }, autoencoder.models);
    const x = uniform([3, ...inputShape(sample)]) as tf.Tensor4D;
    const { mean, logVariance } = autoencoder.code(x, false);
    await expectSame(run, 'encoder', x, logVariance ? { mean, log_variance: logVariance } : { latent: mean });
    await expectSame(run, 'decoder', mean, { reconstruction: autoencoder.decode(mean, false) });
  });

  test.each<[Encoder, SampleShape]>([
    [{ name: 'small-resnet', width: 4 }, image(33, 20, 3)],
    [{ name: 'small-resnet', width: 4 }, image(28, 28, 1)],
    [{ name: 'resnet18', width: 4 }, image(33, 20, 3)],
    [{ name: 'resnet50', width: 4, stem: 'imagenet' }, image(33, 20, 3)],
  ])('a segmenter with %o of %o', async (architecture, sample) => {
    const encoder = buildEncoder(architecture, inputShape(sample));
    const pyramid = pyramidOf(encoder, architecture);
    const segmenter = buildSegmenter(pyramid, 3);
    randomised(encoder, segmenter);
    const run = await exported({ kind: 'finetune', task: 'segmentation', sample, encoder: architecture }, [
      encoder,
      segmenter,
    ]);
    const x = uniform([3, ...inputShape(sample)]) as tf.Tensor4D;
    await expectSame(run, 'encoder', x, { features: encode(encoder, x, false).features });
    await expectSame(run, 'segmenter', x, {
      logits: forward(segmenter, forward<tf.Tensor[]>(pyramid, x, false), false),
    });
  });

  test.each([
    ['plain', 'waveform'],
    ['variational', 'waveform'],
    ['plain', 'spectrogram'],
  ] as const)('a %s autoencoder of sounds: %s', async (variant, domain) => {
    const architecture = { encoder: { name: 'small-resnet', width: 4 }, latent: 5, variant, domain } as const;
    const autoencoder = buildAutoencoder(architecture, sound);
    randomised(...autoencoder.models);
    const run = await exported({ kind: 'autoencode', sample: sound, ...architecture }, autoencoder.models);
    const x = uniform([3, ...inputShape(sound, domain)]) as tf.Tensor4D;
    const { mean, logVariance } = autoencoder.code(x, false);
    await expectSame(run, 'encoder', x, logVariance ? { mean, log_variance: logVariance } : { latent: mean });
    await expectSame(run, 'decoder', mean, { reconstruction: autoencoder.decode(mean, false) });
  });
});

test('every file says what goes in, what comes out, and which classes there are', async () => {
  const sample = image(12, 10, 3);
  const encoder = buildEncoder({ name: 'small-resnet', width: 4 }, inputShape(sample));
  const classifier = buildClassifier(featureWidth(encoder), 3);
  randomised(encoder, classifier);
  const run = await exported({ kind: 'distill', task: 'classification', sample }, [encoder, classifier]);
  const loaded = await byTfjs(run, 'classifier');
  const { metadata, entries, data } = await readSafetensors(run.files.get('classifier.safetensors')!);
  const onnx = await readFile(run.files.get('classifier.onnx')!);
  const overview = JSON.parse(await readFile(run.files.get('export.json')!, 'utf8')) as {
    networks: object[];
    files: { name: string; bytes: number }[];
  };
  const about = overview.networks[1] as Record<string, unknown>;
  expect(about).toMatchObject({
    network: 'classifier',
    inputs: [{ name: 'images', shape: [null, 12, 10, 3], layout: 'NHWC', range: [0, 1] }],
    outputs: [{ name: 'logits', shape: [null, 3] }],
    preprocessing: { sample, divideBy: 255 },
    classes: ['ant', 'bee', 'größe'],
    architecture: { kind: 'distill', encoder: { name: 'small-resnet', width: 4 } },
  });
  expect(loaded.getUserDefinedMetadata()).toEqual(about);
  expect(Object.values(metadata).every((value) => typeof value === 'string')).toBe(true);
  expect(JSON.parse(metadata['classes']!)).toEqual(about['classes']);
  expect(JSON.parse(metadata['preprocessing']!)).toEqual(about['preprocessing']);
  expect(onnx.includes(JSON.stringify(about['classes']))).toBe(true);
  for (const { key, variable } of weightsOf(encoder, classifier)) {
    const {
      dtype,
      shape,
      data_offsets: [start, end],
    } = entries[key.slice(key.indexOf('/') + 1)]!;
    expect([dtype, shape]).toEqual(['F32', variable.shape]);
    expect(new Float32Array(new Uint8Array(data.subarray(start, end)).buffer)).toEqual(variable.dataSync());
  }
  for (const { name, bytes } of overview.files) expect((await readFile(run.files.get(name)!)).length, name).toBe(bytes);
});

test('only the formats that were asked for are written', async () => {
  const sample = image(8, 8, 1);
  const encoder = buildEncoder({ name: 'small-resnet', width: 4 }, inputShape(sample));
  const { files, metrics } = await exported({ kind: 'pretrain', sample }, [encoder], ['onnx']);
  expect([...files.keys()]).toEqual(['encoder.onnx', 'export.json']);
  expect(metrics).toEqual({ 'export/files': 1, 'export/bytes': (await readFile(files.get('encoder.onnx')!)).length });
});

test.each<[string, State['variant'], Encoder['name']]>([
  ['pretrain', undefined, 'small-resnet'],
  ['pretrain', undefined, 'vit-tiny'],
  ['autoencode', 'plain', 'small-resnet'],
  ['autoencode', 'variational', 'small-resnet'],
])('an export of %s (%s, %s) leaves no tensor behind', async (kind, variant, name) => {
  const sample = image(8, 8, 1);
  const architecture = {
    encoder: { name, width: 4 },
    latent: 3,
    variant: variant ?? 'plain',
    domain: 'spectrogram',
  } as const;
  const models = variant
    ? buildAutoencoder(architecture, sample).models
    : [buildEncoder(architecture.encoder, inputShape(sample))];
  const once = () =>
    exported({ kind: kind as 'pretrain', sample, encoder: architecture.encoder, ...(variant && architecture) }, models);
  await once();
  const before = tf.memory().numTensors;
  await once();
  expect(tf.memory().numTensors).toBe(before);
});
