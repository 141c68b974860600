import { setTimeout as delay } from 'node:timers/promises';

/** Repeats an assertion until it holds, and fails with its last error after `timeoutMs`. */
export async function eventually<Result>(
  assertion: () => Result | Promise<Result>,
  { timeoutMs = 15_000, intervalMs = 50 } = {},
): Promise<Result> {
  for (const until = performance.now() + timeoutMs; ;) {
    try {
      return await assertion();
    } catch (error) {
      if (performance.now() > until) throw error;
    }
    await delay(intervalMs);
  }
}
