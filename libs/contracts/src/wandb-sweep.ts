/** Sweep files as they are written for Weights & Biases, read as sweeps of stages: what became of each name is told. */
import { RunSpec, type RunKind } from './run-spec.js';

/** Keys of a file for Weights & Biases that concern the program it starts: they are set aside. */
const SET_ASIDE = new Set(['program', 'command', 'entity', 'project', 'description', 'job', 'controller', 'imageuri']);
const TAKEN = new Set(['name', 'method', 'metric', 'parameters', 'early_terminate', 'run_cap']);

/** Trials of a search that the file gives no end. */
const RUN_CAP = 20;

/** Fields by the names that people give them, in small letters and digits alone. */
const FIELDS: Record<string, string> = {
  lr: 'optimizer.learningRate',
  learningrate: 'optimizer.learningRate',
  baselr: 'optimizer.learningRate',
  initlr: 'optimizer.learningRate',
  wd: 'optimizer.weightDecay',
  weightdecay: 'optimizer.weightDecay',
  optimizer: 'optimizer.name',
  optim: 'optimizer.name',
  optimizername: 'optimizer.name',
  optimizertype: 'optimizer.name',
  bs: 'batchSize',
  batch: 'batchSize',
  batchsize: 'batchSize',
  trainbatchsize: 'batchSize',
  epochs: 'epochs',
  epoch: 'epochs',
  numepochs: 'epochs',
  nepochs: 'epochs',
  maxepochs: 'epochs',
  numtrainepochs: 'epochs',
  steps: 'steps',
  maxsteps: 'steps',
  temperature: 'temperature',
  temp: 'temperature',
  tau: 'temperature',
  seed: 'seed',
  randomseed: 'seed',
  width: 'encoder.width',
  warmup: 'schedule.warmupSteps',
  warmupsteps: 'schedule.warmupSteps',
  schedule: 'schedule.name',
  scheduler: 'schedule.name',
  lrscheduler: 'schedule.name',
  encoder: 'encoder.name',
  backbone: 'encoder.name',
  arch: 'encoder.name',
  method: 'method',
};
/** Metrics by the names that people give them; what is an accuracy depends on the kind of stage. */
const METRICS: Record<string, Partial<Record<RunKind, string>>> = {
  accuracy: {
    pretrain: 'eval/probe_accuracy',
    evaluate: 'eval/probe_accuracy',
    finetune: 'eval/accuracy',
    distill: 'eval/accuracy',
  },
  knn: { pretrain: 'eval/knn', evaluate: 'eval/knn', autoencode: 'eval/knn' },
  trainloss: {
    pretrain: 'train/loss',
    finetune: 'train/loss',
    distill: 'train/loss',
    autoencode: 'train/loss',
  },
  loss: { pretrain: 'train/loss', finetune: 'eval/loss', distill: 'train/loss', autoencode: 'train/loss' },
  valloss: { finetune: 'eval/loss' },
};
const METRIC_NAMES: [RegExp, keyof typeof METRICS][] = [
  [/knn/, 'knn'],
  [/^(train|training)loss$/, 'trainloss'],
  [/^loss$/, 'loss'],
  [/^(val|valid|validation|eval|test)loss$/, 'valloss'],
  [/(acc|accuracy|top1)$/, 'accuracy'],
];

export interface WandbOptions {
  stages: Record<string, Record<string, unknown>>;
  /** The stage of parameters whose names do not begin with one. */
  stage: string;
  /** Names of the file → fields of the stage or metrics; null sets one aside. */
  map: Record<string, string | null>;
  /** Name of the sweep where the file has none. */
  name: string;
}

export class WandbError extends Error {
  constructor(readonly faults: { path: string[]; message: string }[]) {
    super(faults.map(({ path, message }) => `${path.join('.')}: ${message}`).join('\n'));
  }
}

type Given = Record<string, unknown>;
const isMapping = (value: unknown): value is Given =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const plain = (name: string): string => name.toLowerCase().replaceAll(/[^a-z0-9]/g, '');

/** Nested `parameters` as names with dots. */
function flattened(parameters: Given, prefix = ''): [name: string, parameter: unknown][] {
  return Object.entries(parameters).flatMap(([name, parameter]) =>
    isMapping(parameter) && isMapping(parameter['parameters'])
      ? flattened(parameter['parameters'], `${prefix}${name}.`)
      : [[prefix + name, parameter] as [string, unknown]],
  );
}

/** The field of a stage that a name means; undefined where it has no synonym and is no field. */
function fieldOf(name: string, kind: RunKind): string | undefined {
  const shape = RunSpec.options.find((option) => option.shape.kind.value === kind)?.shape ?? {};
  const parts = name.split(/[./]/);
  const known = (field: string | undefined) =>
    field !== undefined && Object.hasOwn(shape, field.split('.')[0]!) ? field : undefined;
  // `optimizer.name` is the field itself; `optimizer.lr` is one by its last word.
  const camel = parts.map((part) => part.replaceAll(/[-_]([a-z])/g, (_, letter: string) => letter.toUpperCase()));
  const synonym = known(FIELDS[plain(name)]) ?? known(FIELDS[plain(parts.at(-1)!)]);
  return synonym ?? known(camel.join('.'));
}

/** A parameter with `"256"` as the number that it says. */
function withNumbers(name: string, parameter: Given, notes: string[]): Given {
  const number = (value: unknown) => {
    if (typeof value !== 'string' || !/^[+-]?(\d+(?:\.\d*)?|\.\d+)(e[+-]?\d+)?$/i.test(value)) return value;
    notes.push(`${name}: the text "${value}" is read as ${Number(value)}`);
    return Number(value);
  };
  const { value, values } = parameter;
  return {
    ...parameter,
    ...(value !== undefined && { value: number(value) }),
    ...(Array.isArray(values) && { values: values.map(number) }),
  };
}

const isConstant = (parameter: Given): boolean =>
  'value' in parameter || (Array.isArray(parameter['values']) && parameter['values'].length === 1);

/** Parameters under the names of fields. @throws WandbError for names that vary and that nothing here has */
function parametersOf(content: Given, { stages, stage, map }: WandbOptions, notes: string[]): Given {
  const made: Given = {};
  const sources = new Map<string, string>();
  const faults: WandbError['faults'] = [];
  for (const [name, parameter] of flattened(isMapping(content['parameters']) ? content['parameters'] : {})) {
    const path = ['parameters', ...name.split('.')];
    const given = isMapping(parameter) ? parameter : { value: parameter };
    const mapped = Object.hasOwn(map, name) ? map[name] : undefined;
    const isPath = Object.hasOwn(stages, name.split('.')[0]!);
    const field = mapped ?? (isPath ? name : fieldOf(name, stages[stage]!['kind'] as RunKind));
    if (mapped === null) notes.push(`${name}: set aside, as map says`);
    else if (field === undefined && isConstant(given))
      notes.push(`${name}: set aside, it varies nothing and no field has the name`);
    else if (field === undefined)
      faults.push({
        path,
        message:
          `expected a name that a field of ${stage} has, got ${name}: ` +
          `map it (\`map: {${name}: <field>}\`, or null to set it aside)`,
      });
    else {
      const target = Object.hasOwn(stages, field.split('.')[0]!) && field.includes('.') ? field : `${stage}.${field}`;
      if (sources.has(target))
        faults.push({ path, message: `expected one name for ${target}, got ${sources.get(target)} and ${name}` });
      sources.set(target, name);
      if (target !== name) notes.push(`${name} → ${target}`);
      made[target] = withNumbers(name, given, notes);
    }
  }
  if (faults.length) throw new WandbError(faults);
  return made;
}

/** The metric under the name that the stage reports it by, where it is a known one. */
function metricOf(metric: Given, { stages, map }: WandbOptions, notes: string[]): Given {
  const { name, goal } = metric;
  for (const key of Object.keys(metric))
    if (key !== 'name' && key !== 'goal') notes.push(`metric.${key}: set aside, the sweep goes on to its end`);
  if (typeof name !== 'string') return { name, goal };
  const word = METRIC_NAMES.find(([pattern]) => pattern.test(plain(name)))?.[1];
  const kinds = Object.values(stages).map(({ kind }) => kind as RunKind);
  const synonym = word && kinds.toReversed().flatMap((kind) => METRICS[word]![kind] ?? [])[0];
  const known = map[name] ?? (/^(eval|train)\/(knn|loss|accuracy|probe_accuracy)$/.test(name) ? name : synonym) ?? name;
  if (known !== name) notes.push(`metric ${name} → ${known}`);
  return { name: known, ...(goal !== undefined && { goal }) };
}

/**
 * A sweep of stages from a file for Weights & Biases, not yet checked, and what became of each name in it.
 * @throws WandbError for names that vary and that no field has
 */
export function fromWandb(content: Given, options: WandbOptions): { spec: Given; notes: string[] } {
  const notes: string[] = [];
  const spec: Given = { stages: options.stages };
  for (const [key, value] of Object.entries(content)) {
    if (SET_ASIDE.has(key) || key.startsWith('x-')) notes.push(`${key}: set aside`);
    else if (value === null && TAKEN.has(key)) notes.push(`${key}: none`);
    else if (key !== 'map' && key !== 'stages') spec[key] = value;
  }
  spec['name'] = typeof content['name'] === 'string' ? content['name'].replaceAll(/[^\w.-]+/g, '-') : options.name;
  spec['parameters'] = parametersOf(content, options, notes);
  if (content['run_cap'] === undefined && content['method'] !== 'grid') {
    spec['run_cap'] = RUN_CAP;
    notes.push(`run_cap: ${RUN_CAP}, the file has none and would go on for ever`);
  }
  if (isMapping(content['metric'])) spec['metric'] = metricOf(content['metric'], options, notes);
  return { spec, notes };
}
