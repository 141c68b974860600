/** What is no number: of a step it ends the run, of an evaluation it is left out. */
import type { NamedWeight } from './networks/weights.js';
import { TrainingError, type TrainContext } from './train-context.js';

/** `values`: what a step gives. `isUpdated`: whether this session has changed a weight before. @throws TrainingError */
export function requireFinite(values: Record<string, number>, step: number, isUpdated: boolean): void {
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
export function requireFiniteWeights(weights: readonly NamedWeight[], step: number): void {
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
