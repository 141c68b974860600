/** A run once more, with all runs that it was made from, and whether the same came out. */
import { ApiError, parentsOf, READS_DATA_ROOT, type LoomClient, type Run, type SubmitRun } from '#libs/contracts';
import type { z } from 'zod';
import { UsageError } from './usage-error.js';

type Api = Pick<LoomClient, 'run' | 'whySubmission'>;
type Submission = z.input<typeof SubmitRun>;

/** Tag of the runs that a reproduction submits. */
const TAG = 'reproduction';
/** Numbers about the machine rather than the model: they differ each time. */
const OF_THE_MACHINE = /per_second$/;

/**
 * The run and all that it was made from, parents first, each held against what there is today.
 * @throws UsageError where a run has no result to compare with, where its dataset version is gone, or where it would
 *   train to another result today
 */
export async function lineage(api: Api, id: string): Promise<Run[]> {
  const runs: Run[] = [];
  const visit = async (each: string): Promise<void> => {
    if (runs.some((run) => run.id === each)) return;
    const run = await api.run(each);
    if (run.status !== 'succeeded')
      throw new UsageError(
        `expected a run that has succeeded, ${run.kind} ${run.id} is ${run.status}: there is nothing to compare with`,
      );
    for (const parent of parentsOf(run.spec)) await visit(parent);
    runs.push(run);
  };
  await visit(id);
  for (const run of runs) await expectSameToday(api, run);
  return runs;
}

/**
 * The digest is of the complete spec, the dataset and the parents by digest, and the version of the training code:
 * equal digests are equal trainings.
 */
async function expectSameToday(api: Api, run: Run): Promise<void> {
  const { digest } = await api.whySubmission({ spec: run.spec }).catch((error: unknown) => {
    if (!(error instanceof ApiError) || error.status >= 500) throw error;
    const gone = 'dataset' in run.spec && error.problem.errors?.some(({ path }) => path === 'spec.dataset');
    throw new UsageError(
      gone && 'dataset' in run.spec
        ? `${run.kind} ${run.id} can't be reproduced: its dataset version ${run.spec.dataset} is gone; prepare it ` +
            'again from the same files (`loom datasets add`), which gives the same digest'
        : `${run.kind} ${run.id} can't be reproduced: ${error.message}`,
    );
  });
  if (digest !== run.digest) {
    throw new UsageError(
      `${run.kind} ${run.id} can't be reproduced: the training code is of another version than the one that made ` +
        `it (its spec has the digest ${digest.slice(0, 12)} today, it was ${run.digest.slice(0, 12)}); check out ` +
        'the version that made it, or submit its spec as a new run',
    );
  }
}

/** A checkpoint can be named, and a model begun with, only once the run that has it has ended. */
const needsEnded = ({ spec }: Run, runs: readonly Run[]): boolean =>
  ('checkpoint' in spec && spec.checkpoint !== undefined) ||
  parentsOf(spec).some((parent) => runs.some(({ id, kind }) => id === parent && kind === 'import-model'));

/** What is submitted for a run, with other ids in place of its parents'. */
function again(
  { spec, name, project, requires, maxSeconds }: Run,
  replacements: ReadonlyMap<string, string>,
): Submission {
  const replaced = (id: string) => replacements.get(id) ?? id;
  return {
    spec: {
      ...spec,
      ...('from' in spec && spec.from && { from: replaced(spec.from) }),
      ...('encoder' in spec &&
        spec.encoder?.model && { encoder: { ...spec.encoder, model: replaced(spec.encoder.model) } }),
      ...('alignTo' in spec && spec.alignTo !== null && { alignTo: replaced(spec.alignTo) }),
    },
    ...(name !== null && { name }),
    tags: [TAG],
    project,
    onDuplicate: 'replicate',
    ...((Object.keys(requires.labels).length > 0 || requires.gpu) && { requires }),
    ...(typeof maxSeconds === 'number' && { maxSeconds }),
  };
}

/**
 * Submits the runs anew, each from the new runs in place of its parents. Those in `ended` are waited for before what
 * needs them is submitted.
 * @param submitted told of each new run at once: what is submitted goes on whatever happens here
 */
export async function resubmit(
  api: Pick<LoomClient, 'submitRun'>,
  runs: readonly Run[],
  submitted: (run: Run) => void,
  ended: (id: string) => Promise<unknown>,
): Promise<Run[]> {
  const replacements = new Map<string, string>();
  const anew: Run[] = [];
  for (const run of runs) {
    if (needsEnded(run, runs)) for (const parent of parentsOf(run.spec)) await ended(replacements.get(parent)!);
    const { run: one } = await api.submitRun(again(run, replacements));
    replacements.set(run.id, one.id);
    anew.push(one);
    submitted(one);
  }
  return anew;
}

export interface MetricVerdict {
  key: string;
  original: number | null;
  again: number | null;
  difference: number | null;
  within: boolean;
}
type Digests = Record<'original' | 'again', string | null>;
export interface Verdict {
  original: string;
  again: string;
  kind: Run['kind'];
  status: Run['status'];
  metrics: MetricVerdict[];
  dataset?: Digests;
  model?: Digests;
  within: boolean;
}

function compared(key: string, original: number | null, again: number | null, tolerance: number): MetricVerdict {
  if (original === null || again === null) return { key, original, again, difference: null, within: false };
  const difference = again - original;
  return {
    key,
    original,
    again,
    difference,
    within: Math.abs(difference) <= tolerance * Math.max(1, Math.abs(original)),
  };
}

/** The versions that two preparations of a dataset made, or two runs that took a model in. */
const digestOf = ({ result }: Run): string | null => (result?.dataset ?? result?.model)?.digest ?? null;
const digestsOf = (original: Run, anew: Run): Digests => ({
  original: digestOf(original),
  again: digestOf(anew),
});

/**
 * Every last metric of two runs: within the tolerance where they differ by at most `tolerance`, or that part of a value
 * beyond ±1.
 * Datasets and models are compared by their digest.
 */
export function judge(original: Run, anew: Run, tolerance: number): Verdict {
  const [before, after] = [original.result?.metrics ?? {}, anew.result?.metrics ?? {}];
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .filter((key) => !OF_THE_MACHINE.test(key))
    .sort();
  const metrics = keys.map((key) => compared(key, before[key] ?? null, after[key] ?? null, tolerance));
  const prepared = READS_DATA_ROOT.includes(original.kind) ? digestsOf(original, anew) : undefined;
  return {
    original: original.id,
    again: anew.id,
    kind: original.kind,
    status: anew.status,
    metrics,
    ...(prepared && { [original.kind === 'import-model' ? 'model' : 'dataset']: prepared }),
    within:
      anew.status === 'succeeded' && metrics.every(({ within }) => within) && prepared?.original === prepared?.again,
  };
}

/** The same as commands for a shell: each run submitted by its complete spec, then all followed. */
export function shellScript(runs: readonly Run[]): string {
  const names = new Map<string, string>();
  const counts = new Map<string, number>();
  for (const { id, kind } of runs) {
    const count = (counts.get(kind) ?? 0) + 1;
    counts.set(kind, count);
    names.set(id, `${kind.replaceAll('-', '_')}${count === 1 ? '' : count}`);
  }
  const steps = runs.map((run) => {
    const parents = parentsOf(run.spec).map((id) => names.get(id)!);
    const waits = needsEnded(run, runs) ? `loom watch ${parents.map((name) => `"$${name}"`).join(' ')}\n` : '';
    // The shell puts the ids of the new runs in, and must leave everything else as it is.
    const text = JSON.stringify(again(run, new Map()), null, 2).replace(/[\\$`]/g, '\\$&');
    const request = parentsOf(run.spec).reduce((all, id) => all.replaceAll(id, `$${names.get(id)}`), text);
    return (
      `# ${run.kind} ${run.id}, digest ${run.digest}\n${waits}${names.get(run.id)}=$(loom submit --quiet - <<END\n` +
      `${request}\nEND\n)\n`
    );
  });
  return `set -e\n${steps.join('')}loom watch ${[...names.values()].map((name) => `"$${name}"`).join(' ')}\n`;
}
