import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Coalesced } from './coalesced.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Reads that take `readMs` of the clock; counts them, and the most at a time. */
function reads(readMs: number) {
  const seen = { begun: 0, atOnce: 0, mostAtOnce: 0 };
  const read = async () => {
    seen.begun++;
    seen.mostAtOnce = Math.max(seen.mostAtOnce, ++seen.atOnce);
    await new Promise((resolve) => setTimeout(resolve, readMs));
    seen.atOnce--;
  };
  return { seen, read };
}

test('a burst of asks is answered by one read, after it', async () => {
  const { seen, read } = reads(10);
  const coalesced = new Coalesced(read, 1000);
  for (let i = 0; i < 1000; i++) coalesced.ask();
  expect(seen.begun).toBe(0);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(seen.begun).toBe(1);
});

test('asks that go on are answered at most once a rest, one read at a time, and the last ask too', async () => {
  const { seen, read } = reads(2500);
  const coalesced = new Coalesced(read, 1000);
  for (let i = 0; i < 100; i++) {
    coalesced.ask();
    await vi.advanceTimersByTimeAsync(100);
  }
  // In the 10 s of asks: begun at 1, 4.5 and 8 s; the asks of the last 2 s lead to one more.
  expect(seen.begun).toBe(3);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(seen).toEqual({ begun: 4, atOnce: 0, mostAtOnce: 1 });
});

test('what is stopped reads no more', async () => {
  const { seen, read } = reads(10);
  const coalesced = new Coalesced(read, 1000);
  coalesced.ask();
  await coalesced.stop();
  coalesced.ask();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(seen.begun).toBe(0);
});
