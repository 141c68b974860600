/** Draws that the field they set does not take, such as a temperature below 0: they are drawn again, and told of. */
import { distributionOf, drawn, uniformNumbers, type Parameter } from './search-space.js';
import { fieldAt, type StageField } from './stage-fields.js';
import type { RunKind } from './run-spec.js';
import type { SweepSpec } from './sweep.js';

/** Whether a value drawn for a parameter is one that its field takes. */
export type Takes = (path: string, value: unknown) => boolean;

/** Draws by which the share that a field does not take is judged. */
const SAMPLE = 1000;
/** Where fewer draws than this are taken, none is drawn again: the first is refused at its field. */
const LEAST_TAKEN = 0.1;

/** Of reals: what is listed, and whole numbers between two that were written, is refused instead. */
const isOfReals = (parameter: Parameter): boolean =>
  !['constant', 'categorical', 'int_uniform'].includes(distributionOf(parameter));

/** The share of draws that a field does not take. A range whose ends it takes has none. */
function refusedShare(parameter: Parameter, field: StageField): number {
  const { min, max } = parameter;
  if (distributionOf(parameter).endsWith('uniform') && field.takes(min) && field.takes(max)) return 0;
  const uniform = uniformNumbers(0);
  const refused = Array.from({ length: SAMPLE }, () => drawn(parameter, uniform)).filter(
    (value) => !field.takes(value),
  );
  return refused.length / SAMPLE;
}

/** Of each parameter that is drawn again, the field and the share of draws that it does not take. */
function redrawn({ method, stages, parameters }: SweepSpec): Map<string, { field: StageField; share: number }> {
  const found = new Map<string, { field: StageField; share: number }>();
  if (method === 'grid') return found;
  for (const [path, parameter] of Object.entries(parameters)) {
    const [stage, ...keys] = path.split('.') as [string, ...string[]];
    const kind = Object.hasOwn(stages, stage) ? (stages[stage]!['kind'] as RunKind) : undefined;
    const field = kind && isOfReals(parameter) ? fieldAt(kind, keys.join('.')) : undefined;
    const share = field && refusedShare(parameter, field);
    if (field && share! > 0 && share! <= 1 - LEAST_TAKEN) found.set(path, { field, share: share! });
  }
  return found;
}

/** Which draws of a sweep are taken; the others are drawn again. */
export function takesOf(sweep: SweepSpec): Takes {
  const fields = redrawn(sweep);
  return (path, value) => fields.get(path)?.field.takes(value) ?? true;
}

/** What a plan says of draws that are made again. */
export const notesOnDraws = (sweep: SweepSpec): string[] =>
  [...redrawn(sweep)].map(
    ([path, { share }]) =>
      `${path}: about ${Math.max(1, Math.round(100 * share))} % of draws are none that it takes, and drawn again`,
  );
