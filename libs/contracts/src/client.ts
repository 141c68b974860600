import type { z } from 'zod';
import { EXPORT_TIMEOUT_MS, Kept } from './client-kept.js';
import type { AddArtifact, Artifact, CollectResult } from './artifacts-api.js';
import type { ListPage } from './http.js';
import { itemsOf, type PageOf } from './pages.js';
import type { Plan, Why } from './plans-api.js';
import type { Project, ProjectSettings } from './projects-api.js';
import type { Reference } from './references-api.js';
import type {
  BulkResult,
  BulkRuns,
  GroupRuns,
  ListRuns,
  RetryResult,
  RunCounts,
  RunFilter,
  RunGroups,
} from './run-filter.js';

import type {
  ListMetrics,
  LogLine,
  MetricSeries,
  RecordMetrics,
  Run,
  RunChanges,
  RunDetail,
  RunEvent,
  SubmitRun,
} from './runs-api.js';
import type { ListedTrial, ListSweeps, ListTrials } from './sweep-filter.js';
import type { SweepRungs, SweepTable } from './sweep-results.js';
import type { SubmitSweep, Sweep, SweepDetail, DeletedSweep, ArchivedSweep } from './sweeps-api.js';
import type { SweepChanges } from './sweep.js';
import { newKey, UnreachableError } from './transport.js';
import type { Worker } from './workers-api.js';

const COLLECT_TIMEOUT_MS = 300_000;
const UPLOAD_TIMEOUT_MS = 600_000;

const bytesOfHex = (hex: string): number[] => (hex.match(/../g) ?? []).map((pair) => Number.parseInt(pair, 16));

/**
 * The API of Latent Loom over `fetch`: for the command line, the dashboard and programs of others. Dates are ISO 8601
 * text.
 */
export class LoomClient extends Kept {
  // Runs

  /** `created` is false when an equal run was reused, or the key had been used for it before. */
  async submitRun(
    request: z.input<typeof SubmitRun>,
    idempotencyKey: string = newKey(),
  ): Promise<{ run: Run; created: boolean }> {
    const response = await this.send('/v1/runs', {
      body: request,
      headers: { 'idempotency-key': idempotencyKey },
      repeatable: true,
    });
    return { run: (await response.json()) as Run, created: response.status === 201 };
  }

  planRun(request: z.input<typeof SubmitRun>): Promise<Plan> {
    return this.json('/v1/runs', { query: { validate_only: true }, body: request, repeatable: true });
  }

  /** A run against another, or the nearest of its kind; or what a submit would attach to. */
  why(id: string, against?: string): Promise<Why> {
    return this.json(`/v1/runs/${encodeURIComponent(id)}/why`, { query: { against } });
  }
  whySubmission(request: z.input<typeof SubmitRun>): Promise<Why> {
    return this.json('/v1/runs/why', { body: request, repeatable: true });
  }

  runs(query: Partial<ListRuns> = {}): Promise<PageOf<Run>> {
    return this.listed('/v1/runs', query);
  }
  /** All runs that match, fetched page by page as they are read. */
  eachRun(query: Partial<ListRuns> = {}): AsyncGenerator<Run> {
    return itemsOf((cursor) => this.runs({ limit: 200, ...query, ...cursor }));
  }
  async runCounts(filter: Partial<RunFilter> = {}): Promise<RunCounts['counts']> {
    return (await this.json<RunCounts>('/v1/runs/counts', { query: filter })).counts;
  }
  /** The runs that a filter names, in groups of equal fields, with the means of their metrics. */
  runGroups(query: Partial<GroupRuns> = {}): Promise<RunGroups> {
    return this.json('/v1/runs/groups', { query });
  }
  run(id: string): Promise<RunDetail> {
    return this.json(`/v1/runs/${encodeURIComponent(id)}`);
  }
  events(id: string, query: Partial<ListPage> = {}): Promise<PageOf<RunEvent>> {
    return this.json(`/v1/runs/${encodeURIComponent(id)}/events`, { query });
  }
  async metrics(id: string, query: Partial<ListMetrics> = {}): Promise<MetricSeries[]> {
    return (await this.json<{ items: MetricSeries[] }>(`/v1/runs/${encodeURIComponent(id)}/metrics`, { query })).items;
  }
  /**
   * Values beside those of its worker, by whoever knows the run's attempt; true repeats do no harm. At most 10,000
   * points.
   */
  async recordMetrics(id: string, request: RecordMetrics): Promise<number> {
    return (
      await this.json<{ points: number }>(`/v1/runs/${encodeURIComponent(id)}/metrics`, {
        body: request,
        repeatable: true,
      })
    ).points;
  }
  logs(id: string, query: Partial<ListPage> = {}): Promise<PageOf<LogLine>> {
    return this.json(`/v1/runs/${encodeURIComponent(id)}/logs`, { query });
  }
  artifacts(id: string, query: Partial<ListPage> = {}): Promise<PageOf<Artifact>> {
    return this.listed(`/v1/runs/${encodeURIComponent(id)}/artifacts`, query);
  }
  eachArtifact(id: string): AsyncGenerator<Artifact> {
    return itemsOf((cursor) => this.artifacts(id, { limit: 200, ...cursor }));
  }
  /**
   * Adds a file to a run; the same again does no harm. `sha256` (in hex): bytes that are others are refused. In Node
   * `openAsBlob` reads a file as it is sent.
   */
  addArtifact(
    id: string,
    name: string,
    file: Blob,
    { sha256, ...query }: Partial<AddArtifact> & { sha256?: string } = {},
  ): Promise<Artifact> {
    const digest = sha256 === undefined ? undefined : btoa(String.fromCharCode(...bytesOfHex(sha256)));
    return this.json(`/v1/runs/${encodeURIComponent(id)}/artifacts/${encodeURIComponent(name)}`, {
      method: 'PUT',
      body: file,
      query,
      ...(digest !== undefined && { headers: { 'content-digest': `sha-256=:${digest}:` } }),
      repeatable: true,
      timeoutMs: UPLOAD_TIMEOUT_MS,
    });
  }
  cancelRun(id: string): Promise<Run> {
    return this.json(`/v1/runs/${encodeURIComponent(id)}/cancel`, { method: 'POST', repeatable: true });
  }
  pauseRun(id: string): Promise<Run> {
    return this.json(`/v1/runs/${encodeURIComponent(id)}/pause`, { method: 'POST', repeatable: true });
  }
  resumeRun(id: string): Promise<Run> {
    return this.json(`/v1/runs/${encodeURIComponent(id)}/resume`, { method: 'POST' });
  }
  retryRun(id: string): Promise<Run> {
    return this.json(`/v1/runs/${encodeURIComponent(id)}/retry`, { method: 'POST' });
  }
  /** Lists leave out what was archived; only a run that has ended can be. */
  archiveRun(id: string): Promise<Run> {
    return this.json(`/v1/runs/${encodeURIComponent(id)}/archive`, { method: 'POST', repeatable: true });
  }
  unarchiveRun(id: string): Promise<Run> {
    return this.json(`/v1/runs/${encodeURIComponent(id)}/unarchive`, { method: 'POST', repeatable: true });
  }

  /** Changes what a run is called, what is said of it, and its place in the line; null takes a name or notes away. */
  changeRun(id: string, changes: z.input<typeof RunChanges>): Promise<RunDetail> {
    return this.json(`/v1/runs/${encodeURIComponent(id)}`, { method: 'PATCH', body: changes, repeatable: true });
  }

  /** Deletes a run that has ended and that nothing needs. */
  async deleteRun(id: string): Promise<void> {
    await this.send(`/v1/runs/${encodeURIComponent(id)}`, { method: 'DELETE' });
  }

  /** Does the same to all runs that a filter names, request by request until the end. */
  async bulkRuns(
    request: Omit<z.input<typeof BulkRuns>, 'cursor'>,
    { validateOnly = false } = {},
  ): Promise<Omit<BulkResult, 'nextCursor'>> {
    const total: Omit<BulkResult, 'nextCursor'> = { done: 0, skipped: {} };
    for (let cursor: string | null | undefined; cursor !== null;) {
      const part: BulkResult = await this.json('/v1/runs/bulk', {
        query: validateOnly ? { validate_only: true } : {},
        body: { ...request, ...(cursor !== undefined && { cursor }) },
      });
      total.done += part.done;
      for (const [reason, count] of Object.entries(part.skipped))
        total.skipped[reason] = (total.skipped[reason] ?? 0) + count;
      cursor = part.nextCursor;
    }
    return total;
  }

  // Sweeps

  async submitSweep(
    request: z.input<typeof SubmitSweep>,
    idempotencyKey: string = newKey(),
  ): Promise<{ sweep: Sweep; created: boolean }> {
    const response = await this.send('/v1/sweeps', {
      body: request,
      headers: { 'idempotency-key': idempotencyKey },
      repeatable: true,
    });
    return { sweep: (await response.json()) as Sweep, created: response.status === 201 };
  }

  planSweep(request: z.input<typeof SubmitSweep>): Promise<Plan> {
    return this.json('/v1/sweeps', { query: { validate_only: true }, body: request, repeatable: true });
  }

  sweeps(query: Partial<ListSweeps> = {}): Promise<PageOf<Sweep>> {
    return this.listed('/v1/sweeps', query);
  }
  /** All sweeps that match, fetched page by page as they are read. */
  eachSweep(query: Partial<ListSweeps> = {}): AsyncGenerator<Sweep> {
    return itemsOf((cursor) => this.sweeps({ limit: 100, ...query, ...cursor }));
  }
  trials(id: string, query: Partial<ListTrials> = {}): Promise<PageOf<ListedTrial>> {
    return this.json(`/v1/sweeps/${encodeURIComponent(id)}/trials`, { query });
  }
  eachTrial(id: string, query: Partial<ListTrials> = {}): AsyncGenerator<ListedTrial> {
    return itemsOf((cursor) => this.trials(id, { limit: 200, ...query, ...cursor }));
  }
  sweep(id: string): Promise<SweepDetail> {
    return this.json(`/v1/sweeps/${encodeURIComponent(id)}`);
  }
  sweepResults(id: string): Promise<SweepTable> {
    return this.listed(`/v1/sweeps/${encodeURIComponent(id)}/results`);
  }
  /**
   * Who came to which rung of early stopping, with what, and what was made of it; null in a sweep that stops nothing
   * early.
   */
  async sweepRungs(id: string): Promise<SweepRungs | null> {
    return (await this.json<{ rungs: SweepRungs | null }>(`/v1/sweeps/${encodeURIComponent(id)}/rungs`)).rungs;
  }
  /** A line for each trial, as CSV. */
  async sweepCsv(id: string): Promise<string> {
    return (await this.send(`/v1/sweeps/${encodeURIComponent(id)}/trials.csv`, {})).text();
  }
  /**
   * `trials.json`, `trials.parquet` (a row for each trial), or `mlflow.tar`: a folder `mlruns` as MLflow keeps its runs
   * in.
   */
  async exportSweep(
    id: string,
    file: 'trials.csv' | 'trials.json' | 'trials.parquet' | 'mlflow.tar',
  ): Promise<ReadableStream<Uint8Array>> {
    const response = await this.send(`/v1/sweeps/${encodeURIComponent(id)}/${file}`, { timeoutMs: EXPORT_TIMEOUT_MS });
    if (!response.body) throw new UnreachableError(this.url, new Error('an export without a body'));
    return response.body as ReadableStream<Uint8Array>;
  }
  cancelSweep(id: string): Promise<Sweep> {
    return this.json(`/v1/sweeps/${encodeURIComponent(id)}/cancel`, { method: 'POST', repeatable: true });
  }
  pauseSweep(id: string): Promise<Sweep> {
    return this.json(`/v1/sweeps/${encodeURIComponent(id)}/pause`, { method: 'POST', repeatable: true });
  }
  resumeSweep(id: string): Promise<Sweep> {
    return this.json(`/v1/sweeps/${encodeURIComponent(id)}/resume`, { method: 'POST' });
  }
  /** Deletes a sweep that has come to its end, and with `runs` those of its own runs that nothing else needs. */
  deleteSweep(id: string, { runs = false } = {}): Promise<DeletedSweep> {
    return this.json(`/v1/sweeps/${encodeURIComponent(id)}`, { method: 'DELETE', query: { runs }, timeoutMs: 600_000 });
  }
  /** Lists leave it out; with `runs` those of its own runs too that no other sweep has and nobody has asked for. */
  archiveSweep(id: string, { runs = false } = {}): Promise<ArchivedSweep> {
    const path = `/v1/sweeps/${encodeURIComponent(id)}/archive`;
    return this.json(path, { method: 'POST', query: { runs }, repeatable: true });
  }
  /** Takes it out of the archive, and with `runs` all of its runs. */
  unarchiveSweep(id: string, { runs = false } = {}): Promise<ArchivedSweep> {
    const path = `/v1/sweeps/${encodeURIComponent(id)}/unarchive`;
    return this.json(path, { method: 'POST', query: { runs }, repeatable: true });
  }
  /** Changes limits while it runs; null lifts one. */
  changeSweep(id: string, changes: z.input<typeof SweepChanges>): Promise<Sweep> {
    return this.json(`/v1/sweeps/${encodeURIComponent(id)}`, { method: 'PATCH', body: changes, repeatable: true });
  }
  /** Queues again exactly the runs that failed. */
  retrySweep(id: string): Promise<RetryResult> {
    return this.json(`/v1/sweeps/${encodeURIComponent(id)}/retry`, { method: 'POST' });
  }

  /** The same spec with changes at its top, such as `name`: what has run to its end is reused. */
  async cloneSweep(
    id: string,
    changes: Record<string, unknown> = {},
    idempotencyKey: string = newKey(),
  ): Promise<{ sweep: Sweep; created: boolean }> {
    const response = await this.send(`/v1/sweeps/${encodeURIComponent(id)}/clone`, {
      body: { changes },
      headers: { 'idempotency-key': idempotencyKey },
      repeatable: true,
    });
    return { sweep: (await response.json()) as Sweep, created: response.status === 201 };
  }

  // Workers, projects, health

  /** Runs and sweeps that a text may mean, by name or by a part of their id. */
  async references(text: string, type?: Reference['type']): Promise<Reference[]> {
    return (await this.json<{ items: Reference[] }>('/v1/references', { query: { text, type } })).items;
  }

  async workers(): Promise<Worker[]> {
    return (await this.listed<Omit<PageOf<Worker>, 'nextCursor'>>('/v1/workers')).items;
  }

  async projects(): Promise<Project[]> {
    return (await this.json<{ items: Project[] }>('/v1/projects')).items;
  }
  /** Makes a project, or changes what is said of one. */
  putProject(name: string, settings: ProjectSettings): Promise<Project> {
    return this.json(`/v1/projects/${encodeURIComponent(name)}`, { method: 'PUT', body: settings, repeatable: true });
  }

  drainWorker(id: string): Promise<Worker> {
    return this.json(`/v1/workers/${encodeURIComponent(id)}/drain`, { method: 'POST', repeatable: true });
  }

  /**
   * Removes the files that nothing names any more, or only counts them. Takes as long as it takes to look at all files.
   */
  collectArtifacts({ dryRun = false } = {}): Promise<CollectResult> {
    return this.json('/v1/artifacts/collect', {
      method: 'POST',
      query: { validate_only: dryRun },
      repeatable: true,
      timeoutMs: COLLECT_TIMEOUT_MS,
    });
  }

  /** False while nobody answers, or the API can't reach Postgres or Redis. Never throws. */
  async ready(): Promise<boolean> {
    try {
      const response = await fetch(`${this.url}/readyz`, {
        headers: this.authorization,
        signal: AbortSignal.timeout(2000),
      });
      await response.body?.cancel();
      return response.ok;
    } catch {
      return false;
    }
  }
}
