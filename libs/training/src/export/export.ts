/**
 * A run's networks as files that other programs load: tfjs layers models, safetensors, ONNX. The run loads each tfjs
 * model back and compares it with the network. That ONNX files give the same, to 1e-4 by onnxruntime, is for the tests
 * to show, for every kind of network: no run loads one.
 */
import {
  architectureOf,
  isOwnNetwork,
  transformerOf,
  type Encoder,
  type ExportModel,
  type RunResult,
  type TrainerInputs,
} from '#libs/contracts';
import { logMelSettings, Random, readWhole } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import { readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { storedAutoencoder } from '../autoencoder.js';
import { writeSafetensors } from '../checkpoint.js';
import { buildSegmenter, pyramidOf } from '../networks/segmenter.js';
import { weightsOf } from '../networks/weights.js';
import { onnxOf } from './onnx.js';
import { withoutTopology } from '../own/import-layers.js';
import { portable } from './portable.js';
import { BATCH_NORM_EPSILON } from '../networks/operations.js';
import { LAYER_NORM_EPSILON } from '../networks/token-operations.js';
import { readParent, restored, storedNetworks, type ModelState, type ParentModel } from '../run-inputs.js';
import { breathe, TrainingError, type TrainContext } from '../train-context.js';

type Symbolic = layers.SymbolicTensor;

/** What is written under one name in every format. */
interface Network {
  name: string;
  does: string;
  model: layers.LayersModel;
  /** Names of the network's outputs, in order. */
  outputs: string[];
}

const SAMPLES = 2;
/** Tolerance relative to the largest value: a CPU may sum in another order, a GPU round products to ten bits. */
const TOLERANCE = { cpu: 1e-5, gpu: 5e-3 };

export async function exportModel(spec: ExportModel, inputs: TrainerInputs, context: TrainContext): Promise<RunResult> {
  const { gpu } = await loadTensorFlow();
  const parent = await readParent(inputs);
  const networks = networksOf(parent);
  const files: { name: string; format: ExportModel['formats'][number]; network: string; bytes: number }[] = [];
  let difference = 0;
  try {
    const total = networks.length * spec.formats.length;
    for (const [n, network] of networks.entries()) {
      const about = aboutOf(network, parent.state);
      for (const [f, format] of spec.formats.entries()) {
        await breathe(context, n * spec.formats.length + f, total);
        const names = await WRITE[format](network, about, context.workDir);
        if (format === 'tfjs')
          difference = Math.max(
            difference,
            await compareLoaded(network, context.workDir, gpu ? TOLERANCE.gpu : TOLERANCE.cpu),
          );
        for (const name of names) {
          files.push({ name, format, network: network.name, bytes: await handOver(name, context) });
        }
      }
    }
    await breathe(context, total, total);
    const overview = {
      kind: parent.state.kind,
      networks: networks.map((network) => aboutOf(network, parent.state)),
      files,
    };
    await writeFile(path.join(context.workDir, 'export.json'), `${JSON.stringify(overview, null, 2)}\n`);
    await handOver('export.json', context);
    context.log(
      'info',
      `wrote ${networks.map(({ name }) => name).join(', ')} as ${spec.formats.join(', ')}; export.json says what ` +
        'goes in and what comes out',
    );
  } finally {
    // Networks share layers: each weight is disposed of once.
    for (const weight of new Set(networks.flatMap(({ model }) => model.weights))) weight.dispose();
  }
  return {
    metrics: {
      'export/files': files.length,
      'export/bytes': files.reduce((sum, { bytes }) => sum + bytes, 0),
      ...(spec.formats.includes('tfjs') && { 'export/tfjs_difference': difference }),
    },
  };
}

async function handOver(name: string, { workDir, store }: TrainContext): Promise<number> {
  const file = path.join(workDir, name);
  await store({
    name,
    kind: 'export',
    mime: name.endsWith('.json') ? 'application/json' : 'application/octet-stream',
    path: file,
    step: null,
  });
  return (await stat(file)).size;
}

/** The parent's networks. The caller owns their weights. */
function networksOf(parent: ParentModel): Network[] {
  const { state } = parent;
  const isMasked = state.variant === 'masked';
  if (state.kind === 'autoencode' && !isMasked) return autoencoderNetworks(parent);
  const { encoder: trunk, head, classifier } = storedNetworks(parent);
  const encoder: Network = {
    name: 'encoder',
    does: 'sample → representation',
    model: layers.model({ inputs: trunk.inputs, outputs: trunk.outputs[1]!, name: 'encoder' }),
    outputs: ['features'],
  };
  if (state.kind === 'pretrain' || state.kind === 'import-model' || isMasked)
    return [
      encoder,
      ...(head
        ? [{ name: 'projection', does: 'representation → projection', model: head, outputs: ['projection'] }]
        : []),
    ];
  if (!classifier) {
    const pyramid = pyramidOf(trunk, state.encoder);
    const segmenter = restored(buildSegmenter(pyramid, state.classes.length), parent);
    return [
      encoder,
      {
        name: 'segmenter',
        does: 'sample → logits of the classes for each pixel',
        model: layers.model({ inputs: trunk.inputs, outputs: onto(segmenter, ...pyramid.outputs), name: 'segmenter' }),
        outputs: ['logits'],
      },
    ];
  }
  const features = head ? onto(head, trunk.outputs[1]!) : [trunk.outputs[1]!];
  const logits = onto(classifier, ...features);
  const through = head ? `, through ${state.headLayers} layers of the projection head` : '';
  return [
    encoder,
    {
      name: 'classifier',
      does: `sample → logits of the classes${through}`,
      model: layers.model({ inputs: trunk.inputs, outputs: logits, name: 'classifier' }),
      outputs: ['logits'],
    },
  ];
}

function autoencoderNetworks(parent: ParentModel): Network[] {
  const { models } = storedAutoencoder(parent, parent.state.sample);
  const [encoder, ...others] = models as [layers.LayersModel, ...layers.LayersModel[]];
  const decoder = others.pop()!;
  let code = encoder.outputs;
  for (const part of others)
    code = onto(part, ...part.inputs.map((input) => code.find(({ shape }) => shape.join() === input.shape.join())!));
  const isVariational = parent.state.variant === 'variational';
  if (isVariational) code = halves(code[0]!);
  return [
    {
      name: 'encoder',
      does: isVariational ? 'sample → mean and logarithm of the variance of its latent code' : 'sample → latent code',
      model: layers.model({ inputs: encoder.inputs, outputs: code, name: 'encoder' }),
      outputs: isVariational ? ['mean', 'log_variance'] : ['latent'],
    },
    { name: 'decoder', does: 'latent code → sample', model: decoder, outputs: ['reconstruction'] },
  ];
}

/** What `model` makes of other tensors than its inputs, by the same layers and weights. */
function onto(model: layers.LayersModel, ...inputs: Symbolic[]): Symbolic[] {
  const known = new Map(model.inputs.map(({ id }, i) => [id, inputs[i]!]));
  const through = (tensor: Symbolic): Symbolic => {
    let result = known.get(tensor.id);
    if (!result) {
      const from = tensor.sourceLayer.inboundNodes[tensor.nodeIndex]!.inputTensors.map(through);
      result = tensor.sourceLayer.apply(from.length === 1 ? from[0]! : from) as Symbolic;
      known.set(tensor.id, result);
    }
    return result;
  };
  return model.outputs.map(through);
}

/** A dense layer's output as that of two layers, of its first and of its second half. The layer is let go. */
function halves(output: Symbolic): Symbolic[] {
  const { sourceLayer: whole } = output;
  // An autoencoder of waveforms gives two codes side by side.
  if (whole.getClassName() === 'Concatenate') return whole.inboundNodes[output.nodeIndex]!.inputTensors;
  if (whole.getClassName() !== 'Dense')
    throw new TrainingError(
      'internal_error',
      `expected a dense layer to give the latent code, got ${whole.getClassName()} ${whole.name}`,
    );
  const input = whole.inboundNodes[output.nodeIndex]!.inputTensors[0]!;
  const units = output.shape.at(-1)! / 2;
  const results = ['mean', 'log_variance'].map((name, half) => {
    const layer = layers.layers.dense({ name, units, kernelInitializer: 'zeros' });
    const result = layer.apply(input) as Symbolic;
    tf.tidy(() => {
      layer.setWeights(whole.getWeights().map((weight) => tf.split(weight, 2, -1)[half]!));
    });
    return result;
  });
  for (const weight of whole.weights) weight.dispose();
  return results;
}

/** What goes in, what comes out, and what the network was made for: in every file of it. */
function aboutOf({ name, does, model, outputs }: Network, state: ModelState) {
  const { kind, sample, size, classes, range, encoder, projection, headLayers, task, latent, variant, domain } = state;
  const isWaveform = sample.modality === 'audio' && domain === 'waveform';
  const ports = (tensors: Symbolic[], names: string[]) =>
    tensors.map(({ shape }, i) => ({
      name: names[i]!,
      shape,
      type: 'float32',
      ...(shape.length === 4 && {
        layout: 'NHWC',
        ...(names[i] !== 'logits' && { range: isWaveform ? [-1, 1] : range }),
      }),
    }));
  return {
    network: name,
    does,
    inputs: ports(model.inputs, model.inputNames),
    outputs: ports(model.outputs, outputs),
    preprocessing:
      sample.modality === 'image'
        ? {
            sample,
            ...(size !== undefined && { size }),
            fit: `scaled to cover ${sample.height} x ${sample.width} and cut around the centre`,
            divideBy: 255,
          }
        : {
            sample,
            ...(isWaveform
              ? { input: 'waveform' }
              : { input: 'log-mel spectrogram', logMel: logMelSettings(sample.sampleRate) }),
          },
    classes,
    architecture: { kind, encoder: withoutTopology(encoder), task, projection, headLayers, latent, variant, domain },
  };
}
/** What else the layout of an encoder's weights tells. */
function ownOf(encoder: Encoder): string {
  if (transformerOf(encoder))
    return (
      `; layer normalisation adds ${LAYER_NORM_EPSILON}; qkv: queries, keys and values side by side, each of all ` +
      'heads; positions of sines and cosines are no weights'
    );
  if (isOwnNetwork(encoder)) return '; what a layer does is in its model';
  const { padding } = architectureOf(encoder);
  return padding === 'same'
    ? ''
    : `, but of convolutions ${padding === 'simclr' ? '' : 'and pools '}of stride 2 (kernel - 1) / 2 zeros at ` +
        'both ends';
}
type About = ReturnType<typeof aboutOf>;

/** Metadata as text, for formats that have no other. */
const textOf = (about: About): Record<string, string> =>
  Object.fromEntries(
    Object.entries(about).map(([key, value]) => [key, typeof value === 'string' ? value : JSON.stringify(value)]),
  );

/** Writes a network to files in a folder, and says to which. */
const WRITE: Record<
  ExportModel['formats'][number],
  (network: Network, about: About, folder: string) => Promise<string[]>
> = {
  tfjs: async ({ name, model }, about, folder) => {
    const [topology, weights] = [`${name}.model.json`, `${name}.weights.bin`];
    const written = portable(model);
    await written.model.save(
      tf.io.withSaveHandler(async ({ weightData, weightSpecs, ...artifacts }) => {
        const manifest = [{ paths: [weights], weights: weightSpecs! }];
        await writeFile(path.join(folder, weights), new Uint8Array(tf.io.CompositeArrayBuffer.join(weightData)));
        await writeFile(
          path.join(folder, topology),
          JSON.stringify({ ...artifacts, userDefinedMetadata: about, weightsManifest: manifest }),
        );
        return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } };
      }),
    );
    written.release();
    return [topology, weights];
  },
  safetensors: async ({ name, model }, about, folder) => {
    const file = `${name}.safetensors`;
    const layout =
      'convolution kernels [height, width, in, out], dense kernels [in, out]; batch normalisation adds ' +
      `${BATCH_NORM_EPSILON} to the variance; padding as TensorFlow's SAME${ownOf(about.architecture.encoder)}`;
    const tensors = weightsOf(model).map(({ key, variable }) => ({ key: key.slice(model.name.length + 1), variable }));
    await writeSafetensors(path.join(folder, file), tensors, () => ({
      format: 'latent-loom',
      layout,
      ...textOf(about),
    }));
    return [file];
  },
  onnx: async ({ name, model, outputs }, about, folder) => {
    const file = `${name}.onnx`;
    await writeFile(path.join(folder, file), onnxOf(model, outputs, textOf(about)));
    return [file];
  },
};

/**
 * Loads a tfjs model from its files and compares it with the network: the largest difference, relative to the largest
 * value or 1.
 */
async function compareLoaded({ name, model }: Network, folder: string, tolerance: number): Promise<number> {
  const stored = JSON.parse(await readFile(path.join(folder, `${name}.model.json`), 'utf8')) as tf.io.ModelJSON;
  const loaded = await layers.loadLayersModel({
    load: () =>
      tf.io.getModelArtifactsForJSON(stored, async ([group]) => {
        const bytes = await readWhole(path.join(folder, group!.paths[0]!));
        return [group!.weights, bytes.buffer];
      }),
  });
  const random = Random.seeded(0, 'export');
  const difference = tf.tidy(() => {
    const batch = model.inputs.map(({ shape }) => {
      const whole = [SAMPLES, ...shape.slice(1)] as number[];
      return tf.tensor(
        Float32Array.from({ length: whole.reduce((product, side) => product * side, 1) }, () => random.uniform()),
        whole,
      );
    });
    const [ours, theirs] = [model, loaded].map((each) =>
      [each.apply(batch, { training: false }) as tf.Tensor | tf.Tensor[]].flat(),
    );
    return Math.max(
      ...ours!.map(
        (own, i) => tf.div(tf.max(tf.abs(tf.sub(own, theirs![i]!))), tf.maximum(1, tf.max(tf.abs(own)))).dataSync()[0]!,
      ),
    );
  });
  loaded.dispose();
  if (!(difference <= tolerance))
    throw new TrainingError(
      'internal_error',
      `expected ${name}.model.json to give what the network gives, within ${tolerance} of the largest value, got ` +
        `a difference of ${difference}`,
    );
  return difference;
}
