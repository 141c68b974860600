/** Parameters of a file for Weights & Biases under the names of the fields that they mean. */
import type { RunKind } from './run-spec.js';
import { Optimizer } from './run-settings.js';
import { distributionOf, Parameter } from './search-space.js';
import { fieldAt, type StageField } from './stage-fields.js';
import { augmentationNamed, fieldNamed, wordNamed } from './wandb-names.js';

export interface WandbOptions {
  stages: Record<string, Record<string, unknown>>;
  /** The stage that names without one belong to. */
  stage: string;
  /** Names of the file → fields of the stage or metrics; null sets one aside. */
  map: Record<string, string | null>;
  /** Where the file has none. */
  name: string;
}

export class WandbError extends Error {
  constructor(readonly faults: { path: string[]; message: string }[]) {
    super(faults.map(({ path, message }) => `${path.join('.')}: ${message}`).join('\n'));
  }
}

export type Given = Record<string, unknown>;
export const isMapping = (value: unknown): value is Given =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A parameter by the name that it has in the file, nested ones joined by dots. */
interface Named {
  name: string;
  path: string[];
  given: Given;
}

/** Keys by which a parameter says what it may be. */
const DRAWN = ['value', 'values', 'min', 'max', 'mu', 'sigma', 'distribution'];

function flattened(parameters: Given, path: string[] = ['parameters'], prefix = ''): Named[] {
  return Object.entries(parameters).flatMap(([key, parameter]): Named[] => {
    const name = prefix + key;
    if (isMapping(parameter) && isMapping(parameter['parameters'])) {
      const { parameters: inner, ...own } = parameter;
      // What else stands beside them is of the name itself: `optimizer: {values: […], parameters: {lr: …}}`.
      const itself = DRAWN.some((of) => own[of] !== undefined) ? [{ name, path: [...path, key], given: own }] : [];
      return [...itself, ...flattened(inner, [...path, key, 'parameters'], `${name}.`)];
    }
    if (isMapping(parameter)) return [{ name, path: [...path, key], given: parameter }];
    const given = Array.isArray(parameter) ? { values: parameter } : { value: parameter };
    return [{ name, path: [...path, key], given }];
  });
}

const isConstant = ({ value, values }: Given): boolean =>
  value !== undefined || (Array.isArray(values) && values.length === 1);

/** A value as it is written: JSON has no numbers that are none or infinite. */
const shown = (value: unknown): string =>
  typeof value === 'number' && !Number.isFinite(value) ? String(value) : JSON.stringify(value);

/** The number that a text says, as YAML of before wrote them too (`1_000`), with a note; else the value itself. */
export function numberIn(name: string, value: unknown, notes: string[]): unknown {
  if (typeof value !== 'string' || !/^[+-]?(\d[\d_]*(?:\.\d*)?|\.\d+)(e[+-]?\d+)?$/i.test(value)) return value;
  const number = Number(value.replaceAll('_', ''));
  notes.push(`${name}: the text "${value}" is read as ${number}`);
  return number;
}

/** Reads parameters of one file, and writes down what became of each. */
class ParameterReader {
  readonly notes: string[] = [];
  readonly made: Given = {};
  readonly places = new Map<string, string[]>();
  readonly faults: WandbError['faults'] = [];
  private readonly names = new Map<string, string>();

  constructor(private readonly options: WandbOptions) {}

  add({ name, path, given }: Named): void {
    const { map, stage } = this.options;
    const mapped = Object.hasOwn(map, name) ? map[name] : undefined;
    const target = mapped === null ? undefined : this.targetOf(mapped ?? name);
    const aside = this.reasonToSetAside(given, mapped, target);
    const other = target && this.names.get(target);
    if (aside) this.notes.push(`${name}: set aside, ${aside}`);
    else if (target === undefined) {
      const way = `map it (\`map: {${name}: <field>}\`, or null to set it aside)`;
      this.refuse(path, `expected a name that a field of ${stage} has, got ${mapped ?? name}: ${way}`);
    } else if (other !== undefined) {
      const way = `map: {${name}: null} sets it aside`;
      this.refuse(path, `expected one name for ${target}, got ${other} and ${name}: ${way}`);
    } else {
      this.names.set(target, name);
      this.places.set(target, path);
      if (target !== name) this.notes.push(`${name} → ${target}`);
      this.made[target] = this.parameterOf(name, path, given, target);
    }
  }

  private reasonToSetAside(
    given: Given,
    mapped: string | null | undefined,
    target: string | undefined,
  ): string | undefined {
    if (mapped === null) return 'as map says';
    if (!isConstant(given)) return undefined;
    const { value = (given['values'] as unknown[] | undefined)?.[0] } = given;
    if (value === null) return 'it is null, the default stands';
    if (mapped !== undefined) return undefined;
    if (target === undefined) return 'it varies nothing and no field has the name';
    const [of, field] = divided(target);
    const dataset = this.options.stages[of]!['dataset'];
    return field === 'dataset' && typeof dataset === 'string' ? `the dataset is ${dataset}` : undefined;
  }

  /** `<stage>.<field>` that a name means; undefined where there is no such field. */
  private targetOf(name: string): string | undefined {
    const { stages, stage } = this.options;
    const [first, rest] = divided(name);
    const [of, inner] = rest !== '' && Object.hasOwn(stages, first) ? [first, rest] : [stage, name];
    const field = fieldNamed(inner, stages[of]!['kind'] as RunKind);
    return field && field !== 'from' && field !== 'kind' ? `${of}.${field}` : undefined;
  }

  private refuse(path: string[], message: string): void {
    this.faults.push({ path, message });
  }

  /** The parameter in the words of sweeps, with numbers where it has text that says one. */
  private parameterOf(name: string, path: string[], given: Given, target: string): Given {
    const [of, fieldPath] = divided(target);
    const field = fieldAt(this.options.stages[of]!['kind'] as RunKind, fieldPath)!;
    const one = (value: unknown) => {
      if (fieldPath === 'augmentation') return this.augmentation(name, value);
      return (
        this.word(name, fieldPath, field.words, value) ??
        this.truth(name, field, value) ??
        numberIn(name, value, this.notes)
      );
    };
    const made: Given = {};
    for (const [key, value] of Object.entries(given)) {
      if (!Object.hasOwn(Parameter.shape, key)) this.notes.push(`${name}.${key}: set aside, no parameter has it`);
      else if (key === 'distribution' || key === 'when') made[key] = value;
      else made[key] = Array.isArray(value) && key !== 'value' ? value.map(one) : one(value);
    }
    if (Array.isArray(made['values']) && made['probabilities'] === undefined)
      made['values'] = this.each(name, made['values']);
    const { value, values = value === undefined ? [] : [value] }: Given = made;
    if (!Array.isArray(values)) {
      this.refuse(path, `expected a list of values, got ${shown(values)}`);
      return made;
    }
    const refused: unknown = values.find((each) => !field.takes(each));
    if (refused !== undefined) {
      const wanted = field.words.length ? field.words.join(', ') : `what ${target} takes`;
      const way = `map: {${name}: null} sets it aside`;
      this.refuse(path, `expected ${wanted}, got ${shown(refused)}: ${way}`);
    }
    this.tellMeaning(name, field, made);
    return field.integer ? this.whole(name, made) : made;
  }

  /** Says what a range means where people often mean something else. */
  private tellMeaning(name: string, field: StageField, made: Given): void {
    const { distribution, min, max } = made;
    if (typeof min !== 'number' || typeof max !== 'number') return;
    const isWhole = distribution === undefined && Number.isInteger(min) && Number.isInteger(max);
    if (isWhole && field.takes((min + max) / 2 + 0.25))
      this.notes.push(
        `${name}: whole numbers are drawn, as min and max are written: write ${min}.0 where reals are meant`,
      );
    if (/^(q_)?log_uniform$/.test(String(distribution)) && min > 0 && max <= 1)
      this.notes.push(
        `${name}: ${String(distribution)} draws from e^${min} to e^${max} (${Math.exp(min).toPrecision(3)} to ` +
          `${Math.exp(max).toPrecision(3)}): from ${min} to ${max} it is ${String(distribution)}_values`,
      );
  }

  private augmentation(name: string, value: unknown): unknown {
    const named = typeof value === 'string' ? augmentationNamed(value) : undefined;
    if (named) this.notes.push(`${name}: ${String(value)} → ${Object.keys(named).join('+') || 'none'}`);
    return named ?? value;
  }

  private word(name: string, field: string, words: readonly string[], value: unknown): string | undefined {
    const meant = typeof value === 'string' ? wordNamed(field, words, value) : undefined;
    if (meant !== undefined && meant !== value) this.notes.push(`${name}: ${String(value)} → ${meant}`);
    return meant;
  }

  /**
   * Settings that only some optimisers have go with those: a constant that none takes is set aside, one that varies is
   * refused.
   */
  fitOptimizers(): void {
    for (const [target, parameter] of Object.entries(this.made)) {
      const [of, setting] = divided(target);
      const takers = OPTIMIZERS.filter((name) => setting.startsWith('optimizer.') && takesSetting(name, setting));
      if (takers.length === 0 || takers.length === OPTIMIZERS.length) continue;
      const chosen = this.optimizersOf(of);
      const fitting = chosen.filter((name) => takers.includes(name));
      const [name, given] = [this.names.get(target)!, parameter as Given];
      if (fitting.length === chosen.length) continue;
      if (fitting.length > 0) {
        this.made[target] = { ...given, when: { [`${of}.optimizer.name`]: fitting, ...(given['when'] as object) } };
        this.notes.push(`${name}: set where optimizer.name is ${fitting.join(' or ')}, the others have none`);
      } else if (isConstant(given)) {
        delete this.made[target];
        this.notes.push(`${name}: set aside, ${chosen.join(' and ')} has none`);
      } else
        this.refuse(
          this.places.get(target)!,
          `expected an optimizer that has ${setting.slice('optimizer.'.length)} (${takers.join(', ')}), ` +
            `got ${chosen.join(', ')}: name it, or map: {${name}: null} sets it aside`,
        );
    }
  }

  /** Names of the optimisers that trials of a stage have. */
  private optimizersOf(stage: string): string[] {
    const varied = this.made[`${stage}.optimizer.name`] as Given | undefined;
    const listed = varied?.['values'] ?? (varied?.['value'] === undefined ? undefined : [varied['value']]);
    if (Array.isArray(listed)) return listed.map(String);
    const set = this.options.stages[stage]!['optimizer'];
    return [isMapping(set) && typeof set['name'] === 'string' ? set['name'] : 'adam'];
  }

  /** What YAML of before, and Python, write for true and false. */
  private truth(name: string, field: StageField, value: unknown): boolean | undefined {
    const meant = typeof value === 'string' ? TRUTHS.get(value.toLowerCase()) : undefined;
    if (meant === undefined || field.takes(value) || !field.takes(meant)) return undefined;
    this.notes.push(`${name}: the text "${String(value)}" is read as ${meant}`);
    return meant;
  }

  /** Values without those that come again. */
  private each(name: string, values: unknown[]): unknown[] {
    const texts = values.map((value) => JSON.stringify(value));
    const once = values.filter((_, i) => texts.indexOf(texts[i]!) === i);
    if (once.length < values.length) this.notes.push(`${name}: values that come again count once`);
    return once;
  }

  /** Reals that are drawn for a field of whole numbers, rounded as such programs do. */
  private whole(name: string, parameter: Given): Given {
    const parsed = Parameter.safeParse(parameter);
    const drawn = parsed.success ? distributionOf(parsed.data) : 'constant';
    const rounded = `q_${drawn.replace(/^inv_log_uniform_values$/, 'log_uniform_values')}`;
    if (!DISTRIBUTIONS.includes(rounded)) return parameter;
    this.notes.push(`${name}: drawn as ${drawn}, rounded to whole numbers`);
    return { ...parameter, distribution: rounded, q: 1 };
  }
}

const TRUTHS = new Map<string, boolean>([
  ...['yes', 'on', 'true'].map((word) => [word, true] as const),
  ...['no', 'off', 'false'].map((word) => [word, false] as const),
]);
const OPTIMIZERS = fieldAt('pretrain', 'optimizer.name')!.words;
/** Whether an optimiser has a setting of its own, by the path of that; not so of those that all may be told. */
const takesSetting = (name: string, setting: string): boolean =>
  Object.hasOwn(Optimizer.parse({ name }), setting.slice('optimizer.'.length));

const DISTRIBUTIONS: readonly string[] = Parameter.shape.distribution.unwrap().options;

/** The first part of a name with dots, and the rest. */
const divided = (name: string): [first: string, rest: string] => {
  const at = name.indexOf('.');
  return at < 0 ? [name, ''] : [name.slice(0, at), name.slice(at + 1)];
};

/** @throws WandbError for names that vary and that no field has, and for values that a field does not take */
export function parametersOf(
  parameters: unknown,
  options: WandbOptions,
): Pick<ParameterReader, 'made' | 'notes' | 'places'> {
  if (parameters !== undefined && parameters !== null && !isMapping(parameters))
    throw new WandbError([{ path: ['parameters'], message: 'expected a mapping of names to what they may be' }]);
  const reader = new ParameterReader(options);
  for (const named of flattened(isMapping(parameters) ? parameters : {})) reader.add(named);
  reader.fitOptimizers();
  if (reader.faults.length) throw new WandbError(reader.faults);
  return reader;
}
