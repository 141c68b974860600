import { setImmediate } from 'node:timers/promises';

/** Milliseconds for which one piece of work has the event loop. */
const TURN_MS = 10;

/** Long work in turns: between them all others have the event loop who wait for it. */
export class Turns {
  private begun = performance.now();

  get over(): boolean {
    return performance.now() - this.begun > TURN_MS;
  }

  async next(): Promise<void> {
    await setImmediate();
    this.begun = performance.now();
  }
}

/** Items in runs of at most so many, in their order. */
export function* batchesOf<Item>(items: readonly Item[], size: number): Generator<Item[]> {
  for (let first = 0; first < items.length; first += size) yield items.slice(first, first + size);
}

/** Lists of at most so many items are done within a turn that has begun. */
const FEW = 500;

/**
 * Calls `work` for each item in its order; resolves with what it returns. A long list begins with a turn of its own:
 * what came before it may have held the event loop already.
 */
export async function inTurns<Item, Result>(
  items: Iterable<Item>,
  work: (item: Item, index: number) => Result,
): Promise<Result[]> {
  const turns = new Turns();
  if (Array.isArray(items) && items.length > FEW) await turns.next();
  const results: Result[] = [];
  for (const item of items) {
    results.push(work(item, results.length));
    if (turns.over) await turns.next();
  }
  return results;
}

/** Does work that says itself where it may be interrupted; resolves with what it returns. */
export async function doneInTurns<Result>(work: Generator<unknown, Result>): Promise<Result> {
  const turns = new Turns();
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
    if (turns.over) await turns.next();
  }
}

/** Characters that are sent in one piece. */
const PIECE = 65_536;

/** Short texts put together to long ones, in turns. */
export async function* piecesInTurns(texts: Iterable<string>): AsyncGenerator<string> {
  const turns = new Turns();
  let piece = '';
  for (const text of texts) {
    piece += text;
    if (piece.length >= PIECE) {
      yield piece;
      piece = '';
    }
    if (turns.over) await turns.next();
  }
  if (piece) yield piece;
}
