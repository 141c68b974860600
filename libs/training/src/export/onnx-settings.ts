/** What the conversion of a layer to ONNX accounts for: anything else is refused. */
import { TrainingError } from '../train-context.js';
import type { Use } from './onnx-graph.js';

export const refuse = ({ layer }: Pick<Use, 'layer'>, expected: string, got: string): never => {
  throw new TrainingError(
    'invalid_spec',
    `expected ${expected} for an ONNX file, got ${got} in layer ${layer.name} (${layer.getClassName()}): export ` +
      'to tfjs or safetensors',
  );
};

/** Refuses a layer whose setting `key` is none of those that its conversion accounts for. */
export function requireSetting(use: Use, key: string, known: readonly unknown[]): void {
  const value = use.settings[key];
  if (value !== undefined && value !== null && !known.includes(value))
    refuse(use, `${key} ${known.join(' or ')}`, JSON.stringify(value));
}

/** Refuses inputs of different ranks, which tfjs brings to one by a rule of its own. */
export function requireOneRank(use: Use): void {
  if (new Set(use.inputShapes.map(({ length }) => length)).size > 1) refuse(use, 'inputs of as many axes', 'others');
}

/** Where an axis of tfjs is here, of a tensor of so many. */
export function axisOf(axis: unknown, rank: number): number {
  const given = typeof axis === 'number' ? axis : -1;
  const place = given < 0 ? rank + given : given;
  if (rank < 3 || place === 0) return place;
  return place === rank - 1 ? 1 : place + 1;
}
