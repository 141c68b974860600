import { UNLABELLED, type Pretrain } from '#libs/contracts';
import { float, kernel, typeAttribute } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';

/** Far below any logit: a view is never its own negative. */
const SELF = -1e9;

/**
 * NT-Xent, the loss of SimCLR (Chen et al. 2020, eq. 1), as the mean over all 2N views (lightly, solo-learn; the
 * reference code of SimCLR gives the sum of both halves' means, twice this). z: [2N, D], views of the same image at
 * rows i and i + N; rows are normalised here. `accuracy` is how often the other view of an image is the most similar of
 * all 2N − 1.
 */
export function ntXent(z: tf.Tensor2D, temperature: number): { loss: tf.Scalar; accuracy: tf.Scalar } {
  const views = z.shape[0];
  const half = views / 2;
  if (!Number.isInteger(half)) throw new RangeError(`expected two views of each image, got ${views} rows`);
  const unit = unitRows(z);
  // logits: [2N, 2N]
  const itself = tf.oneHot(tf.range(0, views, 1, 'int32'), views, SELF, 0, 'float32');
  const logits = tf.add<tf.Tensor2D>(tf.div(tf.matMul(unit, unit, false, true), temperature), itself);
  const partner = Int32Array.from({ length: views }, (_, i) => (i + half) % views);
  return { loss: crossEntropy(logits, partner), accuracy: accuracyOf(logits, partner) };
}

/**
 * Cosine of p and z, with its sign turned, as the mean over rows: −1 where all agree (SimSiam, Chen and He 2021, eq. 1;
 * BYOL's loss of a direction, Grill et al. 2020, eq. 2, is 2 + 2 times this). Give `z` without gradient. p, z: [N, D]
 */
export const negativeCosine = (p: tf.Tensor2D, z: tf.Tensor2D): tf.Scalar =>
  tf.neg(tf.mean(tf.sum(tf.mul(unitRows(p), unitRows(z)), 1)));

const NORMALISATION_EPSILON = 1e-5;

/**
 * Barlow Twins (Zbontar et al. 2021, eq. 1; main.py): the cross-correlation of both views, normalised over the batch
 * with the biased variance, is to be the identity. `scale` is the whole loss's. a, b: [N, D], views of the same images.
 */
export function barlowTwins(
  a: tf.Tensor2D,
  b: tf.Tensor2D,
  { lambda, scale }: Pretrain['barlowTwins'],
): { loss: tf.Scalar; on_diagonal: tf.Scalar; off_diagonal: tf.Scalar } {
  const [count, width] = a.shape;
  // c: [D, D]
  const c = tf.div(tf.matMul(normalisedColumns(a), normalisedColumns(b), true), count);
  const itself = tf.eye(width);
  const onDiagonal = tf.sum<tf.Scalar>(tf.square(tf.mul(tf.sub(c, 1), itself)));
  const offDiagonal = tf.sum<tf.Scalar>(tf.square(tf.mul(c, tf.sub(1, itself))));
  return {
    loss: tf.mul(tf.add(onDiagonal, tf.mul(offDiagonal, lambda)), scale),
    on_diagonal: onDiagonal,
    off_diagonal: offDiagonal,
  };
}

function normalisedColumns(x: tf.Tensor2D): tf.Tensor2D {
  const { mean, variance } = tf.moments(x, 0);
  return tf.div(tf.sub(x, mean), tf.sqrt(tf.add(variance, NORMALISATION_EPSILON)));
}

const VARIANCE_EPSILON = 1e-4;

/**
 * VICReg (Bardes et al. 2022; main_vicreg.py, which halves the variance term over the views, where solo-learn does
 * not): views agree (invariance), each dimension keeps a standard deviation of at least 1 (variance), and dimensions
 * are uncorrelated (covariance). a, b: [N, D], views of the same images.
 */
export function vicreg(
  a: tf.Tensor2D,
  b: tf.Tensor2D,
  weights: Pretrain['vicreg'],
): { loss: tf.Scalar; invariance: tf.Scalar; variance: tf.Scalar; covariance: tf.Scalar } {
  const [count, width] = a.shape;
  const invariance = meanSquaredError(a, b);
  const offDiagonal = tf.sub(1, tf.eye(width));
  const [spreadA, spreadB] = [a, b].map((z) => {
    const centred = tf.sub(z, tf.mean(z, 0, true));
    const deviation = tf.sqrt(tf.add(tf.div(tf.sum(tf.square(centred), 0), count - 1), VARIANCE_EPSILON));
    const covariances = tf.div(tf.matMul(centred, centred, true), count - 1);
    return {
      hinge: tf.mean<tf.Scalar>(tf.relu(tf.sub(1, deviation))),
      covariance: tf.div<tf.Scalar>(tf.sum(tf.square(tf.mul(covariances, offDiagonal))), width),
    };
  }) as [{ hinge: tf.Scalar; covariance: tf.Scalar }, { hinge: tf.Scalar; covariance: tf.Scalar }];
  const variance = tf.div<tf.Scalar>(tf.add(spreadA.hinge, spreadB.hinge), 2);
  const covariance = tf.add<tf.Scalar>(spreadA.covariance, spreadB.covariance);
  const loss = tf.addN<tf.Scalar>([
    tf.mul(invariance, weights.invariance),
    tf.mul(variance, weights.variance),
    tf.mul(covariance, weights.covariance),
  ]);
  return { loss, invariance, variance, covariance };
}

/**
 * Cross-entropy of the student's softmax against the teacher's, both at a temperature, as the mean over rows (SimCLRv2,
 * eq. 2; the official notebook multiplies by temperature², which we do not: it only changes the learning rate). Logits:
 * [N, C]
 */
export function distillation(teacher: tf.Tensor2D, student: tf.Tensor2D, temperature: number): tf.Scalar {
  const target = tf.softmax(tf.div(teacher, temperature));
  return tf.neg(tf.mean(tf.sum(tf.mul(target, tf.logSoftmax<tf.Tensor2D>(tf.div(student, temperature))), 1)));
}

/**
 * KL divergence of N(mean, e^logVariance) from N(0, 1): summed over dimensions, mean over rows (Kingma and Welling
 * 2014, appendix B). [N, L]
 */
export const klDivergence = (mean: tf.Tensor2D, logVariance: tf.Tensor2D): tf.Scalar =>
  tf.mul(
    tf.mean<tf.Scalar>(tf.sum(tf.sub(tf.add(tf.square(mean), tf.exp(logVariance)), tf.add(logVariance, 1)), 1)),
    0.5,
  );

/** Rows scaled to length 1; a row of zeros stays one, and its gradient is finite: 1e12 times the result's. */
export function unitRows(z: tf.Tensor2D): tf.Tensor2D {
  // The root's slope is infinite at 0: it is taken of what is above.
  const squares = tf.maximum(tf.sum(tf.square(z), 1, true), 1e-30);
  return tf.div(z, tf.maximum(tf.sqrt(squares), 1e-12));
}

/** A class for each row [N]: as int32 where it is a tensor. */
type Labels = tf.Tensor1D | Int32Array;
const asTensor = (labels: Labels): tf.Tensor1D => (labels instanceof tf.Tensor ? labels : tf.tensor1d(labels, 'int32'));

/**
 * Mean over rows of −log softmax at the label, by the kernel that gives losses and slopes in one pass. logits: [N, C]
 */
export function crossEntropy(logits: tf.Tensor2D, labels: Labels): tf.Scalar {
  const mean = tf.customGrad((...inputs) => {
    const [x, save] = inputs as unknown as [tf.Tensor2D, (tensors: tf.Tensor[]) => void];
    const [losses, slopes] = kernel(
      'SparseSoftmaxCrossEntropyWithLogits',
      { ...float(), Tlabels: typeAttribute('TF_INT32') },
      [x, asTensor(labels)],
      2,
    ) as [tf.Tensor1D, tf.Tensor2D];
    save([slopes]);
    return {
      value: tf.mean(losses),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => tf.mul(saved[0]!, tf.div(dy, x.shape[0])),
    };
  });
  return mean(logits) as tf.Scalar;
}

/** Fraction of rows whose largest logit is the label's. */
export const accuracyOf = (logits: tf.Tensor2D, labels: Labels): tf.Scalar =>
  tf.mean<tf.Scalar>(tf.cast(tf.equal(tf.argMax(logits, 1), asTensor(labels)), 'float32'));

/**
 * Mean of −log softmax at each pixel's class over the pixels of the batch that have one; 0, without a gradient, where
 * none has. logits: [N, H, W, C], masks: int32 [N, H, W], each `UNLABELLED` or below C. One kernel gives losses and
 * slopes: at this size every pass over the logits counts.
 */
export function pixelCrossEntropy(logits: tf.Tensor4D, masks: tf.Tensor3D): tf.Scalar {
  const classes = logits.shape[3];
  const mean = tf.customGrad((...inputs) => {
    const [x, save] = inputs as unknown as [tf.Tensor4D, (tensors: tf.Tensor[]) => void];
    const pixels = tf.reshape(masks, [-1]);
    const isLabelled = tf.notEqual(pixels, UNLABELLED);
    const counted = tf.cast(isLabelled, 'float32');
    // share: [N·H·W], 1 / labelled pixels, or 0.
    const share = tf.div(counted, tf.maximum(tf.sum(counted), 1));
    const [losses, slopes] = kernel(
      'SparseSoftmaxCrossEntropyWithLogits',
      { ...float(), Tlabels: typeAttribute('TF_INT32') },
      [tf.reshape(x, [-1, classes]), tf.where(isLabelled, pixels, tf.zerosLike(pixels))],
      2,
    ) as [tf.Tensor1D, tf.Tensor2D];
    save([slopes, share]);
    return {
      value: tf.sum(tf.mul(losses, share)),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) =>
        tf.reshape(tf.mul(saved[0]!, tf.expandDims(tf.mul(saved[1]!, dy), 1)), [...masks.shape, classes]),
    };
  });
  return mean(logits) as tf.Scalar;
}

/** Mean over all numbers of the squared difference. */
export function meanSquaredError(a: tf.Tensor, b: tf.Tensor): tf.Scalar {
  // tfjs's gradient of a mean multiplies by an array of ones that it makes in JavaScript.
  const mean = tf.customGrad((...inputs) => {
    const [x, y, save] = inputs as unknown as [tf.Tensor, tf.Tensor, (tensors: tf.Tensor[]) => void];
    const difference = tf.sub(x, y);
    save([difference]);
    return {
      value: tf.mean(tf.square(difference)),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const slope = tf.mul(saved[0]!, tf.mul(dy, 2 / a.size));
        return [slope, tf.neg(slope)];
      },
    };
  });
  return mean(a, b) as tf.Scalar;
}
