import type { EventStream } from './event-stream.js';
import type { RunFilter } from './run-filter.js';
import { followRun, followStanding, type Persistence, type RunHandlers, type StandingHandlers } from './run-follow.js';
import { isTerminal, type RunStatus } from './run-status.js';
import type { Run } from './runs-api.js';
import type { RunsStanding, SweepStanding } from './standings.js';
import { queryString, Transport, UnreachableError } from './transport.js';

/** What the API sends as it comes: files, and what happens to runs, lists of runs and sweeps. */
export class Streams extends Transport {
  artifactUrl(runId: string, artifactId: string): string {
    return `${this.url}/v1/runs/${encodeURIComponent(runId)}/artifacts/${encodeURIComponent(artifactId)}/content`;
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

  /**
   * Streams a run until it has ended, and returns how it ended. A lost connection is taken up again after the last
   * message that came (`Last-Event-ID`), so that nothing is lost and nothing comes twice; at most `retries` times in a
   * row.
   * @throws ApiError when the run does not exist, UnreachableError when the API stays away, the signal's reason
   */
  follow(
    runId: string,
    handlers: RunHandlers = {},
    { signal, retries = this.retries }: { signal?: AbortSignal; retries?: number } = {},
  ): Promise<Run> {
    const path = `/v1/runs/${encodeURIComponent(runId)}/stream`;
    return followRun(this.stream(path, signal), handlers, this.persistence(retries));
  }

  /** Streams how a sweep stands until it has ended, and returns how it ended. @throws as `follow` */
  followSweep(
    id: string,
    handlers: StandingHandlers<SweepStanding>,
    { signal, retries = this.retries }: { signal?: AbortSignal; retries?: number } = {},
  ): Promise<SweepStanding> {
    const path = `/v1/sweeps/${encodeURIComponent(id)}/stream`;
    const isOver = ({ status }: SweepStanding) => status !== 'running' && status !== 'paused';
    return followStanding(this.stream(path, signal), handlers, isOver, this.persistence(retries));
  }

  /**
   * Streams how the runs that a filter names stand, until the signal ends it, or all have ended where they are named by
   * their ids. @throws as `follow`
   */
  followRuns(
    filter: Partial<RunFilter>,
    handlers: StandingHandlers<RunsStanding>,
    { signal, retries = this.retries }: { signal?: AbortSignal; retries?: number } = {},
  ): Promise<RunsStanding> {
    const isOver = ({ counts }: RunsStanding) =>
      filter.id !== undefined && Object.keys(counts).every((status) => isTerminal(status as RunStatus));
    const path = `/v1/runs/stream${queryString(filter)}`;
    return followStanding(this.stream(path, signal), handlers, isOver, this.persistence(retries));
  }

  private stream(path: string, signal: AbortSignal | undefined): EventStream {
    return { url: this.url, path, headers: this.authorization, timeoutMs: this.timeoutMs, signal };
  }

  private persistence(retries: number): Persistence {
    return { retries, backoffMs: (failures) => this.backoffMs(failures), read: (value) => this.read(value) };
  }
}
