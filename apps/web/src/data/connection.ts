/** The page's connection to the API: its client, whether it answers, and how what was lost is taken up again. */
import { ApiError, LoomClient, UnreachableError } from '#libs/contracts';
import { Watched } from './watched.js';

/** Longest pause before the API is asked again while it is away: what is shown is fresh soon after it is back. */
const LONGEST_PAUSE_MS = 1500;
/** A stream that has been silent for so long counts as lost. */
const SILENT_MS = 30_000;

export const client = new LoomClient({
  url: location.origin,
  retries: 1,
  longestDelayMs: LONGEST_PAUSE_MS,
  timeoutMs: SILENT_MS,
});

let lastAnswer = Date.now();

/** Since when the API has not answered, in ms; undefined while it does. */
export const offline = new Watched<number | undefined>(undefined);

/** Says whether the API has just answered. What is silent may have been away for as long as silence is borne. */
export function heard(answered: boolean): void {
  if (answered) {
    lastAnswer = Date.now();
    offline.set(undefined);
  } else offline.set(offline.get() ?? Math.max(lastAnswer, Date.now() - SILENT_MS));
}

/** What a failure says of whether the API answers. */
export function heardOf(error: unknown): void {
  if (error instanceof UnreachableError) heard(false);
  else if (error instanceof ApiError) heard(true);
}

/** Whether asking again can't help: the API has said that it is not so. */
export const isFinal = (error: unknown): boolean =>
  error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429;

/** Does something again after each failure, until it succeeds, a failure is final, or the signal ends it. */
export async function persistently(
  attempt: () => Promise<unknown>,
  { signal, failed }: { signal: AbortSignal; failed: (error: unknown) => void },
): Promise<void> {
  while (!signal.aborted)
    try {
      return void (await attempt());
    } catch (error) {
      if (signal.aborted) return;
      heardOf(error);
      failed(error);
      if (isFinal(error)) return;
      await new Promise((resolve) => setTimeout(resolve, LONGEST_PAUSE_MS));
    }
}
