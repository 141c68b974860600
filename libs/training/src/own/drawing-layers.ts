/**
 * Layers that draw while they learn, from the step's seed: tfjs's own draw from JavaScript, which neither a compiled
 * step nor a resumed run draws alike. Names and settings are tfjs's, where it has them, so that a saved model loads
 * there; at inference each gives what it gets.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import { only } from '../networks/layers.js';
import { drawInStep, drawNormalInStep } from '../networks/step-seed.js';

/** Of one setting, by which it draws. */
abstract class DrawingLayer extends layers.layers.Layer {
  readonly draws: boolean;

  protected constructor(
    config: { name: string },
    protected readonly amount: number,
  ) {
    super(config);
    this.draws = amount > 0;
  }

  /** x as it is while it learns. Undefined outside of a step. */
  protected abstract drawn(x: tf.Tensor): tf.Tensor | undefined;

  override call(inputs: tf.Tensor | tf.Tensor[], { training = false }: { training?: boolean }): tf.Tensor {
    return tf.tidy(() => {
      const x = only(inputs);
      return (training && this.draws && this.trainable ? this.drawn(x) : undefined) ?? tf.clone(x);
    });
  }
}

/** How often something is left out. @throws Error outside of [0, 1) */
function requireRate(rate: number): number {
  if (rate >= 0 && rate < 1) return rate;
  throw new Error(`expected a rate of at least 0 and below 1, got ${JSON.stringify(rate)}`);
}

interface OfRate {
  name: string;
  rate: number;
}
abstract class RateLayer extends DrawingLayer {
  constructor({ rate, ...config }: OfRate) {
    super(config, requireRate(rate));
  }

  override getConfig() {
    return { ...super.getConfig(), rate: this.amount };
  }
}

/** A number is left out `rate` of the time, and otherwise as much more (Srivastava et al. 2014). */
export class Dropout extends RateLayer {
  static className = 'Dropout';

  /** Numbers of a draw: one for each number of x. */
  protected shapeOfDraw({ shape }: tf.Tensor): number[] {
    return shape;
  }

  protected drawn(x: tf.Tensor): tf.Tensor | undefined {
    const numbers = drawInStep(this.shapeOfDraw(x));
    return numbers && tf.mul(x, tf.div(tf.cast(tf.greaterEqual(numbers, this.amount), 'float32'), 1 - this.amount));
  }

  override getConfig() {
    return { ...super.getConfig(), noiseShape: null, seed: null };
  }
}

/** Leaves out whole channels: of rows [N, T, C], or of maps [N, h, w, C]. */
export class SpatialDropout1D extends Dropout {
  static override className = 'SpatialDropout1D';

  protected override shapeOfDraw({ shape }: tf.Tensor): number[] {
    return shape.map((side, axis) => (axis === 0 || axis === shape.length - 1 ? side : 1));
  }
}
/** Of maps. tfjs has no such layer: files that are written for it go without. */
export class SpatialDropout2D extends SpatialDropout1D {
  static override className = 'SpatialDropout2D';
}

/** Multiplies by numbers about 1, whose variance is that of a dropout (Srivastava et al. 2014, 10). */
export class GaussianDropout extends RateLayer {
  static className = 'GaussianDropout';

  protected drawn(x: tf.Tensor): tf.Tensor | undefined {
    const numbers = drawNormalInStep(x.shape);
    return numbers && tf.mul(x, tf.add(tf.mul(numbers, Math.sqrt(this.amount / (1 - this.amount))), 1));
  }
}

/** What SELU gives of numbers far below 0: -1.0507… · 1.6732… */
const SATURATION = -1.7580993408473766;

/** A dropout that keeps mean and variance of what SELU gives (Klambauer et al. 2017, 3). */
export class AlphaDropout extends RateLayer {
  static className = 'AlphaDropout';

  protected drawn(x: tf.Tensor): tf.Tensor | undefined {
    const numbers = drawInStep(x.shape);
    if (!numbers) return undefined;
    const kept = tf.cast(tf.greaterEqual(numbers, this.amount), 'float32');
    const scale = ((1 - this.amount) * (1 + this.amount * SATURATION ** 2)) ** -0.5;
    const mixed = tf.add(tf.mul(x, kept), tf.mul(tf.sub(1, kept), SATURATION));
    return tf.add(tf.mul(mixed, scale), -scale * SATURATION * this.amount);
  }
}

/** Adds normally distributed numbers. */
export class GaussianNoise extends DrawingLayer {
  static className = 'GaussianNoise';

  constructor({ stddev, ...config }: { name: string; stddev: number }) {
    if (!(stddev >= 0)) throw new Error(`expected a stddev of at least 0, got ${JSON.stringify(stddev)}`);
    super(config, stddev);
  }

  protected drawn(x: tf.Tensor): tf.Tensor | undefined {
    const numbers = drawNormalInStep(x.shape);
    return numbers && tf.add(x, tf.mul(numbers, this.amount));
  }

  override getConfig() {
    return { ...super.getConfig(), stddev: this.amount };
  }
}
