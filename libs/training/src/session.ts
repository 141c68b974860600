/** The loop that all training runs share: steps, curves, evaluation, checkpoints, and stopping in between. */
import type { RunResult } from '#libs/contracts';
import { BatchCursor, Random, type BatchCursorState, type RandomState } from '#libs/data';
import { floats, integers, type HostTensor } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import path from 'node:path';
import { CompiledStep } from './compiled-step.js';
import { assignTensors, CheckpointError, readTensors, writeTensors } from './checkpoint.js';
import { definedMetrics, requireFinite, requireFiniteWeights } from './finite.js';
import { drawsInSteps, withStepSeed } from './networks/step-seed.js';
import { weightsOf, type NamedWeight } from './networks/weights.js';
import { createOptimizer, learningRateOf, type Optimizer } from './optimizers.js';
import { inFloat32, sealed } from './precision.js';
import type { Recipe, Terms } from './recipe.js';
import { breathe, Stopped, TrainingError, type TrainContext } from './train-context.js';
import { WeightAverages } from './weight-averages.js';

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

/** An evaluation beside the steps after it. */
interface Overlapped {
  /** The state that it is of, the evaluation due. Until `settle()` the variables hold what belongs to it. */
  before: () => SessionState;
  hasFailed: boolean;
  ended: Promise<void>;
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
  private overlapped: Overlapped | undefined;
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
        await this.breathe();
        if (this.overlapped?.hasFailed) await this.judged();
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
      throw await this.stopped(error);
    }
  }

  /** For what comes after the last step: shows that the run lives, and lets messages in. @throws Stopped */
  breathe(): Promise<void> {
    return breathe(this.context, this.step, this.recipe.totalSteps);
  }

  /**
   * Stores a checkpoint where training was asked to stop and is to go on. That is one of an evaluation that is still
   * running, which is broken off: the steps beside it are then done again. Returns what ends the run.
   */
  private async stopped(error: unknown): Promise<unknown> {
    const failure = await this.judged().catch((reason: unknown) => reason);
    if (!(error instanceof Stopped) || error.reason === 'cancel') return error;
    if (failure !== undefined && !(failure instanceof Stopped)) return failure;
    if (!this.overlapped) {
      await this.checkpoint();
      return error;
    }
    const before = this.overlapped.before();
    await this.store('checkpoint', before);
    return new Stopped(error.reason, before.step);
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

  /** Evaluates, and stores a checkpoint of the best so far where that is asked for; or begins to evaluate. */
  private async evaluate(): Promise<void> {
    await this.judged();
    this.compiled.settle();
    if (this.overlaps()) {
      this.overlapped = this.beginEvaluation();
      this.evaluationDue = false;
      return;
    }
    const quality = (await this.judge())[this.recipe.quality];
    this.evaluationDue = false;
    if (this.recipe.checkpoints?.keepBest && quality !== undefined && quality > this.best) {
      this.best = quality;
      await this.checkpoint('best');
    }
    this.startTiming();
  }

  /**
   * Whether the next steps run beside an evaluation: not where averages take the weights' place for it, where what
   * comes out decides what is stored, or where no step follows.
   */
  private overlaps(): boolean {
    const { recipe, context, step } = this;
    const isEnd = step === recipe.totalSteps || (context.stopAtStep && step >= context.stopAtStep);
    return Boolean(context.overlapsEvaluation && !isEnd && !this.averages && !recipe.checkpoints?.keepBest);
  }

  private beginEvaluation(): Overlapped {
    const overlapped = { before: this.snapshot(), hasFailed: false, ended: this.judge().then(() => undefined) };
    overlapped.ended.catch(() => {
      overlapped.hasFailed = true;
    });
    return overlapped;
  }

  /** The evaluation that runs beside steps has ended. @throws what it ended with, Stopped where that is to happen */
  private async judged(): Promise<void> {
    await this.overlapped?.ended;
    this.overlapped = undefined;
  }

  /** Reports what the recipe's evaluation gives of the weights of this step, but for what is not defined. */
  private async judge(): Promise<Record<string, number>> {
    const { recipe, step } = this;
    const evaluate = () => recipe.evaluate(() => this.breathe(), step);
    const judged = await (this.averages ? this.averages.whileReplaced(evaluate) : evaluate());
    if (!Object.values(judged).every(Number.isFinite)) requireFiniteWeights(this.weights, step);
    const values = definedMetrics(judged, this.context, this.leftOut);
    this.report(values, step);
    return values;
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

  private report(values: Record<string, number>, step = this.step): void {
    Object.assign(this.last, values);
    this.context.metrics(Object.entries(values).map(([key, value]) => ({ key, step, value })));
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

  /** The state as it is now, written out when it is asked for: the order of the data is long. */
  private snapshot(): () => SessionState {
    const { step, evaluationDue, stored, best } = this;
    const last = { ...this.last };
    const cursor = this.ahead?.cursor ?? this.cursor.snapshot();
    const views = this.ahead?.views ?? this.views.state();
    const ofBest = Number.isFinite(best) ? { best } : {};
    return () => ({ step, cursor: cursor(), views, evaluationDue, last, stored, ...ofBest });
  }

  private async checkpoint(name: 'checkpoint' | 'best' = 'checkpoint'): Promise<void> {
    await this.judged();
    if (name === 'checkpoint') this.stored = this.step;
    this.compiled.settle();
    await this.store(name, this.snapshot()());
  }

  /** Stores the variables as they are, and what belongs to them. */
  private async store(name: 'checkpoint' | 'best', state: SessionState): Promise<void> {
    const { step } = state;
    const file = path.join(this.context.workDir, `${name}-${step}.safetensors`);
    await writeTensors(file, state, this.variables());
    await this.context.store({ name: path.basename(file), kind: 'checkpoint', mime: MIME, path: file, step });
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
