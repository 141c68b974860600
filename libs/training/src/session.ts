/** The loop that all training runs share: steps, curves, evaluation, checkpoints, and stopping in between. */
import type { ArtifactKind, LogLevel, MetricPoint, RunResult, StatusReason, StopReason } from '#libs/contracts';
import { BatchCursor, Random, type BatchCursorState, type RandomState } from '#libs/data';
import { floats, integers, type HostTensor } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import path from 'node:path';
import { CompiledStep } from './compiled-step.js';
import { assignTensors, CheckpointError, readTensors, writeTensors } from './checkpoint.js';
import { turn } from './evaluation.js';
import { drawsInSteps, withStepSeed } from './networks/step-seed.js';
import { weightsOf, type NamedWeight } from './networks/weights.js';
import { createOptimizer, learningRateOf, type Optimizer } from './optimizers.js';
import { inFloat32, sealed } from './precision.js';
import type { Recipe, Terms } from './recipe.js';
import { WeightAverages } from './weight-averages.js';

/** What training needs of the world around it. */
export interface TrainContext {
  /** Aborted with a `StopReason`. */
  signal: AbortSignal;
  workDir: string;
  checkpointEverySeconds: number;
  /** Stops (`rung`) when the evaluation of this step, or the first after it, is done; not at the last step. */
  stopAtStep?: number | null;
  progress(step: number, totalSteps: number): void;
  metrics(points: MetricPoint[]): void;
  log(level: LogLevel, message: string): void;
  /** Hands a finished file over; resolves when it is durable. */
  store(file: { name: string; kind: ArtifactKind; mime: string; path: string; step: number | null }): Promise<void>;
}

/** Training ended because it was asked to. Unless the reason is `cancel`, a checkpoint of this step was stored. */
export class Stopped extends Error {
  constructor(
    readonly reason: StopReason,
    readonly step: number,
  ) {
    super(`stopped at step ${step}: ${reason}`);
    this.name = 'Stopped';
  }
}

/** Why training can't go on; `reason` is the run's status reason. */
export class TrainingError extends Error {
  constructor(
    readonly reason: StatusReason,
    message: string,
  ) {
    super(message);
    this.name = 'TrainingError';
  }
}

const MIME = 'application/octet-stream';
/** A curve has at least this many points, where the run has the steps. */
const CURVE_POINTS = 500;
const WIDEST_LOG_INTERVAL = 10;

/** What a checkpoint holds beside its tensors. */
interface SessionState {
  step: number;
  cursor: BatchCursorState;
  views: RandomState;
  /** The evaluation after this step was broken off by a stop. */
  evaluationDue: boolean;
  last: Record<string, number>;
  /** Quality of the best evaluation so far. */
  best?: number;
  /** The step of the newest checkpoint that is not only the best. */
  stored?: number;
}

/** What a step takes of samples and randomness, drawn ahead of it, and where both stood before. */
interface Drawn {
  inputs: HostTensor[];
  cursor: () => BatchCursorState;
  views: RandomState;
}

/** Shows that the run lives, and lets messages in. @throws Stopped when the run is to stop; nothing is stored here. */
export async function breathe({ signal, progress }: TrainContext, step: number, totalSteps: number): Promise<void> {
  progress(step, totalSteps);
  await turn();
  if (signal.aborted) throw new Stopped(signal.reason as StopReason, step);
}

/** What a step gives. `isUpdated`: whether this session has changed a weight before. */
function requireFinite(values: Record<string, number>, step: number, isUpdated: boolean): void {
  const advice = isUpdated
    ? 'lower the learning rate or lengthen the warm-up'
    : 'no weight has been changed before, so the learning rate is not the cause; look at the weights and ' +
      'temperatures of the loss, at the samples, and at the weights that training starts from';
  for (const [name, value] of Object.entries(values)) {
    if (!Number.isFinite(value))
      throw new TrainingError('nan_loss', `expected a finite ${name} at step ${step}, got ${value}: ${advice}`);
  }
}

/** @throws TrainingError naming the first weight that holds what is no number. */
function requireFiniteWeights(weights: readonly NamedWeight[], step: number): void {
  for (const { key, variable } of weights) {
    const wrong = variable.dataSync().find((value) => !Number.isFinite(value));
    if (wrong !== undefined)
      throw new TrainingError(
        'nan_loss',
        `expected finite weights at step ${step}, got ${wrong} in ${key}: lower the learning rate or lengthen the ` +
          'warm-up',
      );
  }
}

/** The metrics that are numbers. Others are not defined for what was judged, which is logged, but for those `known`. */
export function definedMetrics(
  values: Record<string, number>,
  { log }: Pick<TrainContext, 'log'>,
  known = new Set<string>(),
): Record<string, number> {
  return Object.fromEntries(
    Object.entries(values).filter(([name, value]) => {
      if (Number.isFinite(value)) return true;
      if (!known.has(name)) log('warn', `${name} is left out: it is not defined for what was judged (${value})`);
      known.add(name);
      return false;
    }),
  );
}

/** One run's training state: weights, optimiser, order of the data, randomness of the views. */
export class Session<Batch extends tf.Tensor[]> {
  private readonly weights: NamedWeight[];
  private readonly trainable: NamedWeight[];
  private readonly optimizer: Optimizer;
  private readonly averages: WeightAverages | undefined;
  private readonly learningRateOf: (step: number) => number;
  private readonly compiled: CompiledStep;
  private readonly cursor: BatchCursor;
  private views: Random;
  /** For the next step, while the one before runs. */
  private ahead: Drawn | undefined;
  /** Whether layers draw while they learn: then each step gets a seed. */
  private readonly isSeeded: boolean;
  private step = 0;
  private evaluationDue: boolean;
  private last: Record<string, number> = {};
  private best = -Infinity;
  private stored = 0;
  private hasUpdated = false;
  /** Metrics of evaluations that are not defined for the samples, and were logged. */
  private readonly leftOut = new Set<string>();
  /** When the next checkpoint is due, on the clock of `performance.now()`. */
  private checkpointAt = Infinity;
  /** Steps since the metrics' clock was started: evaluations and checkpoints don't count as training. */
  private timed = { since: 0, steps: 0 };

  constructor(
    private readonly recipe: Recipe<Batch>,
    private readonly context: TrainContext,
  ) {
    const trained = weightsOf(...recipe.models);
    this.weights = [...trained, ...weightsOf(...(recipe.followers ?? []))];
    this.trainable = trained.filter(({ trainable }) => trainable);
    const factors = recipe.rateOf && this.trainable.map(recipe.rateOf);
    this.optimizer = createOptimizer(recipe.optimizer, this.trainable, factors);
    this.averages = recipe.ema && new WeightAverages(trained, recipe.ema.decay);
    this.learningRateOf = learningRateOf(recipe);
    const state = [...this.variables(), ...weightsOf(...(recipe.frozen ?? []))].map(({ variable }) => variable);
    const [ofOptimizer, ofRecipe] = [this.optimizer.rates(0, 0).length, recipe.rates?.(0).length ?? 0];
    this.isSeeded = drawsInSteps(recipe.models);
    this.compiled = new CompiledStep((inputs) => this.update(inputs, ofOptimizer, ofRecipe), state, recipe.precision);
    this.cursor = new BatchCursor(recipe.rows, recipe.batchSize, Random.seeded(recipe.seed, 'order'));
    this.views = Random.seeded(recipe.seed, 'views');
    this.evaluationDue = recipe.evaluateAtStart;
  }

  /**
   * Trains to the end, from a checkpoint where one is given; then averages, where there are any, are the weights.
   * Returns the last value of each metric.
   */
  async run(checkpoint: string | undefined): Promise<RunResult['metrics']> {
    const { recipe, context } = this;
    const { totalSteps, evaluateEvery } = recipe;
    if (checkpoint) {
      await this.restore(checkpoint);
      context.log('info', `going on from the checkpoint of step ${this.step}`);
    }
    this.awaitCheckpoint();
    this.startTiming();
    try {
      for (;;) {
        await breathe(context, this.step, totalSteps);
        if (this.evaluationDue) await this.evaluate();
        if (this.step === totalSteps) {
          this.averages?.replace();
          return this.last;
        }
        if (context.stopAtStep && this.step >= context.stopAtStep && this.step % evaluateEvery === 0)
          throw new Stopped('rung', this.step);
        if (this.checkpointDue()) {
          await this.checkpoint();
          this.awaitCheckpoint();
          this.startTiming();
        }
        await this.advance();
        this.evaluationDue = this.step % evaluateEvery === 0 || this.step === totalSteps;
      }
    } catch (error) {
      if (error instanceof Stopped && error.reason !== 'cancel') await this.checkpoint();
      throw error;
    }
  }

  get stepsDone(): number {
    return this.step;
  }

  /** For what comes after the last step: shows that the run lives, and lets messages in. @throws Stopped */
  breathe(): Promise<void> {
    return breathe(this.context, this.step, this.recipe.totalSteps);
  }

  private awaitCheckpoint(): void {
    this.checkpointAt = performance.now() + this.context.checkpointEverySeconds * 1000;
  }

  private startTiming(): void {
    this.timed = { since: performance.now(), steps: 0 };
  }

  private checkpointDue(): boolean {
    const { everySteps = null } = this.recipe.checkpoints ?? {};
    return (
      performance.now() > this.checkpointAt ||
      (everySteps !== null && this.step % everySteps === 0 && this.step > this.stored)
    );
  }

  /** Evaluates, and stores a checkpoint of the best so far where that is asked for. */
  private async evaluate(): Promise<void> {
    const { recipe } = this;
    const { keepBest = false } = recipe.checkpoints ?? {};
    this.compiled.settle();
    const judge = () => recipe.evaluate(() => this.breathe());
    const judged = await (this.averages ? this.averages.whileReplaced(judge) : judge());
    if (!Object.values(judged).every(Number.isFinite)) requireFiniteWeights(this.weights, this.step);
    const values = definedMetrics(judged, this.context, this.leftOut);
    this.report(values);
    this.evaluationDue = false;
    const quality = values[recipe.quality];
    if (keepBest && quality !== undefined && quality > this.best) {
      this.best = quality;
      await this.checkpoint('best');
    }
    this.startTiming();
  }

  /** Trains one step, and reports its metrics where a point of the curve is due. */
  private async advance(): Promise<void> {
    const { totalSteps, batchSize } = this.recipe;
    const learningRate = this.learningRateOf(this.step);
    const values = await this.trainStep(learningRate);
    this.step++;
    this.timed.steps++;
    requireFinite(values, this.step, this.hasUpdated);
    this.hasUpdated = true;
    const logEvery = Math.max(1, Math.min(WIDEST_LOG_INTERVAL, Math.floor(totalSteps / CURVE_POINTS)));
    if (this.step % logEvery !== 0 && this.step !== totalSteps) return;
    this.report({
      ...Object.fromEntries(Object.entries(values).map(([name, value]) => [`train/${name}`, value])),
      'train/learning_rate': learningRate,
      'train/images_per_second': (this.timed.steps * batchSize * 1000) / (performance.now() - this.timed.since),
    });
    this.startTiming();
  }

  private report(values: Record<string, number>): void {
    Object.assign(this.last, values);
    this.context.metrics(Object.entries(values).map(([key, value]) => ({ key, step: this.step, value })));
  }

  /** One step. While it is computed, what the next one takes is drawn. Leaves no tensor behind. */
  private async trainStep(learningRate: number): Promise<Record<string, number>> {
    const { optimizer, recipe, step } = this;
    const rates = [...optimizer.rates(learningRate, step), ...(recipe.rates?.(step) ?? [])];
    const { inputs } = this.ahead ?? this.draw();
    this.ahead = undefined;
    const running = this.compiled.start([...rates.map((rate) => floats(Float32Array.of(rate), [])), ...inputs]);
    try {
      if (step + 1 < recipe.totalSteps) this.ahead = this.draw();
    } catch (error) {
      await running.catch(() => undefined);
      throw error;
    }
    return running;
  }

  private draw(): Drawn {
    const [cursor, views] = [this.cursor.snapshot(), this.views.state()];
    const batch = this.recipe.batch(this.cursor.next(), this.views);
    const draw = (): number => this.views.integer(0, 2 ** 31 - 1);
    const seed = this.isSeeded ? [integers(Int32Array.of(draw(), draw()), [2])] : [];
    return { inputs: [...seed, ...batch], cursor, views };
  }

  /** Forward, back, update: what is compiled. */
  private update(inputs: tf.Tensor[], ofOptimizer: number, ofRecipe: number): Terms {
    const { optimizer, recipe } = this;
    const optimizerRates = inputs.slice(0, ofOptimizer) as tf.Scalar[];
    const rates = inputs.slice(ofOptimizer, ofOptimizer + ofRecipe) as tf.Scalar[];
    const ofStep = inputs.slice(ofOptimizer + ofRecipe);
    const seed = this.isSeeded ? (ofStep.shift() as tf.Tensor1D) : undefined;
    const seen = inFloat32(() => (recipe.see ? recipe.see(ofStep) : (ofStep as Batch)));
    const batch = recipe.precision === 'bfloat16' ? (seen.map(sealed) as Batch) : seen;
    let kept: [string, tf.Scalar][] = [];
    const variables = this.trainable.map(({ variable }) => variable);
    const { value: loss, grads } = tf.variableGrads(() => {
      const { loss: minimised, ...others } = withStepSeed(seed, () => recipe.objective(batch, rates));
      // Scalars beside the loss are kept: the tape would dispose of them when it ends.
      kept = Object.entries(others).map(([name, scalar]) => [name, tf.keep(scalar)]);
      return minimised;
    }, variables);
    optimizer.apply(
      variables.map((variable) => grads[variable.name]!),
      optimizerRates,
    );
    recipe.afterUpdate?.(rates);
    this.averages?.follow();
    const others = Object.fromEntries(kept.map(([name, scalar]) => [name, tf.clone(scalar)]));
    tf.dispose(kept.map(([, scalar]) => scalar));
    return { loss, ...others };
  }

  private variables() {
    const { memory = [] } = this.recipe;
    return [...this.weights, ...memory, ...this.optimizer.slots(), ...(this.averages?.slots() ?? [])];
  }

  private async checkpoint(name: 'checkpoint' | 'best' = 'checkpoint'): Promise<void> {
    const file = path.join(this.context.workDir, `${name}-${this.step}.safetensors`);
    if (name === 'checkpoint') this.stored = this.step;
    const state: SessionState = {
      step: this.step,
      cursor: (this.ahead?.cursor ?? this.cursor.snapshot())(),
      views: this.ahead?.views ?? this.views.state(),
      evaluationDue: this.evaluationDue,
      last: this.last,
      stored: this.stored,
      ...(Number.isFinite(this.best) && { best: this.best }),
    };
    this.compiled.settle();
    await writeTensors(file, state, this.variables());
    await this.context.store({
      name: path.basename(file),
      kind: 'checkpoint',
      mime: MIME,
      path: file,
      step: this.step,
    });
  }

  private async restore(file: string): Promise<void> {
    try {
      const { state, tensors } = await readTensors<SessionState>(file);
      assignTensors(tensors, this.variables());
      this.ahead = undefined;
      this.cursor.restore(state.cursor);
      this.views = Random.fromState(state.views);
      this.step = state.step;
      this.stored = state.stored ?? state.step;
      this.best = state.best ?? -Infinity;
      this.evaluationDue = state.evaluationDue;
      this.last = state.last;
    } catch (error) {
      if (error instanceof CheckpointError) throw new TrainingError('internal_error', error.message);
      throw error;
    }
  }

  dispose(): void {
    this.compiled.dispose();
    this.optimizer.dispose();
    this.averages?.dispose();
    tf.dispose((this.recipe.memory ?? []).map(({ variable }) => variable));
    const { models, followers = [], shared = [] } = this.recipe;
    for (const model of [...models, ...followers, ...shared]) model.dispose();
  }
}
