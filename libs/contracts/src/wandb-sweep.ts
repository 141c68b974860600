/** Sweep files as they are written for Weights & Biases, read as sweeps of stages: what became of each name is told. */
import { CONTRASTIVE_METRICS } from './early-stopping.js';
import type { RunKind } from './run-spec.js';
import { finiteValues, Parameter } from './search-space.js';
import { nearest } from './spelling.js';
import { goalOfMetric, metricOf, reportedBy, scaleVariedBy } from './sweep-metrics.js';
import { SweepSpec } from './sweep.js';
import { metricNamed } from './wandb-names.js';
import { isMapping, numberIn, parametersOf, type Given, type WandbOptions } from './wandb-parameters.js';

/** What stands in a file for Weights & Biases for the program that it starts, and for the service that keeps it. */
const SET_ASIDE = new Set(
  (
    'program command entity project description job controller imageuri image_uri kind apiVersion scheduler metrics ' +
    'display_name settings'
  ).split(' '),
);
/** Keys that are read below. */
const READ = new Set('name method metric parameters early_terminate run_cap map stages'.split(' '));
const OF_SWEEPS = Object.keys(SweepSpec.shape);

/** Trials of a search that the file gives no end. */
const RUN_CAP = 20;
/** A grid without an end is planned up to so many trials. */
const MOST_TRIALS = 100_000;

export interface WandbSweep {
  /** Not yet checked. */
  spec: Given;
  /** What became of each name. */
  notes: string[];
  /** Where in the file each parameter of the spec stands. */
  places: Map<string, string[]>;
}

/** The metric under the name that a stage reports it by, where it is a known one; none where it is set aside. */
function reportedMetric(
  metric: Given,
  { stages, map }: WandbOptions,
  parameters: Given,
  notes: string[],
): Given | undefined {
  const { name, goal } = metric;
  for (const key of Object.keys(metric))
    if (key !== 'name' && key !== 'goal') notes.push(`metric.${key}: set aside, the sweep goes on to its end`);
  if (typeof name !== 'string') return { name, goal };
  const mapped = Object.hasOwn(map, name) ? map[name] : undefined;
  if (mapped === null) {
    notes.push(`metric ${name}: set aside, as map says`);
    return undefined;
  }
  const kinds = Object.values(stages).map(({ kind }) => kind as RunKind);
  const given = mapped ?? name;
  const known = reportedBy(kinds).includes(given) ? given : (metricNamed(given, kinds) ?? given);
  if (known !== name) notes.push(`metric ${name} → ${known}`);
  const wanted = mapped === undefined ? goal : goalUnder(known, { name, goal }, notes);
  return { name: known, ...(wanted !== undefined && { goal: wanted }), ...scaleOf(known, parameters, notes) };
}

/** Which way a metric is better that map names: where that name says it, the file's goal is the old one's. */
function goalUnder(known: string, { name, goal }: { name: string; goal: unknown }, notes: string[]): unknown {
  const better = goalOfMetric({ name: known });
  if (typeof goal !== 'string' || better === undefined || better === goal) return goal;
  notes.push(`metric.goal: ${better}, as ${known} is better; ${goal} is that of ${name}`);
  return better;
}

function scaleOf(metric: string, parameters: Given, notes: string[]): Given {
  const varied = scaleVariedBy(parameters as Record<string, Parameter>);
  if (varied === undefined || !CONTRASTIVE_METRICS.includes(metric)) return {};
  const why = `ranked by as the file says, though it means something else for each ${varied}`;
  notes.push(`metric ${metric}: ${why}: map it to eval/knn to rank by what can be compared`);
  return { any_scale: true };
}

/** Early stopping as asked for, where it is by a rule that is there and there is a pretraining to stop. */
function stoppingOf(given: Given, stages: WandbOptions['stages'], notes: string[]): Given | undefined {
  if (!Object.values(stages).some(({ kind }) => kind === 'pretrain')) {
    notes.push('early_terminate: set aside, it stops pretrainings and there is none');
    return undefined;
  }
  const policy: Given = Object.fromEntries(
    Object.entries(given).map(([key, value]) => [key, numberIn(`early_terminate.${key}`, value, notes)]),
  );
  const { min_iter: least, max_iter: most, s, eta = 3 } = policy;
  if (typeof most === 'number' && typeof eta === 'number' && least === undefined && s === undefined && eta > 1) {
    const bands = Math.max(1, Math.floor(Math.log(most) / Math.log(eta) + 1e-9));
    notes.push(`early_terminate.s: ${bands}, as many as lie below max_iter: the file has none`);
    return { ...policy, s: bands };
  }
  if (least === undefined || most === undefined) return policy;
  notes.push('early_terminate.min_iter: set aside, max_iter counts');
  return Object.fromEntries(Object.entries(policy).filter(([key]) => key !== 'min_iter'));
}

/** How many points a grid has; undefined where that can't be said yet. */
function gridSize(parameters: Given): number | undefined {
  const counts = Object.values(parameters).map((given) => {
    const parsed = Parameter.safeParse(given);
    return parsed.success ? finiteValues(parsed.data, MOST_TRIALS)?.length : undefined;
  });
  return counts.reduce<number | undefined>(
    (size, count) => (size === undefined || count === undefined ? undefined : size * count),
    1,
  );
}

/** How trials are found and how many there are: there a search goes on for ever, and a grid ends at run_cap. */
function extentOf(content: Given, parameters: Given, notes: string[]): Given {
  const method = content['method'] === 'custom' ? 'tpe' : content['method'];
  if (method !== content['method']) notes.push('method: custom is read as tpe');
  const cap = numberIn('run_cap', content['run_cap'] ?? undefined, notes);
  if (method !== 'grid' && method !== undefined) {
    if (cap === undefined) notes.push(`run_cap: ${RUN_CAP}, the file has none and would go on for ever`);
    return { method, run_cap: cap ?? RUN_CAP };
  }
  const size = gridSize(parameters);
  if (typeof cap === 'number' && size !== undefined && cap < size) {
    notes.push(`method: grid of ${size} points is cut at run_cap: ${cap} of them are drawn at random`);
    return { method: 'random', run_cap: cap };
  }
  return { ...(method !== undefined && { method }), run_cap: cap ?? (size && size <= MOST_TRIALS ? size : undefined) };
}

/** The keys at the top that are taken as they are. */
function takenOf(content: Given, notes: string[]): Given {
  const taken: Given = {};
  for (const [key, value] of Object.entries(content)) {
    const known = READ.has(key) || OF_SWEEPS.includes(key);
    if (SET_ASIDE.has(key) || key.startsWith('x-')) notes.push(`${key}: set aside`);
    else if (value === null && known) notes.push(`${key}: none`);
    else if (READ.has(key)) continue;
    // What is nearly a key was meant as one: it is refused at its line.
    else if (known || nearest(key, [...READ, ...OF_SWEEPS]) !== undefined) taken[key] = value;
    else notes.push(`${key}: set aside, sweeps have no such key`);
  }
  return taken;
}

/** A name that sweeps may have; undefined where nothing is left of it. */
const nameOf = (name: unknown): string | undefined =>
  typeof name === 'string'
    ? name
        .replaceAll(/[^\w.-]+/g, '-')
        .replace(/^[^A-Za-z0-9]+/, '')
        .slice(0, 128) || undefined
    : undefined;

/**
 * A sweep of stages from a file for Weights & Biases.
 * @throws WandbError for names that vary and that no field has, and for values that a field does not take
 */
export function fromWandb(content: Given, options: WandbOptions): WandbSweep {
  const notes: string[] = [];
  const taken = takenOf(content, notes);
  const { made: parameters, places, ...read } = parametersOf(content['parameters'], options);
  notes.push(...read.notes);
  const { metric = null, early_terminate: policy, name: given } = content;
  const name = nameOf(given) ?? options.name;
  if (given !== undefined && given !== null && name !== given) notes.push(`name: ${JSON.stringify(given)} → ${name}`);
  const spec: Given = {
    ...taken,
    stages: options.stages,
    name,
    parameters,
    ...extentOf(content, parameters, notes),
    ...(metric !== null && {
      metric: reportedMetric(isMapping(metric) ? metric : { name: metric }, options, parameters, notes),
    }),
    ...(isMapping(policy) && { early_terminate: stoppingOf(policy, options.stages, notes) }),
  };
  if (spec['metric'] === undefined) {
    const { name: usual } = metricOf({ metric: {}, stages: options.stages });
    notes.push(`metric: none is named, the sweep is ranked by what its stages are for (${usual})`);
  }
  return { spec: Object.fromEntries(Object.entries(spec).filter(([, value]) => value !== undefined)), notes, places };
}
