/** Runs and sweeps from files: submitted, or only planned. */
import { ApiError, type Estimation, type MemoryFit, type Plan, type Run, type SubmitRun } from '#libs/contracts';
import type { Command } from 'commander';
import { SubmissionFile, type Reading } from '../document.js';
import { UsageError } from '../usage-error.js';
import { FOLLOWING, positive } from '../options.js';
import { follow, followSweep } from '../outcome.js';
import { client, say, settings, show } from '../program.js';
import { runId } from '../references.js';

const MOST_TRIALS_NAMED = 10;

function memoryText(memory: MemoryFit | undefined): string {
  if (!memory || memory.neededMiB === null) return '';
  return `memory: up to ${memory.neededMiB} MiB${placeText(memory)}\n`;
}

/** Which worker has room for it; else which trials have none. */
function placeText({ on, fits, trials }: MemoryFit): string {
  if (on === null) return ', and no worker is there that could take it';
  if (fits) return `, fits ${on}`;
  const named = trials.slice(0, MOST_TRIALS_NAMED).join(', ') + (trials.length > MOST_TRIALS_NAMED ? ', …' : '');
  return `${trials.length ? ` (trials ${named})` : ''}, which does not fit ${on}`;
}

function timeText(seconds: number): string {
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  return seconds < 7200 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function estimateText(estimate: Estimation | undefined): string {
  if (!estimate) return '';
  const { gpuSeconds, wallSeconds, slots } = estimate;
  const known = Object.entries(estimate.basis)
    .map(([kind, { runs, seconds }]) => `${kind} ${timeText(seconds)}, as ${runs} before`)
    .join('; ');
  const unknown = Object.entries(estimate.unknown)
    .map(([kind, count]) => `${count} ${kind}`)
    .join(', ');
  const wall = wallSeconds === null ? '' : `, ${timeText(wallSeconds)} on ${slots} ${slots === 1 ? 'slot' : 'slots'}`;
  return (
    (known ? `about ${timeText(gpuSeconds)} of workers (${known})${wall}\n` : '') +
    (unknown ? `not known yet, none has succeeded: ${unknown}\n` : '')
  );
}

interface SubmitOptions extends Reading {
  watch?: boolean;
  quiet?: boolean;
  cancelOnInterrupt?: boolean;
  project?: string;
  maxSeconds?: number;
}

/** `name=field` or `name=` (set aside), collected. */
function mapped(given: string, before: Record<string, string | null> = {}): Record<string, string | null> {
  const [name, field] = given.split('=', 2) as [string, string | undefined];
  if (!name || field === undefined) throw new UsageError(`expected NAME=FIELD, or NAME= to set it aside, got ${given}`);
  return { ...before, [name]: field || null };
}

/** Options for files that are written for Weights & Biases. */
const forWandb = (command: Command): Command =>
  command
    .option('--stage <kind>', 'read a sweep file of Weights & Biases, as one of a stage of this kind')
    .option('--dataset <name>', 'the dataset of that stage')
    .option('--map <name=field>', 'what a name in that file means here; NAME= sets it aside (again for each)', mapped);

/** What became of the names of a file, and what its plan says of it. */
const notesOf = ({ notes }: SubmissionFile, plan: Plan): string[] => [...notes, ...(plan.notes ?? [])];
const notesText = (notes: readonly string[]): string => notes.map((note) => `  ${note}\n`).join('');

/** What of a run that was there before has another name than was asked for. */
const nameText = (run: Run, { name: asked }: Pick<SubmitRun, 'name'>): string =>
  asked === undefined || run.name === asked || run.name === null
    ? ''
    : `\n  it is called ${run.name}, and not ${asked}: loom change ${run.id} --name ${asked} renames it`;

const read = (file: string, reading: Reading): Promise<SubmissionFile> =>
  SubmissionFile.read(file, reading, async (text) => runId(await client(), text));

export function addSubmit(program: Command): void {
  forWandb(program.command('submit <file>'))
    .description('submit a run or a sweep from a YAML or JSON file; - is standard input')
    .option('--watch', 'follow it to its end')
    .option('--cancel-on-interrupt', FOLLOWING)
    .option('-q, --quiet', 'print only its id')
    .option('--project <name>', 'whose share of the workers it takes')
    .option('--max-seconds <n>', 'how long each run may take before it is stopped as timed_out', positive)
    .action(
      async (file: string, { watch, quiet, cancelOnInterrupt, project, maxSeconds, ...reading }: SubmitOptions) => {
        const document = await read(file, reading);
        const api = await client();
        const { submission } = document;
        if (project !== undefined) submission.request.project = project;
        if (maxSeconds !== undefined) submission.request.maxSeconds = maxSeconds;
        const told = (value: { id: string }, text: string) => {
          if (quiet) say(value.id);
          else if (!watch || !settings().json) show(value, () => `${text}\n`);
        };
        const refused = (error: unknown): never => {
          throw error instanceof ApiError ? new UsageError(document.explain(error.problem)) : error;
        };
        if (submission.type === 'run') {
          const { run, created } = await api.submitRun(submission.request).catch(refused);
          told(
            run,
            `${created ? 'submitted' : 'reused'} run ${run.id} (${run.status})${nameText(run, submission.request)}`,
          );
          // What was there before is somebody else's: it is let go of, not cancelled.
          const watching = { cancelOnInterrupt: cancelOnInterrupt && created, spareShared: true };
          if (watch) process.exitCode = await follow(api, [run], watching);
        } else {
          const { sweep } = await api.submitSweep(submission.request).catch(refused);
          told(
            sweep,
            `submitted sweep ${sweep.id}: ${sweep.plan.summary}\n${notesText(notesOf(document, sweep.plan))}`.trimEnd(),
          );
          if (watch) process.exitCode = await followSweep(api, sweep.id, { cancelOnInterrupt });
        }
      },
    );
}

export function addPlan(program: Command): void {
  forWandb(program.command('plan <file>'))
    .description('what submitting this file would start, and what it would reuse')
    .action(async (file: string, reading: Reading) => {
      const document = await read(file, reading);
      const api = await client();
      const { submission } = document;
      try {
        const plan =
          submission.type === 'run' ? await api.planRun(submission.request) : await api.planSweep(submission.request);
        const notes = notesOf(document, plan);
        show(
          notes.length ? { ...plan, notes } : plan,
          () => `${plan.summary}\n${notesText(notes)}${estimateText(plan.estimate)}${memoryText(plan.memory)}`,
        );
      } catch (error) {
        throw error instanceof ApiError ? new UsageError(document.explain(error.problem)) : error;
      }
    });
}
