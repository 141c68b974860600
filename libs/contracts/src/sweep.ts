import { z } from 'zod';
import { Name } from './dataset.js';
import { Augmentation, AUGMENTATIONS } from './augmentation.js';
import { canonicalJson } from './canonical-json.js';
import { PARENT_KINDS, RunSpec } from './run-spec.js';
import { CONTRASTIVE_METRICS, EarlyTerminate, judgeOf } from './early-stopping.js';
import { conditionFaults, draws, everyAssignment, inOrder, Parameter, TPE_STARTUP } from './search-space.js';

const stageName = z.string().regex(/^[a-z][a-z0-9_-]{0,31}$/, 'expected a lower-case stage name such as `pretrain`');
const Pool = z
  .union([z.array(z.enum(AUGMENTATIONS as [keyof Augmentation, ...(keyof Augmentation)[]])).min(1), Augmentation])
  .describe('Names of augmentations in their usual strength, or each with its settings.');
/** With all settings. */
const resolved = (pool: z.infer<typeof Pool>): Augmentation =>
  Augmentation.parse(Array.isArray(pool) ? Object.fromEntries(pool.map((name) => [name, {}])) : pool);

const AugmentationAlgebra = z
  .strictObject({
    subsets: z
      .strictObject({
        of: Pool,
        size: z.union([z.int().min(0).max(16), z.tuple([z.int().min(0).max(16), z.int().min(0).max(16)])]),
      })
      .optional()
      .describe('Every combination of so many: one number, or from and to.'),
    pairs: z
      .strictObject({ of: Pool })
      .optional()
      .describe('Each alone and each two together: the composition matrix of SimCLR (Chen et al. 2020, figure 5).'),
    leave_one_out: z
      .strictObject({ of: Pool })
      .optional()
      .describe('All together, and all but one: what each is worth.'),
    always: Pool.optional().describe('Augmentations that every combination has.'),
    strengths: z
      .partialRecord(
        z.enum(AUGMENTATIONS as [keyof Augmentation, ...(keyof Augmentation)[]]),
        z.array(z.record(z.string(), z.unknown())).min(1).max(100),
      )
      .default({})
      .describe('Settings that a combination with this augmentation is tried with, instead of the one in `of`.'),
  })
  .refine(
    ({ subsets, pairs, leave_one_out }) => [subsets, pairs, leave_one_out].filter(Boolean).length === 1,
    'expected one of subsets, pairs, leave_one_out',
  )
  .describe('Combinations of augmentations as an axis of the sweep.');

/** Controls that a trial is compared with. */
export const CONTROLS = ['scratch', 'random_init_probe'] as const;
export type Control = (typeof CONTROLS)[number];

const runCap = z.int().min(1).max(100_000);
const parallelTrials = z.int().min(1).max(10_000);
const maxFailedTrials = z.int().min(0).max(100_000);
const Budget = z
  .strictObject({ gpu_seconds: z.number().gt(0).optional(), wall_seconds: z.number().gt(0).optional() })
  .refine(
    (budget) => budget.gpu_seconds !== undefined || budget.wall_seconds !== undefined,
    'expected gpu_seconds, wall_seconds or both',
  );

export const SweepSpec = z
  .strictObject({
    name: Name,
    method: z
      .enum(['grid', 'random', 'tpe', 'bayes'])
      .default('grid')
      .describe(
        '`random` draws `run_cap` trials; `tpe` (or `bayes`) draws each from what the trials before it showed. ' +
          'What `augmentations`, `label_fractions` and `seeds` ask for is tried in full for each draw.',
      ),
    metric: z
      .strictObject({
        name: z.string().min(1).max(128).default('eval/accuracy'),
        goal: z.enum(['maximize', 'minimize']).default('maximize'),
      })
      .prefault({}),
    stages: z
      .record(stageName, z.record(z.string(), z.unknown()))
      .refine((stages) => Object.keys(stages).length > 0, 'expected at least one stage'),
    parameters: z.record(z.string().min(1).max(256), Parameter).default({}),
    augmentations: AugmentationAlgebra.optional().describe(
      `Sets \`augmentation\` of every stage that pretrains. ${AugmentationAlgebra.description}`,
    ),
    label_fractions: z
      .array(z.number().gt(0).max(1))
      .min(1)
      .max(100)
      .optional()
      .describe('Sets `labelFraction` of every stage that finetunes. Subsets are nested, and shared by all trials.'),
    seeds: z
      .union([
        z.int().min(1).max(1000),
        z
          .array(
            z
              .int()
              .min(0)
              .max(2 ** 32 - 1),
          )
          .min(1)
          .max(1000),
      ])
      .optional()
      .describe(
        'How many, or which: sets `labelSeed` and `seed` of every stage that finetunes, so that pretrainings are ' +
          'shared.',
      ),
    controls: z
      .array(z.enum(CONTROLS))
      .max(2)
      .refine((controls) => new Set(controls).size === controls.length, 'expected each control once')
      .default([])
      .describe(
        '`scratch`: for each finetune, the same network on the same labels and steps without pretraining. ' +
          '`random_init_probe`: for each evaluate, the same evaluation of an encoder as it was initialised.',
      ),
    run_cap: runCap
      .optional()
      .describe('At most so many trials; a larger grid is refused, never cut. `random` and `tpe` need it.'),
    seed: z
      .int()
      .min(0)
      .max(2 ** 32 - 1)
      .default(0)
      .describe('Seed of what `random` and `tpe` draw: the same seed gives the same trials.'),
    parallel_trials: parallelTrials
      .optional()
      .describe(
        'At most so many trials under way at once; those that wait at a rung are not. `tpe` takes 4 unless told ' +
          'otherwise.',
      ),
    early_terminate: EarlyTerminate.optional().describe(
      'Stops pretrainings that show too little, by online kNN or probe.',
    ),
    max_failed_trials: maxFailedTrials
      .optional()
      .describe('When more trials than this have failed, no other is started.'),
    budget: Budget.optional().describe(
      'When it is spent, the sweep pauses. GPU-seconds are those of the runs that it started; wall time counts ' +
        'from its submit.',
    ),
    order_by: z
      .array(z.string().min(1).max(257))
      .min(1)
      .max(16)
      .optional()
      .describe(
        'Parameters that trials are started in the order of, `-` before one for the highest first. Default: ' +
          'pretrainings that are new first, then as laid out.',
      ),
    on_duplicate: z
      .enum(['reuse', 'reject', 'replicate'])
      .default('reuse')
      .describe(
        "A trial whose runs all exist already, or are another trial's: `reuse` takes them, `reject` refuses the " +
          'sweep, `replicate` trains them anew (trials of one sweep share their parents all the same).',
      ),
  })
  .meta({
    id: 'SweepSpec',
    description:
      'A sweep in the dialect of Weights & Biases (`method`, `metric`, `parameters`, `run_cap`) plus `stages`: ' +
      "run specs of which one takes the result of another by naming it in `from`. A parameter's name is the path " +
      'of the field it sets, `<stage>.<field>[.<field>…]`.',
  });
export type SweepSpec = z.infer<typeof SweepSpec>;
const DEFAULT_RUN_CAP = 10_000;
const TPE_PARALLEL = 4;

export const SweepChanges = z
  .strictObject({
    parallel_trials: parallelTrials.nullable().optional(),
    run_cap: runCap.optional(),
    max_failed_trials: maxFailedTrials.nullable().optional(),
    budget: Budget.nullable().optional(),
  })
  .meta({ id: 'SweepChanges', description: 'What may be changed of a sweep while it runs; null lifts a limit.' });
export type SweepChanges = z.infer<typeof SweepChanges>;

/** True where each trial is drawn from the results of those before it. */
export const isModelled = ({ method }: Pick<SweepSpec, 'method'>): boolean => method === 'tpe' || method === 'bayes';
/** How many trials may be under way at once. */
export const parallelTrialsOf = (sweep: SweepSpec): number =>
  sweep.parallel_trials ?? (isModelled(sweep) ? TPE_PARALLEL : Number.POSITIVE_INFINITY);
/** How many trials each draw of the searcher makes. */
export const trialsPerDraw = (sweep: SweepSpec): number =>
  sharedAxes(sweep).reduce((size, axis) => size * axis.length, 1);
/** True where the sweep is more than runs that are laid out at once: the leader then looks after it. */
export const isSteered = (sweep: SweepSpec): boolean =>
  isModelled(sweep) ||
  sweep.parallel_trials !== undefined ||
  sweep.early_terminate !== undefined ||
  sweep.max_failed_trials !== undefined ||
  sweep.budget !== undefined;

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

/** A fault of a submitted document: `path` is the field, as keys and indices from its root. */
export interface Fault {
  path: (string | number)[];
  message: string;
}

export class InvalidSweepError extends Error {
  constructor(readonly faults: Fault[]) {
    super(faults.map((fault) => `${fault.path.join('.')}: ${fault.message}`).join('; '));
    this.name = 'InvalidSweepError';
  }
}

/** Stands for a run that does not exist yet while a stage's spec is validated. */
const PLACEHOLDER_RUN = '00000000-0000-0000-0000-000000000000';

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
    const parent = stages[name]!['from'];
    if (typeof parent === 'string' && Object.hasOwn(stages, parent)) visit(parent);
    visiting.delete(name);
    order.push(name);
  };
  for (const name of Object.keys(stages)) visit(name);
  return order;
}

/** One dimension of a sweep: each option sets one or several fields. */
type Axis = Record<string, unknown>[];

/** Every combination of one option of each axis; the last axis varies fastest. */
function* product(axes: readonly Axis[]): Generator<Record<string, unknown>> {
  const total = axes.reduce((size, axis) => size * axis.length, 1);
  for (let index = 0; index < total; index++) {
    let rest = index;
    const chosen: Record<string, unknown>[] = [];
    for (const axis of axes.toReversed()) {
      chosen.unshift(axis[rest % axis.length]!);
      rest = Math.floor(rest / axis.length);
    }
    yield Object.assign({}, ...chosen) as Record<string, unknown>;
  }
}

/** The dimensions that stand at the top of a spec and are tried in full, whatever the method. */
function sharedAxes({ stages, augmentations, label_fractions: fractions, seeds }: SweepSpec): Axis[] {
  const ofKind = (kind: RunSpec['kind']) => Object.keys(stages).filter((stage) => stages[stage]!['kind'] === kind);
  const need = (key: string, kind: RunSpec['kind']) => {
    if (ofKind(kind).length === 0)
      throw new InvalidSweepError([
        { path: [key], message: `expected a stage of kind ${kind} for it to set, there is none` },
      ]);
    return ofKind(kind);
  };
  const axes: Axis[] = [];
  if (augmentations) {
    const targets = need('augmentations', 'pretrain');
    axes.push(
      combinations(augmentations).map((augmentation) =>
        Object.fromEntries(targets.map((stage) => [`${stage}.augmentation`, augmentation])),
      ),
    );
  }
  const finetunes = fractions || seeds ? need(fractions ? 'label_fractions' : 'seeds', 'finetune') : [];
  if (fractions)
    axes.push(
      fractions.map((fraction) => Object.fromEntries(finetunes.map((stage) => [`${stage}.labelFraction`, fraction]))),
    );
  if (seeds)
    axes.push(
      (typeof seeds === 'number' ? Array.from({ length: seeds }, (_, i) => i + 1) : seeds).map((seed) =>
        Object.fromEntries(
          finetunes.flatMap((stage) => [
            [`${stage}.labelSeed`, seed],
            [`${stage}.seed`, seed],
          ]),
        ),
      ),
    );
  return axes;
}

/** The augmentations that an algebra means, in canonical order. */
function combinations({
  subsets,
  pairs,
  leave_one_out: leaveOneOut,
  always,
  strengths,
}: z.infer<typeof AugmentationAlgebra>): Record<string, unknown>[] {
  const pool = resolved((subsets ?? pairs ?? leaveOneOut)!.of);
  const names = AUGMENTATIONS.filter((name) => pool[name] !== undefined);
  const [least, most] = subsets
    ? typeof subsets.size === 'number'
      ? [subsets.size, subsets.size]
      : subsets.size
    : pairs
      ? [1, 2]
      : [names.length - 1, names.length];
  // Two of three is 011, 101, 110: the first names first.
  const chosen = Array.from({ length: 2 ** names.length }, (_, bits) => names.filter((_, place) => bits & (1 << place)))
    .filter((some) => some.length >= least && some.length <= most)
    .sort(
      (a, b) =>
        a.length - b.length ||
        a
          .map((name) => names.indexOf(name) + 10)
          .join()
          .localeCompare(b.map((name) => names.indexOf(name) + 10).join()),
    );
  return (leaveOneOut ? chosen.reverse() : chosen).flatMap((some) =>
    [...product(some.map((name) => (strengths[name] ?? [pool[name]]).map((settings) => ({ [name]: settings }))))].map(
      (combination) => ({ ...(always && resolved(always)), ...combination }),
    ),
  );
}

/** Every trial's assignment of fields. */
function assignments(sweep: SweepSpec): Record<string, unknown>[] {
  const shared = sharedAxes(sweep);
  const sharedSize = shared.reduce((size, axis) => size * axis.length, 1);
  const cap = sweep.run_cap ?? DEFAULT_RUN_CAP;
  const refuse = (size: number, about = ''): never => {
    throw new InvalidSweepError([
      {
        path: ['run_cap'],
        message: `expected a grid of at most ${cap} trials, got ${about}${size}: raise run_cap or drop values`,
      },
    ]);
  };
  if (sweep.method !== 'grid') {
    if (sweep.run_cap === undefined)
      throw new InvalidSweepError([
        { path: ['run_cap'], message: `expected a number of trials for method ${sweep.method}, got none` },
      ]);
    if (sharedSize > cap) refuse(sharedSize);
    const count = Math.floor(cap / sharedSize);
    return [
      ...product([
        draws(sweep.parameters, isModelled(sweep) ? Math.min(TPE_STARTUP, count) : count, sweep.seed),
        ...shared,
      ]),
    ];
  }
  const ranges = Object.entries(sweep.parameters).filter(
    ([, { value, values }]) => value === undefined && values === undefined,
  );
  if (ranges.length)
    throw new InvalidSweepError(
      ranges.map(([path]) => ({
        path: ['parameters', path],
        message: 'expected value or values for method grid, got a range: use method random',
      })),
    );
  const valuesOf = ({ value, values }: Parameter) => values ?? [value];
  const all = Object.values(sweep.parameters).reduce(
    (total, parameter) => total * valuesOf(parameter).length,
    sharedSize,
  );
  const cells = everyAssignment(inOrder(sweep.parameters), valuesOf, cap);
  if (!cells) return refuse(all, Object.values(sweep.parameters).some(({ when }) => when) ? 'up to ' : '');
  if (cells.length * sharedSize > cap) refuse(cells.length * sharedSize);
  return [...product([cells, ...shared])];
}

/** The key at the top of the spec that set a field. */
const sharedKeyOf = (path: string): string =>
  path.endsWith('.augmentation') ? 'augmentations' : path.endsWith('.labelFraction') ? 'label_fractions' : 'seeds';

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

/**
 * A loss of the contrastive task means something else at another temperature or batch size: no sweep is ranked by it
 * that varies them.
 */
function rankingFaults(sweep: SweepSpec): Fault[] {
  const faults: Fault[] = [];
  const varied = Object.entries(sweep.parameters).find(
    ([path, { value, values, min, max }]) =>
      /\.(temperature|batchSize|method)$/.test(path) &&
      value === undefined &&
      values?.length !== 1 &&
      (min === undefined || min !== max),
  );
  const contrastive = (metric: string, path: string[]) => {
    if (!varied || !CONTRASTIVE_METRICS.includes(metric)) return;
    faults.push({
      path,
      message:
        `expected a metric that can be compared between trials, such as eval/knn, got ${metric}: it means something ` +
        `else for each value of ${varied[0]}`,
    });
  };
  contrastive(sweep.metric.name, ['metric', 'name']);
  if (!sweep.early_terminate) return faults;
  contrastive(
    judgeOf(sweep.early_terminate, sweep.metric.name),
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
export function expandSweep(sweep: SweepSpec): Trial[] {
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
  if (faults.length) throw new InvalidSweepError(faults);
  const trials = trialsOf(sweep, assignments(sweep), 0);
  const names = new Set(sweep.order_by && trials.flatMap(({ parameters }) => Object.keys(parameters)));
  const unknown = sweep.order_by?.find((path) => !names.has(path.replace(/^-/, '')));
  if (unknown !== undefined)
    throw new InvalidSweepError([
      {
        path: ['order_by'],
        message: `expected parameters of ${[...names].join(', ') || 'which there are none'}, got ${unknown}`,
      },
    ]);
  return trials;
}

/** The trials of one more draw. @throws InvalidSweepError where a value makes a spec invalid. */
export const expandDraw = (sweep: SweepSpec, draw: Record<string, unknown>, firstIndex: number): Trial[] =>
  trialsOf(sweep, [...product([[draw], ...sharedAxes(sweep)])], firstIndex);

function trialsOf(sweep: SweepSpec, assigned: readonly Record<string, unknown>[], firstIndex: number): Trial[] {
  const faults: Fault[] = [];
  const order = stageOrder(sweep.stages);
  const seen = new Set<string>();
  const trials: Trial[] = [];
  for (const parameters of assigned) {
    const paths = Object.keys(parameters).map((path) => ({ path, keys: path.split('.') }));
    const specs = new Map<string, RunSpec>();
    const runs: StageRun[] = [];
    for (const stage of order) {
      const draft: Record<string, unknown> = { ...sweep.stages[stage] };
      const named = draft['from'];
      const parentStage = typeof named === 'string' && Object.hasOwn(sweep.stages, named) ? named : null;
      if (parentStage) draft['from'] = PLACEHOLDER_RUN;
      for (const { path, keys } of paths)
        if (keys[0] === stage) assign(draft, keys.slice(1), structuredClone(parameters[path]));
      const parsed = RunSpec.safeParse(draft);
      if (!parsed.success) {
        const fields = parsed.error.issues.flatMap((issue) =>
          issue.code === 'unrecognized_keys'
            ? issue.keys.map((key) => ({
                path: [...issue.path, key],
                message: 'expected no such field: it is unknown',
              }))
            : [issue],
        );
        for (const issue of fields) {
          const field = issue.path.map((key) => (typeof key === 'symbol' ? String(key) : key));
          const source =
            field.length === 0
              ? undefined
              : paths.find(
                  ({ keys }) =>
                    keys[0] === stage &&
                    keys.slice(1).every((key, i) => field[i] === undefined || String(field[i]) === key),
                );
          const path = source
            ? Object.hasOwn(sweep.parameters, source.path)
              ? ['parameters', source.path]
              : [sharedKeyOf(source.path)]
            : ['stages', stage, ...field];
          const fault = {
            path,
            message: source
              ? `${[stage, ...field].join('.')}: ${issue.message} (trial ${firstIndex + trials.length}: ` +
                `${JSON.stringify(parameters[source.path])})`
              : issue.message,
          };
          if (!faults.some((known) => canonicalJson(known.path) === canonicalJson(fault.path))) faults.push(fault);
        }
        continue;
      }
      const spec = parsed.data;
      const parent = parentStage ? specs.get(parentStage) : undefined;
      if (parentStage && parent && !PARENT_KINDS[spec.kind].includes(parent.kind)) {
        faults.push({
          path: ['stages', stage, 'from'],
          message:
            `expected a stage of kind ${PARENT_KINDS[spec.kind].join(', ')}, got ${parentStage} of kind ` +
            `${parent.kind}`,
        });
      }
      specs.set(stage, spec);
      runs.push({ stage, control: null, spec, parentStage });
      if (sweep.controls.includes('random_init_probe') && spec.kind === 'evaluate' && parent && 'encoder' in parent) {
        runs.push({
          stage,
          control: 'random_init_probe',
          spec: { ...spec, from: null, encoder: parent.encoder },
          parentStage: null,
        });
      }
      if (sweep.controls.includes('scratch') && spec.kind === 'finetune' && parent && 'encoder' in parent) {
        runs.push({
          stage,
          control: 'scratch',
          spec: {
            ...spec,
            from: null,
            encoder: parent.encoder,
            backbone: undefined,
            ...(spec.fromHeadLayer > 0 && parent.kind === 'pretrain' && { projection: parent.projection }),
          },
          parentStage: null,
        });
      }
    }
    if (faults.length) throw new InvalidSweepError(faults);
    const identity = canonicalJson(runs.map((run) => run.spec));
    if (seen.has(identity)) {
      throw new InvalidSweepError([
        {
          path: ['parameters'],
          message: `expected trials that differ, got the same twice: ${JSON.stringify(parameters)}`,
        },
      ]);
    }
    seen.add(identity);
    trials.push({ index: firstIndex + trials.length, parameters, runs });
  }
  return trials;
}
