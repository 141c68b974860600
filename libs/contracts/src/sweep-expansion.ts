/** The trials of a sweep, each with the complete specs of its runs. */
import type { z } from 'zod';
import { canonicalJson } from './canonical-json.js';
import { CONTRASTIVE_METRICS, judgeOf } from './early-stopping.js';
import { faultsOf } from './faults.js';
import { PARENT_KINDS, RunSpec } from './run-spec.js';
import { conditionFaults } from './search-space.js';
import { assignments, drawnAssignments } from './sweep-axes.js';
import { goalOfMetric, metricOf, scaleVariedBy, unreported } from './sweep-metrics.js';
import { InvalidSweepError, isModelled, type Control, type Fault, type SweepSpec } from './sweep.js';

export interface StageRun {
  stage: string;
  control: Control | null;
  /**
   * Complete and valid. Where `parentStage` is set, `from` is a placeholder for the run of that stage in the same
   * trial.
   */
  spec: RunSpec;
  parentStage: string | null;
}

export interface Trial {
  index: number;
  /** The values that this trial assigns, by parameter path. */
  parameters: Record<string, unknown>;
  /** Parents before children. */
  runs: StageRun[];
}

/** Stands for a run that does not exist yet while a stage's spec is validated. */
const PLACEHOLDER_RUN = '00000000-0000-0000-0000-000000000000';

/** The stage that a stage takes its input from; null where it names a run, or none. */
function parentStageOf(stages: SweepSpec['stages'], stage: string): string | null {
  const named = stages[stage]!['from'];
  return typeof named === 'string' && Object.hasOwn(stages, named) ? named : null;
}

/** Stages with parents before children. Throws InvalidSweepError on a cycle. */
export function stageOrder(stages: SweepSpec['stages']): string[] {
  const order: string[] = [];
  const visiting = new Set<string>();
  const visit = (name: string) => {
    if (order.includes(name)) return;
    if (visiting.has(name))
      throw new InvalidSweepError([
        {
          path: ['stages', name, 'from'],
          message: `expected stages without a cycle, got ${[...visiting, name].join(' → ')}`,
        },
      ]);
    visiting.add(name);
    const parent = parentStageOf(stages, name);
    if (parent !== null) visit(parent);
    visiting.delete(name);
    order.push(name);
  };
  for (const name of Object.keys(stages)) visit(name);
  return order;
}

const FORBIDDEN_KEYS = new Set(['__proto__', 'constructor', 'prototype']);

function assign(target: Record<string, unknown>, keys: string[], value: unknown): void {
  const [key, ...rest] = keys as [string, ...string[]];
  if (rest.length === 0) {
    target[key] = value;
    return;
  }
  const inner = target[key];
  const next: Record<string, unknown> =
    typeof inner === 'object' && inner !== null && !Array.isArray(inner) ? { ...inner } : {};
  target[key] = next;
  assign(next, rest, value);
}

/** A search by what no run reports would be a blind one that succeeds. What is laid out may be ranked by nothing. */
function metricFaults(sweep: SweepSpec): Fault[] {
  const metric = metricOf(sweep);
  const { name } = metric;
  const unsaid = sweep.metric.name === undefined;
  if (unsaid && !isModelled(sweep)) return [];
  const unknown = unreported(
    name,
    Object.values(sweep.stages).map(({ kind }) => kind),
  );
  if (unknown)
    return [
      {
        path: ['metric', 'name'],
        message: unsaid ? unknown.replace(`got ${name}`, 'and this sweep names none') : unknown,
      },
    ];
  if (goalOfMetric(metric)) return [];
  return [{ path: ['metric', 'goal'], message: `expected maximize or minimize: ${name} does not say which is better` }];
}

/**
 * A loss of the contrastive task means something else at another temperature or batch size: no sweep is ranked by it
 * that varies them.
 */
function rankingFaults(sweep: SweepSpec): Fault[] {
  const faults = metricFaults(sweep);
  const varied = sweep.metric.any_scale ? undefined : scaleVariedBy(sweep.parameters);
  const contrastive = (metric: string, path: string[]) => {
    if (!varied || !CONTRASTIVE_METRICS.includes(metric)) return;
    faults.push({
      path,
      message:
        `expected a metric that can be compared between trials, such as eval/knn, got ${metric}: it means something ` +
        `else for each value of ${varied}`,
    });
  };
  const { name } = metricOf(sweep);
  contrastive(name, ['metric', 'name']);
  if (!sweep.early_terminate) return faults;
  contrastive(
    judgeOf(sweep.early_terminate, name),
    sweep.early_terminate.metric ? ['early_terminate', 'metric'] : ['metric', 'name'],
  );
  const pretrainings = Object.values(sweep.stages).filter((stage) => stage['kind'] === 'pretrain').length;
  if (pretrainings !== 1)
    faults.push({
      path: ['early_terminate'],
      message:
        'expected one stage of kind pretrain to stop early, there ' +
        `${pretrainings === 0 ? 'is none' : `are ${pretrainings}`}`,
    });
  return faults;
}

/**
 * The trials of a sweep that can be laid out at once (of `tpe`, those before the model is asked), each stage's spec
 * parsed with all its defaults. Pure: the API expands with it, and so can a page that shows the plan while one types.
 * @throws InvalidSweepError naming the fields at fault: an unknown stage, a value that makes a spec invalid, a grid
 *   over `run_cap`.
 */
export const expandSweep = (sweep: SweepSpec): Trial[] => [...expansionOf(sweep)];

/** `expandSweep` trial by trial, for who has something else to do in between. Its end may find a fault too. */
export function* expansionOf(sweep: SweepSpec): Generator<Trial, void> {
  const faults = rankingFaults(sweep);
  for (const { path, keys } of Object.keys(sweep.parameters).map((path) => ({ path, keys: path.split('.') }))) {
    if (keys.length < 2 || !Object.hasOwn(sweep.stages, keys[0]!)) {
      faults.push({
        path: ['parameters', path],
        message: `expected <stage>.<field> with a stage of ${Object.keys(sweep.stages).join(', ')}`,
      });
    } else if (keys.some((key) => key === '' || FORBIDDEN_KEYS.has(key)) || keys[1] === 'from' || keys[1] === 'kind') {
      faults.push({ path: ['parameters', path], message: 'expected the path of a field other than `from` and `kind`' });
    }
  }
  for (const { path, message } of conditionFaults(sweep.parameters))
    faults.push({ path: ['parameters', ...path], message });
  if (sweep.unique !== undefined && sweep.method !== 'random')
    faults.push({ path: ['unique'], message: `expected method random beside unique, got ${sweep.method}` });
  if (faults.length) throw new InvalidSweepError(faults);
  const assigned = assignments(sweep);
  yield* trialsOf(sweep, assigned, 0);
  const names = new Set(sweep.order_by && assigned.flatMap((parameters) => Object.keys(parameters)));
  const unknown = sweep.order_by?.find((path) => !names.has(path.replace(/^-/, '')));
  if (unknown !== undefined)
    throw new InvalidSweepError([
      {
        path: ['order_by'],
        message: `expected parameters of ${[...names].join(', ') || 'which there are none'}, got ${unknown}`,
      },
    ]);
}

/** The trials of one more draw. @throws InvalidSweepError where a value makes a spec invalid. */
export const expandDraw = (sweep: SweepSpec, draw: Record<string, unknown>, firstIndex: number): Trial[] => [
  ...trialsOf(sweep, drawnAssignments(sweep, draw), firstIndex),
];

function* trialsOf(
  sweep: SweepSpec,
  assigned: readonly Record<string, unknown>[],
  firstIndex: number,
): Generator<Trial, void> {
  const order = stageOrder(sweep.stages);
  const seen = new Set<string>();
  for (const [place, parameters] of assigned.entries()) {
    const trial = trialOf(sweep, order, parameters, firstIndex + place);
    const identity = canonicalJson(trial.runs.map((run) => run.spec));
    if (seen.has(identity) && sweep.unique !== false)
      throw new InvalidSweepError([
        {
          path: ['parameters'],
          message: `expected trials that differ, got the same twice: ${JSON.stringify(parameters)}`,
        },
      ]);
    seen.add(identity);
    yield trial;
  }
}

function trialOf(
  sweep: SweepSpec,
  order: readonly string[],
  parameters: Record<string, unknown>,
  index: number,
): Trial {
  const assigned = Object.entries(parameters).map(([path, value]) => ({ path, keys: path.split('.'), value }));
  const faults: Fault[] = [];
  const specs = new Map<string, RunSpec>();
  const runs: StageRun[] = [];
  for (const stage of order) {
    const parentStage = parentStageOf(sweep.stages, stage);
    const parsed = RunSpec.safeParse(draftOf(sweep, stage, parentStage, assigned), { reportInput: true });
    if (!parsed.success) {
      for (const fault of specFaults(parsed.error, sweep, stage, assigned, index))
        if (!faults.some((known) => canonicalJson(known.path) === canonicalJson(fault.path))) faults.push(fault);
      continue;
    }
    const spec = parsed.data;
    const parent = parentStage === null ? undefined : specs.get(parentStage);
    if (parent && !PARENT_KINDS[spec.kind].includes(parent.kind))
      faults.push({
        path: ['stages', stage, 'from'],
        message:
          `expected a stage of kind ${PARENT_KINDS[spec.kind].join(', ')}, got ${parentStage} of kind ` +
          `${parent.kind}`,
      });
    specs.set(stage, spec);
    runs.push({ stage, control: null, spec, parentStage }, ...controlsOf(sweep, stage, spec, parent));
  }
  if (faults.length) throw new InvalidSweepError(faults);
  return { index, parameters, runs };
}

/** A field that a trial sets: the first key is its stage. */
interface Assigned {
  path: string;
  keys: string[];
  value: unknown;
}

/** A stage with what the trial sets in it, not yet checked. */
function draftOf(
  sweep: SweepSpec,
  stage: string,
  parentStage: string | null,
  assigned: readonly Assigned[],
): Record<string, unknown> {
  const draft: Record<string, unknown> = { ...sweep.stages[stage] };
  if (parentStage !== null) draft['from'] = PLACEHOLDER_RUN;
  for (const { keys, value } of assigned) if (keys[0] === stage) assign(draft, keys.slice(1), structuredClone(value));
  return draft;
}

/** What is wrong with a stage's spec, told where the field was set: at a parameter, a key at the top, or the stage. */
function specFaults(
  error: z.ZodError,
  sweep: SweepSpec,
  stage: string,
  assigned: readonly Assigned[],
  index: number,
): Fault[] {
  return error.issues.flatMap(faultsOf).map(({ path: field, message }): Fault => {
    const source = field.length ? sourceOf(field, stage, assigned) : undefined;
    if (!source)
      return {
        path: ['stages', stage, ...field],
        message: field[0] === 'from' ? orStage(message, sweep, stage) : message,
      };
    return {
      path: Object.hasOwn(sweep.parameters, source.path) ? ['parameters', source.path] : [sharedKeyOf(source.path)],
      message: `${[stage, ...field].join('.')}: ${message} (trial ${index}: ${JSON.stringify(source.value)})`,
    };
  });
}

/** What a stage may begin with: also another stage, where there is one. */
function orStage(message: string, { stages }: SweepSpec, stage: string): string {
  const others = Object.keys(stages).filter((name) => name !== stage);
  return others.length ? `${message}; of this sweep's stages it could be ${others.join(', ')}` : message;
}

/** What the trial set of a field: it, what it lies in, or what lies in it. */
const sourceOf = (field: readonly (string | number)[], stage: string, assigned: readonly Assigned[]) =>
  assigned.find(
    ({ keys }) =>
      keys[0] === stage && keys.slice(1).every((key, i) => field[i] === undefined || String(field[i]) === key),
  );

/** The key at the top of the spec that set a field. */
function sharedKeyOf(path: string): string {
  if (path.endsWith('.augmentation') || path.endsWith('.views')) return 'augmentations';
  return path.endsWith('.labelFraction') ? 'label_fractions' : 'seeds';
}

/** The runs that the sweep compares a stage's run with. */
function controlsOf({ controls }: SweepSpec, stage: string, spec: RunSpec, parent: RunSpec | undefined): StageRun[] {
  if (!parent || !('encoder' in parent)) return [];
  const { encoder } = parent;
  if (controls.includes('random_init_probe') && spec.kind === 'evaluate')
    return [{ stage, control: 'random_init_probe', spec: { ...spec, from: null, encoder }, parentStage: null }];
  if (!controls.includes('scratch') || spec.kind !== 'finetune') return [];
  const alike = { backbone: undefined, layerDecay: undefined, fineTuneAfterBlock: undefined };
  const head = spec.fromHeadLayer > 0 && parent.kind === 'pretrain' && { projection: parent.projection };
  return [
    {
      stage,
      control: 'scratch',
      spec: { ...spec, from: null, encoder, ...alike, ...head },
      parentStage: null,
    },
  ];
}
