import type { Optimizer as OptimizerSpec, Schedule } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import type { NamedWeight } from './networks.js';

/**
 * Learning rate of a step, counted from 0 (SimCLR `WarmUpAndCosineDecay`): linear from 0 over the warm-up, then a half cosine
 * that is 0 at `totalSteps`; `constant` stays after the warm-up.
 */
export function learningRateAt(step: number, totalSteps: number, base: number, { name, warmupSteps }: Schedule): number {
  if (step < warmupSteps) return (base * step) / warmupSteps;
  if (name === 'constant') return base;
  const progress = (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps);
  return 0.5 * base * (1 + Math.cos(Math.PI * Math.min(1, progress)));
}

/** Biases and normalisation are neither decayed nor adapted: everything of one dimension. */
const isExcluded = (variable: tf.Tensor) => variable.rank <= 1;

/** As one row of numbers. */
const flat = (x: tf.Tensor): tf.Tensor1D => (x.rank === 1 ? x as tf.Tensor1D : tf.reshape(x, [-1]));

/** Turns gradients into new weights. Its slots are part of a checkpoint. */
export interface Optimizer {
  /** Numbers that differ from step to step, for the next one. */
  rates(learningRate: number): number[];
  /**
   * One update, of tensor operations only. `rates`: as scalars. The caller keeps the gradients, in the order of the variables that
   * the optimiser was made for.
   */
  apply(gradients: readonly tf.Tensor[], rates: readonly tf.Scalar[]): void;
  /** Everything it remembers, by name. */
  slots(): { key: string; variable: tf.Variable }[];
  /** What it reads beside, which never changes. */
  readonly constants: readonly tf.Variable[];
  dispose(): void;
}

/** `factors`: of the learning rate, one for each weight; without them 1. */
export function createOptimizer(spec: OptimizerSpec, weights: readonly NamedWeight[], factors?: readonly number[]): Optimizer {
  return spec.name === 'adam' ? new Adam(spec, weights, factors) : new Lars(spec, weights, factors);
}

/**
 * Adam (Kingma and Ba 2015, algorithm 1, with bias correction); weight decay is decoupled (Loshchilov and Hutter 2019). All
 * weights are one vector here, because the cost of small operations would otherwise be that of the step.
 */
class Adam implements Optimizer {
  readonly constants: readonly tf.Variable[];
  private readonly sizes: number[];
  private readonly m: tf.Variable<tf.Rank.R1>;
  private readonly v: tf.Variable<tf.Rank.R1>;
  private readonly steps: tf.Variable;
  private readonly decayed: tf.Variable<tf.Rank.R1> | undefined;
  private readonly factors: tf.Variable<tf.Rank.R1> | undefined;

  constructor(private readonly spec: Extract<OptimizerSpec, { name: 'adam' }>, private readonly weights: readonly NamedWeight[], factors?: readonly number[]) {
    this.sizes = weights.map(({ variable }) => variable.size);
    const total = this.sizes.reduce((sum, size) => sum + size, 0);
    this.m = tf.tidy(() => tf.variable(tf.zeros<tf.Rank.R1>([total]), false));
    this.v = tf.tidy(() => tf.variable(tf.zeros<tf.Rank.R1>([total]), false));
    this.steps = tf.tidy(() => tf.variable(tf.scalar(0), false));
    const spread = (valueOf: (variable: tf.Variable, i: number) => number) => tf.tidy(() => tf.variable(tf.concat1d(weights.map(({ variable }, i) => tf.fill<tf.Rank.R1>([variable.size], valueOf(variable, i)))), false));
    this.decayed = spec.weightDecay > 0 ? spread((variable) => (isExcluded(variable) ? 0 : 1)) : undefined;
    this.factors = factors && spread((_, i) => factors[i]!);
    this.constants = [this.decayed, this.factors].filter((constant) => constant !== undefined);
  }

  /** lr / (1 − β₁ᵗ), √(1 − β₂ᵗ), lr · weight decay */
  rates(learningRate: number): number[] {
    const { beta1, beta2, weightDecay } = this.spec;
    const t = this.steps.dataSync()[0]! + 1;
    return [learningRate / (1 - beta1 ** t), Math.sqrt(1 - beta2 ** t), learningRate * weightDecay];
  }

  apply(gradients: readonly tf.Tensor[], rates: readonly tf.Scalar[]): void {
    const { beta1, beta2, epsilon } = this.spec;
    const [rate, correction, decay] = rates as [tf.Scalar, tf.Scalar, tf.Scalar];
    tf.tidy(() => {
      const g = tf.concat1d(gradients.map(flat));
      this.steps.assign(tf.add(this.steps, 1));
      this.m.assign(tf.add(tf.mul(this.m, beta1), tf.mul(g, 1 - beta1)));
      this.v.assign(tf.add(tf.mul(this.v, beta2), tf.mul(tf.square(g), 1 - beta2)));
      // p ← p − lr · m̂ / (√v̂ + ε), the two corrections folded into scalars.
      const denominator = tf.add(tf.div(tf.sqrt(this.v), correction), epsilon);
      let update: tf.Tensor1D = tf.div(tf.mul(this.m, rate), denominator);
      if (this.decayed) {
        const p = tf.concat1d(this.weights.map(({ variable }) => flat(variable)));
        update = tf.add(update, tf.mul(tf.mul(p, this.decayed), decay));
      }
      if (this.factors) update = tf.mul(update, this.factors);
      const parts = tf.split(update, this.sizes);
      this.weights.forEach(({ variable }, i) => {
        const part = variable.rank === 1 ? parts[i]! : tf.reshape(parts[i]!, variable.shape);
        variable.assign(tf.sub(variable, part));
      });
    });
  }

  slots() {
    return [{ key: 'optimizer/m', variable: this.m }, { key: 'optimizer/v', variable: this.v }, { key: 'optimizer/steps', variable: this.steps }];
  }

  dispose(): void {
    tf.dispose([this.m, this.v, this.steps]);
    this.decayed?.dispose();
    this.factors?.dispose();
  }
}

/**
 * LARS (You et al. 2017) as in SimCLR's `lars_optimizer.py`, with classic momentum: g ← g + wd·p; trust = η |p| / |g| (1 where
 * either norm is 0); v ← m·v + lr·trust·g; p ← p − v. Biases and normalisation get neither decay nor trust.
 */
class Lars implements Optimizer {
  readonly constants = [];
  private readonly velocities: tf.Variable[];

  constructor(private readonly spec: Extract<OptimizerSpec, { name: 'lars' }>, private readonly weights: readonly NamedWeight[], private readonly factors?: readonly number[]) {
    this.velocities = weights.map(({ variable }) => tf.tidy(() => tf.variable(tf.zerosLike(variable), false)));
  }

  rates(learningRate: number): number[] { return [learningRate]; }

  apply(gradients: readonly tf.Tensor[], [learningRate]: readonly tf.Scalar[]): void {
    const { momentum, weightDecay, trustCoefficient } = this.spec;
    tf.tidy(() => this.weights.forEach(({ variable }, i) => {
      const velocity = this.velocities[i]!;
      const factor = this.factors?.[i] ?? 1;
      const rate = factor === 1 ? learningRate! : tf.mul<tf.Scalar>(learningRate!, factor);
      let scaled: tf.Tensor = tf.mul(gradients[i]!, rate);
      if (!isExcluded(variable)) {
        const g = tf.add(gradients[i]!, tf.mul(variable, weightDecay));
        const [pNorm, gNorm] = [tf.norm(variable), tf.norm(g)];
        const trust = tf.where(tf.logicalAnd(tf.greater(pNorm, 0), tf.greater(gNorm, 0)), tf.div(tf.mul(pNorm, trustCoefficient), gNorm), tf.scalar(1));
        scaled = tf.mul(g, tf.mul(trust, rate));
      }
      velocity.assign(tf.add(tf.mul(velocity, momentum), scaled));
      variable.assign(tf.sub(variable, velocity));
    }));
  }

  slots() {
    return this.weights.map(({ key }, i) => ({ key: `optimizer/velocity/${key}`, variable: this.velocities[i]! }));
  }

  dispose(): void {
    tf.dispose(this.velocities);
  }
}
