/**
 * Batch normalisation and ReLU on TensorFlow's fused kernels: one operation forward and one back, instead of tfjs's
 * dozen.
 */
import { type Attributes, float, kernel, typeAttribute, usesGpu } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';

export const BATCH_NORM_EPSILON = 1e-5;

export interface BatchStatistics {
  mean: tf.Tensor1D;
  variance: tf.Tensor1D;
}

const attributes = (training: boolean, epsilon: number) => ({
  ...float(),
  U: typeAttribute('TF_FLOAT'),
  epsilon: { type: 'float' as const, value: epsilon },
  data_format: { type: 'string' as const, value: 'NHWC' },
  is_training: { type: 'bool' as const, value: training },
});

/** The kernels want [N, H, W, C]. A reshape is an operation too: none where the shape is right. */
const asImages = (x: tf.Tensor): tf.Tensor4D =>
  x.rank === 4 ? (x as tf.Tensor4D) : tf.reshape(x, [-1, 1, 1, x.shape.at(-1)!]);
const shapedLike = (y: tf.Tensor, { rank, shape }: tf.Tensor): tf.Tensor => (rank === 4 ? y : tf.reshape(y, shape));

/**
 * Images, scale, offset, running mean, running variance → the same outputs as FusedBatchNormV3, the first rectified.
 */
const rectifiedNorm = (inputs: tf.Tensor[], rate: number, epsilon = BATCH_NORM_EPSILON): tf.Tensor[] =>
  kernel(
    '_MklNativeFusedBatchNormEx',
    {
      ...attributes(true, epsilon),
      exponential_avg_factor: { type: 'float', value: rate },
      activation_mode: { type: 'string', value: 'Relu' },
      num_side_inputs: { type: 'int', value: 0 },
      // How TensorFlow marks operations that it has put oneDNN's kernels in place of.
      _kernel: { type: 'string', value: 'MklNameChangeOp' },
    },
    inputs,
    6,
  );

let canRectify: boolean | undefined;
/**
 * Whether this TensorFlow has oneDNN's kernel that rectifies while it normalises, which costs nothing more. Found by
 * trying it, once.
 */
export function findRectifiedNorm(): boolean {
  if (canRectify !== undefined) return canRectify;
  try {
    tf.tidy(() => rectifiedNorm([tf.zeros([2, 1, 1, 1]), ...Array.from({ length: 4 }, () => tf.ones([1]))], 1));
    canRectify = !usesGpu();
  } catch {
    canRectify = false;
  }
  return canRectify;
}

/**
 * Normalises each channel of a batch by its own mean and biased variance (Ioffe and Szegedy 2015), then scales and
 * shifts; `rectified`: max(·, 0) of that; `epsilon` is added to the variance. x: [N, …, C]. `onAverages` gets the
 * running averages moved on by this batch (its variance is the unbiased one there): (1 − rate) · running + rate ·
 * batch, both [C]; they are disposed after.
 */
export function batchNormTraining<T extends tf.Tensor>(
  x: T,
  scale: tf.Tensor1D,
  offset: tf.Tensor1D,
  running: BatchStatistics,
  rate: number,
  onAverages: (averages: BatchStatistics) => void,
  rectified = false,
  epsilon = BATCH_NORM_EPSILON,
): T {
  const normalise = tf.customGrad((...inputs) => {
    const [input, gamma, beta, save] = inputs as unknown as [
      tf.Tensor,
      tf.Tensor1D,
      tf.Tensor1D,
      (tensors: tf.Tensor[]) => void,
    ];
    const images = asImages(input);
    const operands = [images, gamma, beta, running.mean, running.variance];
    const fused = rectified && findRectifiedNorm();
    const [normalised, mean, variance, savedMean, savedVariance, reserve] = (
      fused
        ? rectifiedNorm(operands, rate, epsilon)
        : kernel(
            'FusedBatchNormV3',
            { ...attributes(true, epsilon), exponential_avg_factor: { type: 'float', value: rate } },
            operands,
            6,
          )
    ) as [tf.Tensor, tf.Tensor1D, tf.Tensor1D, tf.Tensor, tf.Tensor, tf.Tensor];
    const y = rectified && !fused ? kernel('Relu', float(), [normalised])[0]! : normalised;
    onAverages({ mean, variance });
    save([images, gamma, savedMean, savedVariance, reserve, ...(rectified ? [y] : [])]);
    return {
      value: shapedLike(y, input),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const positive = saved[5];
        const above = positive ? kernel('ReluGrad', float(), [asImages(dy), positive])[0]! : asImages(dy);
        const [dx, dGamma, dBeta] = kernel(
          'FusedBatchNormGradV3',
          attributes(true, epsilon),
          [above, ...saved.slice(0, 5)],
          5,
        ) as [tf.Tensor, tf.Tensor, tf.Tensor];
        return [shapedLike(dx, dy), dGamma, dBeta];
      },
    };
  });
  return normalise(x, scale, offset) as T;
}

/** Normalises by given statistics, each [C], which get no gradient; input, scale and offset do. */
export function batchNormInference<T extends tf.Tensor>(
  x: T,
  scale: tf.Tensor1D,
  offset: tf.Tensor1D,
  { mean, variance }: BatchStatistics,
  epsilon = BATCH_NORM_EPSILON,
): T {
  const normalise = tf.customGrad((...inputs) => {
    const [input, gamma, beta, save] = inputs as unknown as [
      tf.Tensor,
      tf.Tensor1D,
      tf.Tensor1D,
      (tensors: tf.Tensor[]) => void,
    ];
    const images = asImages(input);
    const [y, , , , , reserve] = kernel(
      'FusedBatchNormV3',
      { ...attributes(false, epsilon), exponential_avg_factor: { type: 'float', value: 1 } },
      [images, gamma, beta, mean, variance],
      6,
    ) as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
    save([images, gamma, reserve]);
    return {
      value: shapedLike(y, input),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const [dx, dGamma, dBeta] = kernel(
          'FusedBatchNormGradV3',
          attributes(false, epsilon),
          [asImages(dy), saved[0]!, saved[1]!, mean, variance, saved[2]!],
          5,
        ) as [tf.Tensor, tf.Tensor, tf.Tensor];
        return [shapedLike(dx, dy), dGamma, dBeta];
      },
    };
  });
  return normalise(x, scale, offset) as T;
}

/** A kernel of one input whose gradient is taken by its result. */
function differentiatedByResult<T extends tf.Tensor>(
  x: T,
  operation: string,
  gradient: string,
  attributes: Attributes,
): T {
  const apply = tf.customGrad((...inputs) => {
    const [input, save] = inputs as unknown as [tf.Tensor, (tensors: tf.Tensor[]) => void];
    const [y] = kernel(operation, attributes, [input]) as [tf.Tensor];
    save([y]);
    return {
      value: y,
      gradFunc: (dy: tf.Tensor, [result]: tf.Tensor[]) => kernel(gradient, attributes, [dy, result!])[0]!,
    };
  });
  return apply(x) as T;
}

/** max(x, 0) */
export const relu = <T extends tf.Tensor>(x: T): T => differentiatedByResult(x, 'Relu', 'ReluGrad', float());

/** x where it is above 0, else slope · x (Maas et al. 2013), for a slope above 0: the result has the sign of x. */
export const leakyRelu = <T extends tf.Tensor>(x: T, slope: number): T =>
  differentiatedByResult(x, 'LeakyRelu', 'LeakyReluGrad', { ...float(), alpha: { type: 'float', value: slope } });

/**
 * Mean over places [N, H, W, C] → [N, C]. Its gradient is spread by one kernel; tfjs's multiplies by an array of ones
 * made in JavaScript.
 */
export function meanOverPlaces(x: tf.Tensor4D): tf.Tensor2D {
  const mean = tf.customGrad((input) => {
    const [count, height, width, channels] = x.shape;
    return {
      value: tf.mean(input as tf.Tensor, [1, 2]),
      gradFunc: (dy: tf.Tensor) =>
        tf.tile(tf.reshape(tf.div(dy, height * width), [count, 1, 1, channels]), [1, height, width, 1]),
    };
  });
  return mean(x) as tf.Tensor2D;
}

/**
 * What `compute` gives, as a constant: nothing in it gets a gradient (the stop-gradient of BYOL and SimSiam). `x`
 * anchors it on the tape.
 */
export function withoutGradient<T extends tf.Tensor>(x: tf.Tensor, compute: (x: tf.Tensor) => T): T {
  const constant = tf.customGrad((input) => {
    const anchor = input as tf.Tensor;
    const { shape } = anchor;
    return { value: compute(anchor), gradFunc: () => tf.zeros(shape) };
  });
  return constant(x);
}

/** The rows of x at these indices, which tfjs's own operation would read. x: [M, …], indices: int32 [N] → [N, …] */
export const rowsAt = <T extends tf.Tensor>(x: T, indices: tf.Tensor1D): T =>
  kernel(
    'GatherV2',
    {
      Tparams: typeAttribute(x.dtype === 'int32' ? 'TF_INT32' : 'TF_FLOAT'),
      Tindices: typeAttribute('TF_INT32'),
      Taxis: typeAttribute('TF_INT32'),
      batch_dims: { type: 'int', value: 0 },
    },
    [x, indices, tf.scalar(0, 'int32')],
  )[0] as T;
