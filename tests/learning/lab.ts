/** What the learning suites share: runs through the API, statistics over seeds, and the sections of docs/results.md. */
import { type Estimate, type LoomClient, type Run, type RunSpec } from '#libs/contracts';
import { estimateMean } from '#libs/search';
import { execFileSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, totalmem } from 'node:os';
import path from 'node:path';
import type { z } from 'zod';

/** A section of docs/results.md. */
export interface Section {
  heading: string;
  body: string;
  /** Whether what the suite has to show has been shown. */
  met: boolean;
  /** Measured data that is kept beside the section; the file below the repository's root. */
  recording?: { file: string; text: string };
}

export interface SuiteOptions {
  lab: Lab;
  /** Name of the file or folder in the data root. */ source: string;
  quick: boolean;
  seed: number;
}

export class Lab {
  constructor(
    readonly client: LoomClient,
    readonly signal: AbortSignal,
  ) {}

  /** Submits a run, or attaches to an equal one, and waits for its success. @throws Error when it ends otherwise. */
  async complete(spec: z.input<typeof RunSpec>, label: string): Promise<Run> {
    const { run } = await this.client.submitRun({ spec });
    const started = performance.now();
    const ended = await this.client.follow(
      run.id,
      {
        onMetrics: (points) => {
          for (const { key, step, value } of points)
            if (key.startsWith('eval/')) console.log(`${label}: ${key} ${value.toFixed(4)} at step ${step}`);
        },
      },
      { signal: this.signal },
    );
    if (ended.status !== 'succeeded') throw new Error(`${label} is ${ended.status}: ${ended.statusDetail}`);
    console.log(`${label}: done in ${((performance.now() - started) / 1000).toFixed(0)} s`);
    return ended;
  }

  /** The last value of a metric. */
  static metric(run: Run, key: string): number {
    const value = run.result?.metrics[key];
    if (value === undefined)
      throw new Error(
        `expected run ${run.id} to have ${key}, it has ${Object.keys(run.result?.metrics ?? {}).join(', ')}`,
      );
    return value;
  }

  static seconds = (run: Run): number => (Date.parse(run.finishedAt!) - Date.parse(run.startedAt!)) / 1000;
}

export const percent = (value: number): string => (100 * value).toFixed(1);
/** Mean ± half width of the 95 % interval, in percent. */
export function percentEstimate(values: readonly number[]): string {
  const { mean, ci95 }: Estimate = estimateMean(values);
  return `${percent(mean)}${ci95 === null ? '' : ` ± ${percent(ci95)}`}`;
}

const ROOT = path.resolve(import.meta.dirname, '..', '..', '..');
const git = (...args: string[]): string => {
  try {
    return execFileSync('git', args, { encoding: 'utf8', cwd: import.meta.dirname }).trim();
  } catch {
    return 'unknown';
  }
};

/** Commit, day and machine, as every published number carries them. */
export const provenance = (): string => {
  const commit = git('rev-parse', '--short=12', 'HEAD') + (git('status', '--porcelain', '-uno') ? ' with changes' : '');
  return (
    `commit ${commit}, ${new Date().toISOString().slice(0, 10)}, ${availableParallelism()} cores ` +
    `(${cpus()[0]?.model.trim() ?? 'unknown'}), ${Math.round(totalmem() / 2 ** 30)} GiB, no GPU`
  );
};

const PREFACE = `# Results

Published numbers carry the command that made them. All are of the last epoch, never the best; intervals are 95 % by
Student's t over the seeds. Nothing is chosen by the samples that a table is about.
`;

/** A row of a table in Markdown. */
export const row = (...cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`;
/** The line below the head of such a table. */
export const rule = (columns: number): string => `|${'---|'.repeat(columns)}`;

/** Puts a section in the place of the one with its heading, or at the end; the others stay. */
export async function publish(
  { heading, body, recording }: Section,
  file = path.join(ROOT, 'docs', 'results.md'),
): Promise<void> {
  if (recording) await writeFile(path.join(ROOT, recording.file), recording.text);
  const text = await readFile(file, 'utf8').catch(() => PREFACE);
  const [, ...sections] = text.split(/^## /m);
  const own = `${heading}\n\n${body.trim()}\n`;
  const place = sections.findIndex((section) => section.startsWith(`${heading}\n`));
  const all =
    place < 0
      ? [...sections.map((section) => `${section.trim()}\n`), own]
      : sections.map((section, i) => (i === place ? own : `${section.trim()}\n`));
  await writeFile(file, `${PREFACE}\n${all.map((section) => `## ${section}`).join('\n')}`);
}
