/**
 * Long work in pieces: it yields after each, so that whoever asked for it may give way to others meanwhile. What it
 * returns is the same however long that takes.
 */
export type InPieces<Result> = Generator<undefined, Result>;

/** Does all of it at once. */
export function atOnce<Result>(work: InPieces<Result>): Result {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
  }
}
