import type { Optimizer as OptimizerSpec, Schedule } from '#libs/contracts';
import { float, kernel, sumOf, typeAttribute } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import type { NamedWeight } from './networks/weights.js';

/**
 * Learning rate of a step, counted from 0 (SimCLR `WarmUpAndCosineDecay`): linear from 0 over the warm-up, then a half
 * cosine that is 0 at `totalSteps`; `constant` stays after the warm-up.
 */
export function learningRateAt(
  step: number,
  totalSteps: number,
  base: number,
  { name, warmupSteps }: Schedule,
): number {
  if (step < warmupSteps) return (base * step) / warmupSteps;
  if (name === 'constant') return base;
  const progress = (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps);
  return 0.5 * base * (1 + Math.cos(Math.PI * Math.min(1, progress)));
}

/** What is learnt how, for how long and from what. */
interface Training {
  optimizer: OptimizerSpec;
  schedule: Schedule;
  totalSteps: number;
  batchSize: number;
  /** Samples that are trained on; an epoch is as many whole batches as they fill. */
  rows: { readonly length: number };
}

/** The learning rate of each step as a spec says it: scaled with the batch, its warm-up in steps or epochs. */
export function learningRateOf(training: Training): (step: number) => number {
  const { optimizer, schedule, totalSteps, batchSize, rows } = training;
  const { warmupEpochs } = schedule;
  const factor = { none: 1, linear: batchSize / 256, sqrt: Math.sqrt(batchSize) }[optimizer.scaling ?? 'none'];
  const warmupSteps =
    warmupEpochs === undefined
      ? schedule.warmupSteps
      : Math.round(warmupEpochs * Math.max(1, Math.floor(rows.length / batchSize)));
  return (step) => learningRateAt(step, totalSteps, optimizer.learningRate * factor, { ...schedule, warmupSteps });
}

/** Biases and normalisation are neither decayed nor adapted: everything of one dimension. */
const isExcluded = (variable: tf.Tensor) => variable.rank <= 1;

/**
 * Least β₂ for TensorFlow's kernel of Adam. It computes v as v + (1 − β₂)(g² − v), which in float32 is off by 6e-8 of
 * the old v: all of the new one, where hardly anything of the old one stays and gradients shrink.
 */
const LEAST_MEMORY = 0.1;

/** Turns gradients into new weights. Its slots are part of a checkpoint. */
export interface Optimizer {
  /** Numbers that differ from step to step. Steps are counted from 0. */
  rates(learningRate: number, step: number): number[];
  /**
   * One update, of tensor operations only. `rates`: as scalars. The caller keeps the gradients, in the order of the
   * variables that the optimiser was made for.
   */
  apply(gradients: readonly tf.Tensor[], rates: readonly tf.Scalar[]): void;
  /** Everything it remembers, by name. */
  slots(): { key: string; variable: tf.Variable }[];
  dispose(): void;
}

function named(spec: OptimizerSpec, weights: readonly NamedWeight[], factors?: readonly number[]): Optimizer {
  switch (spec.name) {
    case 'adam':
      return new Adam(spec, weights, factors);
    case 'lars':
      return new Lars(spec, weights, factors);
    case 'sgd':
      return new Sgd(spec, weights, factors);
  }
}

/** Gradients times min(1, most / (norm + 1e-6)), where the norm is that of all together (PyTorch, clip_grad_norm_). */
function clippedByNorm(gradients: readonly tf.Tensor[], most: number): tf.Tensor[] {
  const squares = gradients.map((gradient) => tf.tidy(() => tf.sum<tf.Scalar>(tf.square(gradient))));
  const norm = tf.sqrt(sumOf(squares));
  const factor = tf.minimum(1, tf.div(most, tf.add(norm, 1e-6)));
  return gradients.map((gradient) => tf.mul(gradient, factor));
}

/** `factors`: of the learning rate, one for each weight; without them 1. */
export function createOptimizer(
  spec: OptimizerSpec,
  weights: readonly NamedWeight[],
  factors?: readonly number[],
): Optimizer {
  const optimizer = named(spec, weights, factors);
  const { clipNorm } = spec;
  if (clipNorm === undefined) return optimizer;
  const apply = optimizer.apply.bind(optimizer);
  optimizer.apply = (gradients, rates) => {
    tf.tidy(() => {
      apply(clippedByNorm(gradients, clipNorm), rates);
    });
  };
  return optimizer;
}

/**
 * Adam (Kingma and Ba 2015, algorithm 1, with bias correction); weight decay is decoupled (Loshchilov and Hutter 2019).
 */
class Adam implements Optimizer {
  private readonly m: tf.Variable[];
  private readonly v: tf.Variable[];

  constructor(
    private readonly spec: Extract<OptimizerSpec, { name: 'adam' }>,
    private readonly weights: readonly NamedWeight[],
    private readonly factors?: readonly number[],
  ) {
    const zeros = () => weights.map(({ variable }) => tf.tidy(() => tf.variable(tf.zerosLike(variable), false)));
    [this.m, this.v] = [zeros(), zeros()];
  }

  /**
   * p ← p − lr · m̂ / (√v̂ + ε) is p − r · m / (√v + e) with r = lr · √(1 − β₂ᵗ) / (1 − β₁ᵗ) and e = ε · √(1 − β₂ᵗ);
   * gives r, e, lr · weight decay.
   */
  rates(learningRate: number, step: number): number[] {
    const { beta1, beta2, epsilon, weightDecay } = this.spec;
    const t = step + 1;
    const correction = Math.sqrt(1 - beta2 ** t);
    return [(learningRate * correction) / (1 - beta1 ** t), epsilon * correction, learningRate * weightDecay];
  }

  apply(gradients: readonly tf.Tensor[], rates: readonly tf.Scalar[]): void {
    const { beta1, beta2, weightDecay } = this.spec;
    const [rate, epsilon, decay] = rates as [tf.Scalar, tf.Scalar, tf.Scalar];
    tf.tidy(() => {
      const betas = [tf.scalar(beta1), tf.scalar(beta2)] as const;
      this.weights.forEach(({ key, variable }, i) => {
        const [m, v, factor] = [this.m[i]!, this.v[i]!, this.factors?.[i] ?? 1];
        const scaled = (scalar: tf.Scalar) => (factor === 1 ? scalar : tf.mul<tf.Scalar>(scalar, factor));
        const start = weightDecay > 0 && !isExcluded(variable) ? tf.mul(variable, tf.sub(1, scaled(decay))) : variable;
        const update = beta2 < LEAST_MEMORY ? adamOperations : adamKernel;
        const updated = update(key, { p: start, m, v }, gradients[i]!, scaled(rate), betas, epsilon);
        [variable, m, v].forEach((each, j) => {
          each.assign(updated[j]!);
        });
      });
    });
  }

  slots() {
    const named = (name: string, variables: tf.Variable[]) =>
      variables.map((variable, i) => ({ key: `optimizer/${name}/${this.weights[i]!.key}`, variable }));
    return [...named('m', this.m), ...named('v', this.v)];
  }

  dispose(): void {
    tf.dispose([...this.m, ...this.v]);
  }
}

/**
 * m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; p ← p − rate · m / (√v + ε), of any one shape, in one pass over memory:
 * TensorFlow's kernel works on native variables, which live for this call. `key`: its own for each weight. Returns p,
 * m, v.
 */
function adamKernel(
  key: string,
  { p, m, v }: Record<'p' | 'm' | 'v', tf.Tensor>,
  g: tf.Tensor,
  rate: tf.Scalar,
  betas: readonly tf.Scalar[],
  epsilon: tf.Scalar,
): tf.Tensor[] {
  const dtype = typeAttribute('TF_FLOAT');
  const handles = Object.entries({ p, m, v }).map(([name, value]) => {
    const [handle] = kernel(
      'VarHandleOp',
      {
        container: { type: 'string', value: '' },
        shared_name: { type: 'string', value: `adam/${name}/${key}` },
        dtype,
        shape: { type: 'shape', value: value.shape },
      },
      [],
    ) as [tf.Tensor];
    kernel('AssignVariableOp', { dtype }, [handle, value], 0);
    return handle;
  });
  // The kernel would correct the bias by powers of β in float32, 1 − 0.999 among them: `rate` has it in it, and they
  // are 0.
  const corrected = tf.scalar(0);
  kernel(
    'ResourceApplyAdam',
    { ...float(), use_locking: { type: 'bool', value: false }, use_nesterov: { type: 'bool', value: false } },
    [...handles, corrected, corrected, rate, ...betas, epsilon, g],
    0,
  );
  const updated = handles.map((handle) => kernel('ReadVariableOp', { dtype }, [handle])[0]!);
  for (const handle of handles)
    kernel('DestroyResourceOp', { ignore_lookup_error: { type: 'bool', value: false } }, [handle], 0);
  return updated;
}

/** As `adamKernel`, by operations of their own: exact for any β. */
function adamOperations(
  _: string,
  { p, m, v }: Record<'p' | 'm' | 'v', tf.Tensor>,
  g: tf.Tensor,
  rate: tf.Scalar,
  [beta1, beta2]: readonly tf.Scalar[],
  epsilon: tf.Scalar,
): tf.Tensor[] {
  const blend = (old: tf.Tensor, beta: tf.Scalar, next: tf.Tensor) =>
    tf.add(tf.mul(old, beta), tf.mul(next, tf.sub(1, beta)));
  const [first, second] = [blend(m, beta1!, g), blend(v, beta2!, tf.square(g))];
  return [tf.sub(p, tf.div(tf.mul(first, rate), tf.add(tf.sqrt(second), epsilon))), first, second];
}

/** An optimiser that remembers a velocity of each weight: v ← m·v + …, and p moves against it. */
abstract class Momentum<Spec extends OptimizerSpec> implements Optimizer {
  private readonly velocities: tf.Variable[];

  constructor(
    protected readonly spec: Spec,
    private readonly weights: readonly NamedWeight[],
    private readonly factors?: readonly number[],
  ) {
    this.velocities = weights.map(({ variable }) => tf.tidy(() => tf.variable(tf.zerosLike(variable), false)));
  }

  rates(learningRate: number): number[] {
    return [learningRate];
  }

  apply(gradients: readonly tf.Tensor[], [learningRate]: readonly tf.Scalar[]): void {
    tf.tidy(() =>
      this.weights.forEach(({ variable }, i) => {
        const factor = this.factors?.[i] ?? 1;
        const rate = factor === 1 ? learningRate! : tf.mul<tf.Scalar>(learningRate!, factor);
        this.move(variable, this.velocities[i]!, gradients[i]!, rate);
      }),
    );
  }

  /** Assigns a weight and its velocity, inside a tidy. */
  protected abstract move(p: tf.Variable, velocity: tf.Variable, gradient: tf.Tensor, rate: tf.Scalar): void;

  slots() {
    return this.weights.map(({ key }, i) => ({ key: `optimizer/velocity/${key}`, variable: this.velocities[i]! }));
  }

  dispose(): void {
    tf.dispose(this.velocities);
  }
}

/**
 * LARS (You et al. 2017) as in SimCLR's `lars_optimizer.py`, with classic momentum: g ← g + wd·p; trust = η |p| / |g|
 * (1 where either norm is 0); v ← m·v + lr·trust·g; p ← p − v. Biases and normalisation get neither decay nor trust.
 */
class Lars extends Momentum<Extract<OptimizerSpec, { name: 'lars' }>> {
  protected move(p: tf.Variable, velocity: tf.Variable, gradient: tf.Tensor, rate: tf.Scalar): void {
    const { momentum, weightDecay, trustCoefficient } = this.spec;
    let scaled: tf.Tensor = tf.mul(gradient, rate);
    if (!isExcluded(p)) {
      const g = tf.add(gradient, tf.mul(p, weightDecay));
      const [pNorm, gNorm] = [tf.norm(p), tf.norm(g)];
      const trust = tf.where(
        tf.logicalAnd(tf.greater(pNorm, 0), tf.greater(gNorm, 0)),
        tf.div(tf.mul(pNorm, trustCoefficient), gNorm),
        tf.scalar(1),
      );
      scaled = tf.mul(g, tf.mul(trust, rate));
    }
    velocity.assign(tf.add(tf.mul(velocity, momentum), scaled));
    p.assign(tf.sub(p, velocity));
  }
}

/**
 * Stochastic gradient descent as PyTorch has it, without dampening: g ← g + wd·p; v ← m·v + g; p ← p − lr·v, or with
 * Nesterov's momentum p ← p − lr·(g + m·v). Biases and normalisation get no decay.
 */
class Sgd extends Momentum<Extract<OptimizerSpec, { name: 'sgd' }>> {
  protected move(p: tf.Variable, velocity: tf.Variable, gradient: tf.Tensor, rate: tf.Scalar): void {
    const { momentum, weightDecay, nesterov } = this.spec;
    const g = isExcluded(p) ? gradient : tf.add(gradient, tf.mul(p, weightDecay));
    const next = tf.add(tf.mul(velocity, momentum), g);
    velocity.assign(next);
    p.assign(tf.sub(p, tf.mul(nesterov ? tf.add(g, tf.mul(next, momentum)) : next, rate)));
  }
}
