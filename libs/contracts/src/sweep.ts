import { z } from 'zod';
import { Name } from './dataset.js';
import { canonicalJson, PARENT_KINDS, RunSpec } from './run-spec.js';

const stageName = z.string().regex(/^[a-z][a-z0-9_-]{0,31}$/, 'expected a lower-case stage name such as `pretrain`');
const Parameter = z.union([z.strictObject({ value: z.unknown() }), z.strictObject({ values: z.array(z.unknown()).min(1).max(1000) })]);

/**
 * A sweep in the dialect of Weights & Biases (`method`, `metric`, `parameters`, `run_cap`) plus `stages`: run specs of which
 * one takes the result of another by naming it in `from`. A parameter's name is the path of the field it sets,
 * `<stage>.<field>[.<field>…]`.
 */
export const SweepSpec = z.strictObject({
  name: Name,
  method: z.enum(['grid']).default('grid'),
  metric: z.strictObject({ name: z.string().min(1).max(128).default('eval/accuracy'), goal: z.enum(['maximize', 'minimize']).default('maximize') }).prefault({}),
  stages: z.record(stageName, z.record(z.string(), z.unknown())).refine((stages) => Object.keys(stages).length > 0, 'expected at least one stage'),
  parameters: z.record(z.string().min(1).max(256), Parameter).default({}),
  /** `scratch`: for each finetune, the same network on the same labels and steps without pretraining. */
  controls: z.array(z.enum(['scratch'])).max(1).default([]),
  /** At most so many trials; a larger grid is refused, never cut. */
  run_cap: z.int().min(1).max(100_000).default(10_000),
}).meta({ id: 'SweepSpec' });
export type SweepSpec = z.infer<typeof SweepSpec>;

export interface StageRun {
  stage: string;
  control: 'scratch' | null;
  /** Complete and valid. Where `parentStage` is set, `from` is a placeholder for the run of that stage in the same trial. */
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

/** A fault of a submitted document: `path` is the field, as keys and indices from its root. */
export interface Fault { path: (string | number)[]; message: string }

export class InvalidSweepError extends Error {
  constructor(readonly faults: Fault[]) {
    super(faults.map((fault) => `${fault.path.join('.')}: ${fault.message}`).join('; '));
    this.name = 'InvalidSweepError';
  }
}

/** Stands for a run that does not exist yet while a stage's spec is validated. */
const PLACEHOLDER_RUN = '00000000-0000-0000-0000-000000000000';

/** Stages with parents before children. Throws InvalidSweepError on a cycle. */
function stageOrder(stages: SweepSpec['stages']): string[] {
  const order: string[] = [];
  const visiting = new Set<string>();
  const visit = (name: string) => {
    if (order.includes(name)) return;
    if (visiting.has(name)) throw new InvalidSweepError([{ path: ['stages', name, 'from'], message: `expected stages without a cycle, got ${[...visiting, name].join(' → ')}` }]);
    visiting.add(name);
    const parent = stages[name]!['from'];
    if (typeof parent === 'string' && Object.hasOwn(stages, parent)) visit(parent);
    visiting.delete(name);
    order.push(name);
  };
  for (const name of Object.keys(stages)) visit(name);
  return order;
}

/** Every assignment of the parameters; the last one varies fastest. */
function* grid(parameters: SweepSpec['parameters']): Generator<Record<string, unknown>> {
  const axes = Object.entries(parameters).map(([path, parameter]) => ({ path, values: 'values' in parameter ? parameter.values : [parameter.value] }));
  const total = axes.reduce((product, axis) => product * axis.values.length, 1);
  for (let index = 0; index < total; index++) {
    const assignment: Record<string, unknown> = {};
    let rest = index;
    for (const axis of axes.toReversed()) {
      assignment[axis.path] = axis.values[rest % axis.values.length];
      rest = Math.floor(rest / axis.values.length);
    }
    yield Object.fromEntries(axes.map((axis) => [axis.path, assignment[axis.path]]));
  }
}

const FORBIDDEN_KEYS = new Set(['__proto__', 'constructor', 'prototype']);

function assign(target: Record<string, unknown>, keys: string[], value: unknown): void {
  const [key, ...rest] = keys as [string, ...string[]];
  if (rest.length === 0) { target[key] = value; return; }
  const inner = target[key];
  const next: Record<string, unknown> = typeof inner === 'object' && inner !== null && !Array.isArray(inner) ? { ...inner } : {};
  target[key] = next;
  assign(next, rest, value);
}

/**
 * The trials of a sweep, each stage's spec parsed with all its defaults. Pure: the API expands with it, and so can a
 * page that shows the plan while one types.
 * @throws InvalidSweepError naming the fields at fault: an unknown stage, a value that makes a spec invalid, a grid over `run_cap`.
 */
export function expandSweep(sweep: SweepSpec): Trial[] {
  const faults: Fault[] = [];
  const paths = Object.keys(sweep.parameters).map((path) => ({ path, keys: path.split('.') }));
  for (const { path, keys } of paths) {
    if (keys.length < 2 || !Object.hasOwn(sweep.stages, keys[0]!)) {
      faults.push({ path: ['parameters', path], message: `expected <stage>.<field> with a stage of ${Object.keys(sweep.stages).join(', ')}` });
    } else if (keys.some((key) => key === '' || FORBIDDEN_KEYS.has(key)) || keys[1] === 'from' || keys[1] === 'kind') {
      faults.push({ path: ['parameters', path], message: 'expected the path of a field other than `from` and `kind`' });
    }
  }
  const size = Object.values(sweep.parameters).reduce((product, parameter) => product * ('values' in parameter ? parameter.values.length : 1), 1);
  if (size > sweep.run_cap) faults.push({ path: ['run_cap'], message: `expected a grid of at most ${sweep.run_cap} trials, got ${size}: raise run_cap or drop values` });
  if (faults.length) throw new InvalidSweepError(faults);

  const order = stageOrder(sweep.stages);
  const seen = new Set<string>();
  const trials: Trial[] = [];
  for (const parameters of grid(sweep.parameters)) {
    const specs = new Map<string, RunSpec>();
    const runs: StageRun[] = [];
    for (const stage of order) {
      const draft: Record<string, unknown> = { ...sweep.stages[stage] };
      const named = draft['from'];
      const parentStage = typeof named === 'string' && Object.hasOwn(sweep.stages, named) ? named : null;
      if (parentStage) draft['from'] = PLACEHOLDER_RUN;
      for (const { path, keys } of paths) if (keys[0] === stage) assign(draft, keys.slice(1), structuredClone(parameters[path]));
      const parsed = RunSpec.safeParse(draft);
      if (!parsed.success) {
        const fields = parsed.error.issues.flatMap((issue) => (issue.code === 'unrecognized_keys'
          ? issue.keys.map((key) => ({ path: [...issue.path, key], message: 'expected no such field: it is unknown' })) : [issue]));
        for (const issue of fields) {
          const field = issue.path.map((key) => (typeof key === 'symbol' ? String(key) : key));
          const source = field.length === 0 ? undefined : paths.find(({ keys }) => keys[0] === stage && keys.slice(1).every((key, i) => field[i] === undefined || String(field[i]) === key));
          const path = source ? ['parameters', source.path] : ['stages', stage, ...field];
          const fault = { path, message: source ? `${[stage, ...field].join('.')}: ${issue.message} (trial ${trials.length}: ${JSON.stringify(parameters[source.path])})` : issue.message };
          if (!faults.some((known) => canonicalJson(known.path) === canonicalJson(fault.path))) faults.push(fault);
        }
        continue;
      }
      const spec = parsed.data;
      const parent = parentStage ? specs.get(parentStage) : undefined;
      if (parentStage && parent && !PARENT_KINDS[spec.kind].includes(parent.kind)) {
        faults.push({ path: ['stages', stage, 'from'], message: `expected a stage of kind ${PARENT_KINDS[spec.kind].join(', ')}, got ${parentStage} of kind ${parent.kind}` });
      }
      specs.set(stage, spec);
      runs.push({ stage, control: null, spec, parentStage });
      if (sweep.controls.includes('scratch') && spec.kind === 'finetune' && parent && 'encoder' in parent) {
        runs.push({ stage, control: 'scratch', spec: { ...spec, from: null, encoder: parent.encoder, ...(spec.fromHeadLayer > 0 && parent.kind === 'pretrain' && { projection: parent.projection }) }, parentStage: null });
      }
    }
    if (faults.length) throw new InvalidSweepError(faults);
    const identity = canonicalJson(runs.map((run) => run.spec));
    if (seen.has(identity)) {
      throw new InvalidSweepError([{ path: ['parameters'], message: `expected trials that differ, got the same twice: ${JSON.stringify(parameters)}` }]);
    }
    seen.add(identity);
    trials.push({ index: trials.length, parameters, runs });
  }
  return trials;
}
