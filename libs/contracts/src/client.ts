import type { z } from 'zod';
import type { Artifact, CollectResult, Dataset } from './artifacts-api.js';
import type { ListPage, Problem } from './http.js';
import type { Plan, Why } from './plans-api.js';
import type { Project, ProjectSettings } from './projects-api.js';
import type { BulkResult, BulkRuns, ListRuns, RetryResult, RunCounts, RunFilter } from './run-filter.js';
import type {
  ListMetrics,
  LogLine,
  MetricSeries,
  RecordMetrics,
  Run,
  RunDetail,
  RunEvent,
  SubmitRun,
} from './runs-api.js';
import type { SweepRungs, SweepTable } from './sweep-results.js';
import type { SubmitSweep, Sweep, SweepDetail } from './sweeps-api.js';
import type { Worker } from './workers-api.js';
import { isTerminal } from './run-status.js';
import type { SweepChanges } from './sweep.js';
import type { MetricPoint } from './trainer-protocol.js';

export interface ClientOptions {
  /** Where the API listens, such as `http://127.0.0.1:3000`; empty for the page's own origin. */
  url: string;
  /** Sent with every request as a bearer token, for a proxy in front that asks for one. */
  key?: string | undefined;
  /** How often a call that may be repeated is tried again when the API can't be reached or is unavailable. */
  retries?: number;
  /** First pause before a repeat; it doubles up to 5 s. */
  retryDelayMs?: number;
  /** How long a call, or a silent stream, may take before it counts as lost. */
  timeoutMs?: number;
}

/** A point and when it was recorded. */
export interface TimedPoint extends MetricPoint {
  at: string;
}

export interface PageOf<Item> {
  items: Item[];
  nextCursor: string | null;
}

/** The API refused: `problem` says which field, what was expected and what came. */
export class ApiError extends Error {
  constructor(
    readonly problem: Problem,
    readonly retryAfterSeconds?: number,
  ) {
    super(
      [
        problem.detail || problem.title,
        ...(problem.errors ?? []).map((fault) => `  ${fault.path}: ${fault.message}`),
      ].join('\n'),
    );
    this.name = 'ApiError';
  }

  get status(): number {
    return this.problem.status;
  }
  get code(): string {
    return this.problem.code;
  }
}

/** Nobody answers at the address. */
export class UnreachableError extends Error {
  constructor(
    readonly url: string,
    cause: unknown,
  ) {
    super(`expected an API at ${url || "the page's origin"}, got no answer: ${reasonOf(cause)}`, { cause });
    this.name = 'UnreachableError';
  }
}

/** What a followed run says, in the order in which it happened. After a lost connection it goes on where it was. */
export interface RunHandlers {
  onRun?(run: Run): void;
  onEvent?(event: RunEvent): void;
  onMetrics?(points: TimedPoint[]): void;
  onLog?(line: LogLine): void;
  /** The connection broke, or was silent for too long, and is made anew. */
  onLost?(error: Error): void;
  /** It is there again. */
  onBack?(): void;
}

const COLLECT_TIMEOUT_MS = 300_000;
const EXPORT_TIMEOUT_MS = 600_000;

interface CallOptions {
  query?: object;
  body?: unknown;
  headers?: Record<string, string>;
  method?: 'GET' | 'POST' | 'PATCH' | 'PUT';
  repeatable?: boolean;
  timeoutMs?: number;
  /** Takes the place of the time. */ signal?: AbortSignal;
}

/**
 * The API of Latent Loom over `fetch`: for the command line, the dashboard and programs of others. Dates are ISO 8601
 * text.
 */
export class LoomClient {
  readonly url: string;
  private readonly authorization: Record<string, string>;
  private readonly retries: number;
  private readonly retryDelayMs: number;
  private readonly timeoutMs: number;

  constructor({ url, key, retries = 4, retryDelayMs = 250, timeoutMs = 30_000 }: ClientOptions) {
    this.url = url.replace(/\/+$/, '');
    this.authorization = key === undefined ? {} : { authorization: `Bearer ${key}` };
    this.retries = retries;
    this.retryDelayMs = retryDelayMs;
    this.timeoutMs = timeoutMs;
  }

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
    return this.json('/v1/runs', { query });
  }
  /** All runs that match, fetched page by page as they are read. */
  eachRun(query: Partial<ListRuns> = {}): AsyncGenerator<Run> {
    return each((cursor) => this.runs({ limit: 200, ...query, ...cursor }));
  }
  async runCounts(filter: Partial<RunFilter> = {}): Promise<RunCounts['counts']> {
    return (await this.json<RunCounts>('/v1/runs/counts', { query: filter })).counts;
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
    return this.json(`/v1/runs/${encodeURIComponent(id)}/artifacts`, { query });
  }
  eachArtifact(id: string): AsyncGenerator<Artifact> {
    return each((cursor) => this.artifacts(id, { limit: 200, ...cursor }));
  }
  artifactUrl(runId: string, artifactId: string): string {
    return `${this.url}/v1/runs/${encodeURIComponent(runId)}/artifacts/${encodeURIComponent(artifactId)}/content`;
  }
  cancelRun(id: string): Promise<Run> {
    return this.json(`/v1/runs/${encodeURIComponent(id)}/cancel`, { method: 'POST' });
  }
  pauseRun(id: string): Promise<Run> {
    return this.json(`/v1/runs/${encodeURIComponent(id)}/pause`, { method: 'POST' });
  }
  resumeRun(id: string): Promise<Run> {
    return this.json(`/v1/runs/${encodeURIComponent(id)}/resume`, { method: 'POST' });
  }
  retryRun(id: string): Promise<Run> {
    return this.json(`/v1/runs/${encodeURIComponent(id)}/retry`, { method: 'POST' });
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

  /**
   * The bytes of an artifact; the caller compares them with its sha256. It may take long, and be silent as long as a
   * call.
   */
  async download(runId: string, artifactId: string): Promise<ReadableStream<Uint8Array>> {
    const silent = new AbortController();
    const watch = () =>
      setTimeout(
        () => silent.abort(new UnreachableError(this.url, new Error(`nothing came for ${this.timeoutMs} ms`))),
        this.timeoutMs,
      );
    let timer = watch();
    try {
      const response = await this.send(this.artifactUrl(runId, artifactId).slice(this.url.length), {
        signal: silent.signal,
      });
      if (!response.body) throw new UnreachableError(this.url, new Error('a download without a body'));
      return (response.body as ReadableStream<Uint8Array>).pipeThrough(
        new TransformStream<Uint8Array, Uint8Array>({
          transform: (chunk, controller) => {
            clearTimeout(timer);
            timer = watch();
            controller.enqueue(chunk);
          },
          flush: () => clearTimeout(timer),
        }),
      );
    } catch (error) {
      clearTimeout(timer);
      throw error;
    }
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

  sweeps(query: Partial<ListPage> = {}): Promise<PageOf<Sweep>> {
    return this.json('/v1/sweeps', { query });
  }
  sweep(id: string): Promise<SweepDetail> {
    return this.json(`/v1/sweeps/${encodeURIComponent(id)}`);
  }
  sweepResults(id: string): Promise<SweepTable> {
    return this.json(`/v1/sweeps/${encodeURIComponent(id)}/results`);
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
    return this.json(`/v1/sweeps/${encodeURIComponent(id)}/cancel`, { method: 'POST' });
  }
  pauseSweep(id: string): Promise<Sweep> {
    return this.json(`/v1/sweeps/${encodeURIComponent(id)}/pause`, { method: 'POST' });
  }
  resumeSweep(id: string): Promise<Sweep> {
    return this.json(`/v1/sweeps/${encodeURIComponent(id)}/resume`, { method: 'POST' });
  }
  /** Changes limits while it runs; null lifts one. */
  changeSweep(id: string, changes: z.input<typeof SweepChanges>): Promise<Sweep> {
    return this.json(`/v1/sweeps/${encodeURIComponent(id)}`, { method: 'PATCH', body: changes, repeatable: true });
  }
  /** Queues again exactly the runs that failed. */
  retrySweep(id: string): Promise<RetryResult> {
    return this.json(`/v1/sweeps/${encodeURIComponent(id)}/retry`, { method: 'POST' });
  }

  /** The same spec with changes at its top, such as `name`: what has run already is reused. */
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

  // Datasets, workers, projects, health

  datasets(query: Partial<ListPage> = {}): Promise<PageOf<Dataset>> {
    return this.json('/v1/datasets', { query });
  }
  dataset(reference: string): Promise<Dataset> {
    return this.json(`/v1/datasets/${encodeURIComponent(reference)}`);
  }
  async workers(): Promise<Worker[]> {
    return (await this.json<{ items: Worker[] }>('/v1/workers')).items;
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

  /**
   * Streams a run until it has ended, and returns how it ended. A lost connection is taken up again after the last
   * message that came (`Last-Event-ID`), so that nothing is lost and nothing comes twice; at most `retries` times in a
   * row.
   * @throws ApiError when the run does not exist, UnreachableError when the API stays away, the signal's reason
   */
  async follow(
    runId: string,
    handlers: RunHandlers = {},
    { signal, retries = this.retries }: { signal?: AbortSignal; retries?: number } = {},
  ): Promise<Run> {
    let lost = false;
    const opened = () => {
      if (lost) handlers.onBack?.();
      lost = false;
    };
    let lastEventId = '';
    let run: Run | undefined;
    const dispatch = (message: ServerSentEvent) => {
      if (message.id !== undefined) lastEventId = message.id;
      const data: unknown = JSON.parse(message.data);
      if (message.event === 'run') {
        run = data as Run;
        handlers.onRun?.(run);
      } else if (message.event === 'event') handlers.onEvent?.(data as RunEvent);
      else if (message.event === 'metrics') handlers.onMetrics?.((data as { points: TimedPoint[] }).points);
      else if (message.event === 'log') handlers.onLog?.(data as LogLine);
    };
    for (let failures = 0; ;) {
      signal?.throwIfAborted();
      const before = lastEventId;
      try {
        await this.stream(`/v1/runs/${encodeURIComponent(runId)}/stream`, lastEventId, { opened, dispatch }, signal);
        if (run && isTerminal(run.status)) return run;
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof UnreachableError) && !(error instanceof ApiError && error.status === 503)) throw error;
        failures = lastEventId === before ? failures + 1 : 1;
        if (failures > retries) throw error;
        lost = true;
        handlers.onLost?.(error);
      }
      // A stream that ended cleanly without news is asked again no faster than one that broke.
      await pause(this.backoffMs(failures), signal);
    }
  }

  private async stream(
    path: string,
    lastEventId: string,
    { opened, dispatch }: { opened(): void; dispatch(message: ServerSentEvent): void },
    signal?: AbortSignal,
  ): Promise<void> {
    const silent = new AbortController();
    const watch = () =>
      setTimeout(() => silent.abort(new Error(`nothing came for ${this.timeoutMs} ms`)), this.timeoutMs);
    let timer = watch();
    let callerFailed = false;
    try {
      const response = await fetch(this.url + path, {
        headers: {
          accept: 'text/event-stream',
          ...this.authorization,
          ...(lastEventId && { 'last-event-id': lastEventId }),
        },
        signal: signal ? AbortSignal.any([signal, silent.signal]) : silent.signal,
      });
      if (!response.ok || !response.body) throw await problemOf(response);
      callerFailed = true;
      opened();
      callerFailed = false;
      const parser = new ServerSentEventParser();
      const decoder = new TextDecoder();
      for await (const chunk of readChunks(response.body as ReadableStream<Uint8Array>)) {
        clearTimeout(timer);
        timer = watch();
        for (const message of parser.push(decoder.decode(chunk, { stream: true }))) {
          callerFailed = true;
          dispatch(message);
          callerFailed = false;
        }
      }
    } catch (error) {
      // A handler's own error is the caller's business, not a lost connection.
      if (callerFailed || error instanceof ApiError) throw error;
      throw new UnreachableError(this.url, error);
    } finally {
      clearTimeout(timer);
    }
  }

  private async json<Result>(path: string, options: CallOptions = {}): Promise<Result> {
    return (await (await this.send(path, options)).json()) as Result;
  }

  private async send(
    path: string,
    {
      query = {},
      body,
      headers = {},
      method = body === undefined ? 'GET' : 'POST',
      repeatable = method === 'GET',
      timeoutMs = this.timeoutMs,
      signal,
    }: CallOptions,
  ): Promise<Response> {
    const url = this.url + path + queryString(query);
    for (let attempt = 0; ; attempt++) {
      try {
        const response = await fetch(url, {
          method,
          headers: {
            accept: 'application/json',
            ...this.authorization,
            ...(body !== undefined && { 'content-type': 'application/json' }),
            ...headers,
          },
          ...(body !== undefined && { body: JSON.stringify(body) }),
          signal: signal ?? AbortSignal.timeout(timeoutMs),
        });
        if (response.ok) return response;
        throw await problemOf(response);
      } catch (error) {
        const fault = error instanceof ApiError ? error : new UnreachableError(this.url, error);
        const passing = fault instanceof UnreachableError || fault.status === 503;
        if (!repeatable || !passing || attempt >= this.retries) throw fault;
        const asked = fault instanceof ApiError ? (fault.retryAfterSeconds ?? 0) * 1000 : 0;
        await pause(Math.min(30_000, Math.max(asked, this.backoffMs(attempt))));
      }
    }
  }

  /**
   * Doubles from the first delay up to 5 s, less up to a half at random, so that many clients don't come back at once.
   */
  private backoffMs(attempt: number): number {
    return Math.min(5000, this.retryDelayMs * 2 ** attempt) * (1 - Math.random() / 2);
  }
}

export interface ServerSentEvent {
  event: string;
  data: string;
  id?: string;
}

/** Takes text as it arrives and gives the complete messages in it (WHATWG HTML, section 9.2: server-sent events). */
export class ServerSentEventParser {
  private rest = '';
  private event = '';
  private data: string[] = [];
  private id: string | undefined;

  push(text: string): ServerSentEvent[] {
    const messages: ServerSentEvent[] = [];
    const lines = (this.rest + text).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop()!;
    for (const line of lines) {
      if (line === '') {
        if (this.data.length)
          messages.push({
            event: this.event || 'message',
            data: this.data.join('\n'),
            ...(this.id !== undefined && { id: this.id }),
          });
        this.event = '';
        this.data = [];
        this.id = undefined;
        continue;
      }
      const colon = line.indexOf(':');
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + (line[colon + 1] === ' ' ? 2 : 1));
      if (field === 'event') this.event = value;
      else if (field === 'data') this.data.push(value);
      else if (field === 'id' && !value.includes('\0')) this.id = value;
    }
    return messages;
  }
}

/** A ReadableStream is not async-iterable in every browser. */
async function* readChunks(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

async function* each<Item>(fetchPage: (cursor: { cursor?: string }) => Promise<PageOf<Item>>): AsyncGenerator<Item> {
  for (let cursor: string | null | undefined; cursor !== null;) {
    const page = await fetchPage(cursor === undefined ? {} : { cursor });
    yield* page.items;
    cursor = page.nextCursor;
  }
}

async function problemOf(response: Response): Promise<ApiError> {
  const text = await response.text();
  const retryAfter = Number(response.headers.get('retry-after') ?? Number.NaN);
  let problem: Problem = {
    type: 'about:blank',
    title: response.statusText,
    status: response.status,
    code: 'internal',
    detail: `expected a problem document, got HTTP ${response.status}: ${text.slice(0, 200)}`,
  };
  try {
    const body = JSON.parse(text) as Partial<Problem>;
    if (typeof body.code === 'string') problem = { ...problem, ...body, detail: body.detail ?? '' };
  } catch {
    /* A proxy in between answered with a page of its own. */
  }
  return new ApiError(problem, Number.isFinite(retryAfter) ? retryAfter : undefined);
}

function queryString(query: object): string {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query) as [string, string | number | boolean | string[] | undefined][]) {
    if (value !== undefined) parameters.set(key, Array.isArray(value) ? value.join(',') : String(value));
  }
  return parameters.size ? `?${parameters.toString()}` : '';
}

/** `crypto.randomUUID` exists in browsers only on https and localhost. */
const newKey = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');

function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message || ('code' in cause ? String(cause.code) : cause.name) : String(cause);
}

const pause = (ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    const aborted = () => {
      clearTimeout(timer);
      reject(signal!.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', aborted);
      resolve();
    }, ms);
    if (signal?.aborted) aborted();
    else signal?.addEventListener('abort', aborted, { once: true });
  });
