import { UNLABELLED } from '#libs/contracts';
import { float, kernel, typeAttribute } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';

/**
 * Cosine of p and z, with its sign turned, as the mean over rows: −1 where all agree (SimSiam, Chen and He 2021, eq. 1;
 * BYOL's loss of a direction, Grill et al. 2020, eq. 2, is 2 + 2 times this). Give `z` without gradient. p, z: [N, D]
 */
export const negativeCosine = (p: tf.Tensor2D, z: tf.Tensor2D): tf.Scalar =>
  tf.neg(tf.mean(tf.sum(tf.mul(unitRows(p), unitRows(z)), 1)));

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

/**
 * Mean over rows of the cross-entropy of softmax against targets that get no gradient, each row a distribution, by the
 * kernel that gives losses and slopes in one pass. logits, targets: [N, C]
 */
export function softCrossEntropy(logits: tf.Tensor2D, targets: tf.Tensor2D): tf.Scalar {
  const mean = tf.customGrad((...inputs) => {
    const [x, save] = inputs as unknown as [tf.Tensor2D, (tensors: tf.Tensor[]) => void];
    const [losses, slopes] = kernel('SoftmaxCrossEntropyWithLogits', float(), [x, targets], 2) as [
      tf.Tensor1D,
      tf.Tensor2D,
    ];
    save([slopes]);
    return {
      value: tf.mean(losses),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => tf.mul(saved[0]!, tf.div(dy, x.shape[0])),
    };
  });
  return mean(logits) as tf.Scalar;
}

/** Mean over rows of log Σ e^x. logits: [N, C] */
export function meanLogSumExp(logits: tf.Tensor2D): tf.Scalar {
  // tfjs's gradient of a sum multiplies by an array of ones that it makes in JavaScript.
  const mean = tf.customGrad((...inputs) => {
    const [x, save] = inputs as unknown as [tf.Tensor2D, (tensors: tf.Tensor[]) => void];
    save([tf.softmax(x)]);
    return {
      value: tf.mean(tf.logSumExp(x, 1)),
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
