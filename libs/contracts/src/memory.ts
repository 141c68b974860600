/** How much memory a run needs at its peak, from its spec alone, so that a plan can say what fits where. */
import { sampleAt, type SampleShape } from './dataset.js';
import { isOwnNetwork } from './architectures.js';
import { encoderSize, maskedSize, type KnownEncoder, type Size } from './encoder-size.js';
import { viewCount, viewSizeOf, viewsOfSpec } from './pretraining-views.js';
import { Encoder, type Optimizer, type Projection } from './run-settings.js';
import type { RunSpec } from './run-spec.js';
import { MASKING, type Autoencode } from './autoencode-spec.js';
import { MULTI_CROP, PROTOTYPES, QUEUE_SIZE, type Pretrain } from './training-spec.js';

const FLOAT = 4;
/**
 * Copies of each convolution's output that live at the peak of a step: itself, what is made of it, and what the
 * backward pass holds of both. Measured: 5.5 to 6.5.
 */
const COPIES = 7.25;
/** Copies of a batch's samples: views, and what augmentation makes on the way. Measured: 16 with colours. */
const VIEW_COPIES = 18;
/** Copies of a batch's samples as they are stored, where views are of another size. */
const STORED_COPIES = 2;
/** Samples of a batch of an evaluation. */
const EVALUATION_BATCH = 512;
/**
 * What the process takes beside tensors: Node, TensorFlow's library and its buffers. Measured: 420 to 500 MiB of
 * resident memory in a trainer of a small network.
 */
const PROCESS_BYTES = 500 * 2 ** 20;
/** What allocators keep and kernels work in, in parts of the tensors. */
const OVERHEAD = 1.25;
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
 * A weight, its gradient, the optimiser's averages, and what recording the step holds of them; and while it applies
 * them, what it makes of them, for all weights at once.
 */
const COPIES_OF_WEIGHTS: Record<Optimizer['name'], { held: number; applying: number }> = {
  adam: { held: 9, applying: 13 },
  lars: { held: 7, applying: 9 },
  sgd: { held: 9, applying: 14 },
};
/** Clipped gradients lie beside those they are made of. */
const copiesOfWeights = ({ name, clipNorm }: Optimizer): { held: number; applying: number } => {
  const { held, applying } = COPIES_OF_WEIGHTS[name];
  return { held, applying: applying + (clipNorm === undefined ? 0 : 1) };
};

/**
 * Bytes of tensors at the peak of a run: at least what was measured, at most twice that (memory.spec.ts of
 * libs/training); null for a kind that holds no network, and for one of which nothing is known. `inherited`, `size`: of
 * a run that has its network from a parent or a model, and height and width at which it sees images where they are not
 * the samples' own.
 */
export function tensorBytes(
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
    FLOAT *
    (needed +
      averages(spec, encoderSize(encoder, input)) +
      otherViews(spec, encoder, sample) +
      (size === undefined ? 0 : storedNumbers(spec, sample, samples)))
  );
}

/** Averages of the weights, and what recording the step holds of them. */
function averages(spec: RunSpec, { parameters, features }: Size): number {
  if (!('ema' in spec) || !spec.ema) return 0;
  const head = 'projection' in spec && spec.projection ? headParameters(features, spec.projection) : 0;
  return 3 * (parameters + head);
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
      return sum + spec.batchSize * (COPIES * encoderSize(encoder, input).maps + VIEW_COPIES * pixels);
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

/** Numbers at the peak of a step that learns; `kept`: what lies beside it all the time. */
const learning = (
  pixels: number,
  batch: number,
  maps: number,
  parameters: number,
  optimizer: Optimizer,
  kept = 0,
): number =>
  Math.max(
    batch * (COPIES * maps + VIEW_COPIES * pixels) + parameters * copiesOfWeights(optimizer).held + kept,
    parameters * copiesOfWeights(optimizer).applying,
  );

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
        learning(
          pixels,
          2 * spec.batchSize,
          size.maps,
          parameters,
          spec.optimizer,
          pairsOf(spec) + (FOLLOWED.includes(spec.method) ? parameters + forward(size, pixels, 2 * spec.batchSize) : 0),
        ),
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
        learning(
          pixels,
          spec.batchSize * (spec.labelWeight > 0 ? 2 : 1),
          size.maps,
          size.parameters,
          spec.optimizer,
          size.parameters + forward(size, pixels, spec.batchSize),
        ),
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
    return 12 * seen * batchSize * prototypes + queued * (12 * prototypes + 8 * output);
  }
  if (method === 'emp-ssl') return 14 * seen * output ** 2;
  const views = 2 * batchSize;
  if (method === 'moco-v2') return 8 * queueSize * (views + output);
  // Neighbours are constants: nothing of them is kept for the gradient.
  if (method === 'nnclr') return 4 * queueSize * (views + output);
  if (method === 'moco-v3') return 12 * batchSize ** 2;
  if (method === 'simclr') return 12 * views ** 2;
  if (method === 'dcl' || method === 'supcon') return 20 * views ** 2;
  return method === 'barlow-twins' || method === 'vicreg' ? 48 * output ** 2 : 0;
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
  const tensors = tensorBytes(spec, sample, inherited, votes, size);
  if (tensors === null) return null;
  const sampleBytes = sample.modality === 'image' ? sample.height * sample.width * sample.channels : 4 * sample.length;
  return Math.ceil(
    (OVERHEAD * tensors + PROCESS_BYTES + (host ? Math.min(MOST_SAMPLE_BYTES, trainCount * sampleBytes) : 0)) / 2 ** 20,
  );
}
