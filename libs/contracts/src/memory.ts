/** How much memory a run needs at its peak, from its spec alone, so that a plan can say what fits where. */
import { sampleAt, type SampleShape } from './dataset.js';
import { isOwnNetwork, transformerOf } from './architectures.js';
import { encoderSize, maskedSize, type KnownEncoder, type Size } from './encoder-size.js';
import { viewCount, viewSizeOf, viewsOfSpec } from './pretraining-views.js';
import { Encoder, type Optimizer, type Projection } from './run-settings.js';
import type { RunSpec } from './run-spec.js';
import { MASKING, type Autoencode } from './autoencode-spec.js';
import { MULTI_CROP, PROTOTYPES, QUEUE_SIZE, type Pretrain } from './training-spec.js';

const FLOAT = 4;
/**
 * Copies of each convolution's output that live at the peak of a step: itself, and what is made of it. Measured: 2.1 to
 * 2.4.
 */
const COPIES = 2.5;
/** Copies of a batch's samples that a step makes of them. */
const SAMPLE_COPIES = 4;
/** Copies of the samples of an evaluation: views, and what augmentation makes on the way. Measured: 16 with colours. */
const VIEW_COPIES = 18;
/** Copies of a batch's samples as they are stored, where views are of another size. */
const STORED_COPIES = 3.5;
/** Samples of a batch of an evaluation. */
const EVALUATION_BATCH = 512;
/**
 * What the process takes beside all this: Node, TensorFlow's library and its buffers. Measured: 430 MiB of resident
 * memory in a trainer before its run, 510 at the end of one of a small network of hardly any weights, 580 of such a
 * ResNet-50; machines differ by some tens.
 */
const PROCESS_BYTES = 640 * 2 ** 20;
/** What the graph of a transformer's block takes by itself. Measured: 11 to 16 MiB. */
const BLOCK_BYTES = 14 * 2 ** 20;
/** Up to so many bytes, a dataset's samples are read into memory. */
const MOST_SAMPLE_BYTES = 512 * 2 ** 20;

/** Height, width and channels of what an encoder sees; of sounds a bound: a frame every 16 ms, at most 64 bands. */
const inputOf = (sample: SampleShape): [number, number, number] =>
  sample.modality === 'image'
    ? [sample.height, sample.width, sample.channels]
    : [1 + Math.ceil(sample.length / sample.sampleRate / 0.016), 64, 1];

const headParameters = (input: number, { layers, hidden, output }: Projection): number =>
  Array.from(
    { length: layers },
    (_, i) => ((i === 0 ? input : hidden) + 4) * (i === layers - 1 ? output : hidden),
  ).reduce((sum, each) => sum + each, 0);
/**
 * Copies of the weights that a trainer takes by the end of its first step: they are drawn, held with the optimiser's
 * averages by tfjs and once more by the graph, and there are their gradients and what kernels work in. Measured, of a
 * ResNet-50: 12.4, 11.7 and 10.9.
 */
const COPIES_OF_WEIGHTS: Record<Optimizer['name'], number> = { adam: 13.5, sgd: 12.5, lars: 12 };

/**
 * Bytes at the peak of a run beside what each process takes: at least what was measured of trainers
 * (trainer-memory.spec.ts); null for a kind that holds no network, and for one of which nothing is known. `inherited`,
 * `size`: of a run that has its network from a parent or a model, and height and width at which it sees images where
 * they are not the samples' own.
 */
function workingBytes(
  spec: RunSpec,
  sample: SampleShape,
  inherited: KnownEncoder | undefined,
  samples: number,
  size = spec.kind === 'pretrain' ? viewSizeOf(spec) : undefined,
): number | null {
  if (spec.kind === 'prepare-dataset' || spec.kind === 'import-model') return null;
  const input = inputOf(sampleAt(sample, size));
  const own = 'encoder' in spec ? spec.encoder : undefined;
  const encoder: KnownEncoder = (own && isOwnNetwork(own) ? inherited : own) ?? inherited ?? Encoder.parse({});
  if (isOwnNetwork(encoder) && !encoder.made?.layers) return null;
  const needed = numbersOf(spec, encoderSize(encoder, input), input, samples);
  return (
    BLOCK_BYTES * blocksOf(spec, encoder) +
    FLOAT *
      (needed +
        averages(spec, encoderSize(encoder, input)) +
        otherViews(spec, encoder, sample) +
        (size === undefined ? 0 : storedNumbers(spec, sample, samples)))
  );
}

/** Blocks of a transformer, its masked autoencoder's decoder included; none of other networks. */
function blocksOf(spec: RunSpec, encoder: KnownEncoder): number {
  const depth = (!isOwnNetwork(encoder) && transformerOf(encoder)?.depth) || 0;
  return depth + (spec.kind === 'autoencode' && spec.variant === 'masked' ? (spec.masking ?? MASKING).blocks : 0);
}

/** Averages of the weights, held as these are. */
function averages(spec: RunSpec, { parameters, features }: Size): number {
  if (!('ema' in spec) || !spec.ema) return 0;
  const head = 'projection' in spec && spec.projection ? headParameters(features, spec.projection) : 0;
  return 5 * (parameters + head);
}

/** Numbers at the peak of a step for views beside the first two, each of its own size. */
function otherViews(spec: RunSpec, encoder: KnownEncoder, sample: SampleShape): number {
  if (spec.kind !== 'pretrain') return 0;
  return viewsOfSpec(spec, sample)
    .flatMap(({ size, count }) => new Array<number | undefined>(count).fill(size))
    .slice(2)
    .reduce<number>((sum, size) => {
      const input = inputOf(sampleAt(sample, size));
      const pixels = input.reduce((product, side) => product * side, 1);
      return sum + spec.batchSize * (COPIES * encoderSize(encoder, input).maps + SAMPLE_COPIES * pixels);
    }, 0);
}

/** Numbers of a batch's samples as they are stored, and of what resizes them, where views are of another size. */
function storedNumbers(spec: RunSpec, sample: SampleShape, samples: number): number {
  const batch = 'batchSize' in spec ? 2 * spec.batchSize : Math.min(EVALUATION_BATCH, samples);
  return STORED_COPIES * batch * inputOf(sample).reduce((product, side) => product * side, 1);
}

/** Numbers at the peak of a batch that only goes forward through an encoder. */
const forward = ({ largest }: Size, pixels: number, batch: number): number =>
  batch * (2.5 * largest + VIEW_COPIES * pixels);

/** Numbers at the peak of a step that learns. */
const learning = (pixels: number, batch: number, maps: number, parameters: number, optimizer: Optimizer): number =>
  batch * (COPIES * maps + SAMPLE_COPIES * pixels) + parameters * COPIES_OF_WEIGHTS[optimizer.name];

/** Numbers in the tensors at the peak of a run: of learning, or of the evaluation between. */
function numbersOf(
  spec: Exclude<RunSpec, { kind: 'prepare-dataset' | 'import-model' }>,
  size: Size,
  input: [number, number, number],
  samples: number,
): number {
  const pixels = input.reduce((product, side) => product * side, 1);
  const judged =
    size.parameters + forward(size, pixels, Math.min(EVALUATION_BATCH, samples)) + samples * size.features * 2;
  switch (spec.kind) {
    case 'pretrain': {
      const parameters =
        size.parameters +
        headParameters(size.features, spec.projection) +
        (PREDICTING.includes(spec.method) ? 2 * spec.predictorHidden * spec.projection.output : 0) +
        (MULTI_CROP.includes(spec.method) ? (spec.prototypes ?? PROTOTYPES) * spec.projection.output : 0);
      return Math.max(
        judged + 3 * parameters,
        learning(pixels, 2 * spec.batchSize, size.maps, parameters, spec.optimizer) +
          pairsOf(spec) +
          (FOLLOWED.includes(spec.method) ? 3 * parameters + forward(size, pixels, 2 * spec.batchSize) : 0),
      );
    }
    case 'finetune':
      return Math.max(
        judged + 3 * size.parameters,
        learning(
          pixels,
          spec.batchSize,
          spec.task === 'segmentation' ? 2 * size.maps : size.maps,
          size.parameters * (spec.task === 'segmentation' ? 1.5 : 1),
          spec.optimizer,
        ),
      );
    case 'distill':
      return Math.max(
        judged + 3 * size.parameters,
        learning(pixels, spec.batchSize * (spec.labelWeight > 0 ? 2 : 1), size.maps, size.parameters, spec.optimizer) +
          3 * size.parameters +
          forward(size, pixels, spec.batchSize),
      );
    case 'autoencode': {
      const { parameters, maps } = autoencoderSize(spec, size, input);
      return Math.max(judged + 3 * parameters, learning(pixels, spec.batchSize, maps, parameters, spec.optimizer));
    }
    case 'evaluate':
    case 'embed':
    case 'interpolate':
    case 'export':
      return judged;
  }
}

/** Methods with a predictor, and those with a network that follows. */
const PREDICTING: readonly Pretrain['method'][] = ['byol', 'simsiam', 'moco-v3', 'nnclr'];
const FOLLOWED: readonly Pretrain['method'][] = ['byol', 'moco-v2', 'moco-v3', 'dino'];

const viewsSeen = ({ views }: Pretrain): number => (Array.isArray(views) ? viewCount(views) : 2);

/** Similarities between all views of a batch, between them and a queue or prototypes, or between all dimensions. */
function pairsOf(spec: Pretrain): number {
  const { method, batchSize, queueSize = QUEUE_SIZE } = spec;
  const { output } = spec.projection;
  const seen = viewsSeen(spec);
  if (MULTI_CROP.includes(method)) {
    const prototypes = spec.prototypes ?? PROTOTYPES;
    const queued = method === 'swav' ? 2 * (spec.queueSize ?? 0) : 0;
    return 10 * seen * batchSize * prototypes + queued * (10 * prototypes + 8 * output);
  }
  if (method === 'emp-ssl') return 6 * seen * output ** 2;
  const views = 2 * batchSize;
  if (method === 'moco-v2') return 6 * queueSize * (views + output);
  // Neighbours are constants: nothing of them is kept for the gradient.
  if (method === 'nnclr') return 4 * queueSize * (views + output);
  if (method === 'moco-v3') return 6 * batchSize ** 2;
  if (method === 'simclr') return 5 * views ** 2;
  if (method === 'dcl' || method === 'supcon') return 7 * views ** 2;
  return method === 'barlow-twins' || method === 'vicreg' ? 32 * output ** 2 : 0;
}

/** Of an autoencoder's networks while they learn. */
function autoencoderSize(
  spec: Autoencode,
  size: Size,
  input: [number, number, number],
): Pick<Size, 'parameters' | 'maps'> {
  const { encoder, decoder } =
    spec.variant === 'masked'
      ? maskedSize(spec.encoder, spec.masking ?? MASKING, input)
      : { encoder: size, decoder: decoderSize(spec, size, input) };
  return { parameters: encoder.parameters + decoder.parameters, maps: encoder.maps + decoder.maps };
}

/** Doubles the last map until it is as large as a sample; channels halve each time, down to the encoder's width. */
function decoderSize(
  { latent, encoder: { width } }: Autoencode,
  size: Size,
  [height, columns]: [number, number, number],
): { parameters: number; maps: number } {
  let [places, depth] = [size.last / size.features, size.features];
  let [parameters, maps] = [2 * latent * size.last, size.last];
  while (places < height * columns) {
    const next = Math.max(width, depth / 2);
    places *= 4;
    // Upsampled, then convolved.
    maps += places * (depth + next);
    parameters += 9 * depth * next;
    depth = next;
  }
  return { parameters, maps };
}

/**
 * MiB that a run needs on a GPU, or (`host`) of its machine's memory, where process and data lie too; null where
 * nothing is known.
 */
export function neededMiB(
  spec: RunSpec,
  {
    sample,
    inherited,
    size,
    trainCount,
    host,
  }: {
    sample: SampleShape;
    inherited: KnownEncoder | undefined;
    size?: number | undefined;
    trainCount: number;
    host: boolean;
  },
): number | null {
  const votes = 'knn' in spec ? Math.min(spec.knn.bankSize, trainCount) : Math.min(5000, trainCount);
  const working = workingBytes(spec, sample, inherited, votes, size);
  if (working === null) return null;
  const sampleBytes = sample.modality === 'image' ? sample.height * sample.width * sample.channels : 4 * sample.length;
  return Math.ceil(
    (working + PROCESS_BYTES + (host ? Math.min(MOST_SAMPLE_BYTES, trainCount * sampleBytes) : 0)) / 2 ** 20,
  );
}
