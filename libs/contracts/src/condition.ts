/** A condition on what a run has: on the last value of a metric, or on a field of its spec. Without schemas. */

/** A metric's key where it stands in a condition or a sort. */
const METRIC_KEY = '[^<>=,\\0]{1,128}?';
/** Of a spec: names of fields and places in lists, such as `optimizer.learningRate` or `views.0.size`. */
export const SPEC_FIELD = '\\w{1,64}(?:\\.\\w{1,64}){0,7}';
const NUMBER = /^-?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i;
const METRIC_CONDITION = new RegExp(`^(${METRIC_KEY})(<=|>=|<|>|=)(.*)$`, 's');
const SPEC_CONDITION = new RegExp(`^spec:(${SPEC_FIELD})(<=|>=|!=|<|>|=)([^,\\0]*)$`, 's');
/** Characters of a condition: a key of 128, an operator and a value as long as anybody writes one. */
const LONGEST_CONDITION = 256;

export type Comparison = '<' | '<=' | '>' | '>=' | '=' | '!=';
/** On the last value of a metric, or on a field of the spec. */
export type Condition =
  | { of: 'metric'; key: string; operator: Comparison; value: number }
  | { of: 'spec'; key: string; operator: Comparison; value: number | string };

/**
 * `eval/knn>0.5`, `spec:encoder.width>=32`, `spec:method=simclr`: texts are equal or not, numbers are also in
 * an order. Undefined for what is no condition.
 */
export function parseCondition(text: string): Condition | undefined {
  if (text.length > LONGEST_CONDITION) return undefined;
  const of = text.startsWith('spec:') ? 'spec' : 'metric';
  const [, key, sign, given] = (of === 'spec' ? SPEC_CONDITION : METRIC_CONDITION).exec(text) ?? [];
  if (key === undefined || given === undefined) return undefined;
  const operator = sign as Comparison;
  if (NUMBER.test(given)) return { of, key, operator, value: Number(given) };
  return of === 'spec' && (operator === '=' || operator === '!=') && given !== ''
    ? { of, key, operator, value: given }
    : undefined;
}
