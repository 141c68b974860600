/** Log files of bounded size and number: what processes write into a pipe, written by whoever started them. */
import { appendFileSync, renameSync, statSync } from 'node:fs';
import type { Readable } from 'node:stream';

const LARGEST_BYTES = 10 * 2 ** 20;
/** Files that are full, by number: the first is the newest. */
const KEPT = 3;
const LINE_FEED = 10;

/** A log in `file`, of which the older parts are in `file.1` to `file.3`. */
export class RotatingLog {
  private bytes: number;
  private isFull = false;

  constructor(
    readonly file: string,
    private readonly largestBytes = LARGEST_BYTES,
  ) {
    this.bytes = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  }

  /** Writes what a stream gives until it ends. */
  follow(stream: Readable): void {
    stream.on('data', (chunk: Buffer) => this.write(chunk));
  }

  /**
   * Written at once, so that a process which ends leaves its last words here. What can't be written (a full disk) is
   * lost: a log holds up nobody.
   */
  write(chunk: Buffer): void {
    try {
      for (let rest = chunk; rest.length > 0;) {
        if (this.isFull) this.begin();
        // A line stays whole, unless it is as long as a file.
        const line = rest.indexOf(LINE_FEED, Math.max(0, this.largestBytes - this.bytes - 1)) + 1;
        const end = line > 0 ? line : rest.length;
        appendFileSync(this.file, rest.subarray(0, end));
        this.bytes += end;
        this.isFull = this.bytes >= this.largestBytes && (line > 0 || this.bytes >= 2 * this.largestBytes);
        rest = rest.subarray(end);
      }
    } catch {
      /* The disk is full, or the folder is gone. */
    }
  }

  /** Puts what is there aside and begins a new file. */
  begin(): void {
    if (this.bytes === 0) return;
    for (let older = KEPT; older > 0; older--) {
      const from = older === 1 ? this.file : `${this.file}.${older - 1}`;
      if (statSync(from, { throwIfNoEntry: false })) renameSync(from, `${this.file}.${older}`);
    }
    this.bytes = 0;
    this.isFull = false;
  }
}
