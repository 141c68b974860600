/** Requests to the API over `fetch`: repeated while they may be, with the API's problems as errors. */
import type { DamagedRow, Problem } from './http.js';
import { mapTexts } from './plain-text.js';

export interface ClientOptions {
  /** Where the API listens, such as `http://127.0.0.1:3000`; empty for the page's own origin. */
  url: string;
  /** Sent with every request as a bearer token, for a proxy in front that asks for one. */
  key?: string | undefined;
  /**
   * How often a call that may be repeated is tried again when the API can't be reached or is unavailable. Without any
   * neither is one that is turned away.
   */
  retries?: number;
  /** First pause before a repeat; it doubles up to the longest, which is 5 s unless it is said. */
  retryDelayMs?: number;
  longestDelayMs?: number;
  /** How long a call, or a silent stream, may take before it counts as lost. */
  timeoutMs?: number;
  /** Called for what is left out of a list because its row is damaged. */
  onDamaged?: (row: DamagedRow) => void;
  /** What becomes of each text of an answer: `printable` where it goes to a terminal. */
  readText?: ((text: string) => string) | undefined;
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
        // What the sentence says already is not said again.
        ...(problem.errors ?? [])
          .filter(({ message }) => !problem.detail?.includes(message))
          .map(({ path, message }) => `  ${path}: ${message}`),
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

export interface CallOptions {
  query?: object;
  /** Sent as JSON; a Blob as it is. */
  body?: unknown;
  headers?: Record<string, string>;
  method?: 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE';
  repeatable?: boolean;
  timeoutMs?: number;
  /** Ends the call instead of `timeoutMs`. */
  signal?: AbortSignal;
}

/** Whether the same call may succeed a moment later: nobody answered, or the API was unavailable or too busy. */
export const isPassing = (error: unknown): error is ApiError | UnreachableError =>
  error instanceof UnreachableError || (error instanceof ApiError && (error.status === 503 || isTurnedAway(error)));
/** Refused at the door: nothing was done, whatever was asked. */
const isTurnedAway = (error: ApiError | UnreachableError): boolean => error instanceof ApiError && error.status === 429;

/** How long a call is repeated that is turned away: a script's thousand submits at once take their turns. */
const PATIENCE_MS = 60_000;

/** What every call to the API goes through. */
export class Transport {
  readonly url: string;
  protected readonly authorization: Record<string, string>;
  protected readonly retries: number;
  protected readonly retryDelayMs: number;
  protected readonly longestDelayMs: number;
  protected readonly timeoutMs: number;
  private readonly onDamaged: (row: DamagedRow) => void;
  private readonly readText: ((text: string) => string) | undefined;

  constructor({
    url,
    key,
    retries = 4,
    retryDelayMs = 250,
    longestDelayMs = 5000,
    timeoutMs = 30_000,
    onDamaged = () => {},
    readText,
  }: ClientOptions) {
    this.url = url.replace(/(?<!\/)\/+$/, '');
    this.authorization = key === undefined ? {} : { authorization: `Bearer ${key}` };
    this.retries = retries;
    this.retryDelayMs = retryDelayMs;
    this.longestDelayMs = longestDelayMs;
    this.timeoutMs = timeoutMs;
    this.onDamaged = onDamaged;
    this.readText = readText;
  }

  protected async json<Result>(path: string, options: CallOptions = {}): Promise<Result> {
    return this.read((await (await this.send(path, options)).json()) as Result);
  }

  /** A value of an answer, with its texts as they were asked for. */
  protected read<Value>(value: Value): Value {
    return this.readText ? mapTexts(value, this.readText) : value;
  }

  /** The answer to a call that lists; who made the client hears of what is left out of it. */
  protected async listed<List extends { damaged?: DamagedRow[] | undefined }>(
    path: string,
    query: object = {},
  ): Promise<List> {
    const list = await this.json<List>(path, { query });
    for (const row of list.damaged ?? []) this.onDamaged(row);
    return list;
  }

  /**
   * The answer to a call, repeated with growing pauses while its failure is passing and it may be repeated; what is
   * turned away is not counted, for a minute.
   * @throws ApiError, UnreachableError
   */
  protected async send(path: string, options: CallOptions): Promise<Response> {
    const { query = {}, method = options.body === undefined ? 'GET' : 'POST' } = options;
    const { repeatable = method === 'GET' } = options;
    const begun = performance.now();
    const mayComeAgain = (fault: ApiError | UnreachableError, attempt: number): boolean =>
      isTurnedAway(fault)
        ? this.retries > 0 && performance.now() - begun < PATIENCE_MS
        : repeatable && isPassing(fault) && attempt < this.retries;
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.sendOnce(this.url + path + queryString(query), method, options);
      } catch (error) {
        const fault = error instanceof ApiError ? error : new UnreachableError(this.url, error);
        if (!mayComeAgain(fault, attempt)) throw fault;
        const asked = fault instanceof ApiError ? (fault.retryAfterSeconds ?? 0) * 1000 : 0;
        await pause(Math.min(30_000, Math.max(asked, this.backoffMs(attempt))));
      }
    }
  }

  private async sendOnce(
    url: string,
    method: string,
    { body, headers = {}, timeoutMs = this.timeoutMs, signal = AbortSignal.timeout(timeoutMs) }: CallOptions,
  ): Promise<Response> {
    const isFile = body instanceof Blob;
    const response = await fetch(url, {
      method,
      headers: {
        accept: 'application/json',
        ...this.authorization,
        ...(body !== undefined && { 'content-type': isFile ? 'application/octet-stream' : 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: isFile ? body : JSON.stringify(body) }),
      signal,
    });
    if (!response.ok) {
      const { problem, retryAfterSeconds } = await problemOf(response);
      throw new ApiError(this.read(problem), retryAfterSeconds);
    }
    return response;
  }

  /**
   * Doubles from the first delay up to the longest, less up to a half at random, so that many clients don't come back
   * at once.
   */
  protected backoffMs(attempt: number): number {
    return Math.min(this.longestDelayMs, this.retryDelayMs * 2 ** attempt) * (1 - Math.random() / 2);
  }
}

/** The problem document of an answer, or one made of what a proxy in between answered. */
export async function problemOf(response: Response): Promise<ApiError> {
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
    /* Not a problem document. */
  }
  return new ApiError(problem, Number.isFinite(retryAfter) ? retryAfter : undefined);
}

export function queryString(query: object): string {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query) as [string, string | number | boolean | string[] | undefined][]) {
    if (value !== undefined) parameters.set(key, Array.isArray(value) ? value.join(',') : String(value));
  }
  return parameters.size ? `?${parameters.toString()}` : '';
}

function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message || ('code' in cause ? String(cause.code) : cause.name) : String(cause);
}

/** @throws the reason of the signal */
export const pause = (ms: number, signal?: AbortSignal): Promise<void> =>
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

/** A new Idempotency-Key, of 32 hex digits. `crypto.randomUUID` exists in browsers only on https and localhost. */
export const newKey = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
