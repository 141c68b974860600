/**
 * Any number of asks for the same thing become few reads of it: one at a time, and each begins `restMs` after the ask
 * or the read before it, so that a burst of asks is answered by one read after it is through.
 */
export class Coalesced {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private reading: Promise<void> | undefined;
  private askedMeanwhile = false;
  private stopped = false;

  /** `read` handles its own faults: it must not reject. */
  constructor(
    private readonly read: () => Promise<void>,
    private readonly restMs: number,
  ) {}

  ask(): void {
    if (this.stopped || this.timer !== undefined) return;
    if (this.reading) this.askedMeanwhile = true;
    else
      this.timer = setTimeout(() => {
        this.timer = undefined;
        void this.begin();
      }, this.restMs);
  }

  /** What was asked for and has not begun is not read any more. @returns when a read that has begun is through */
  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.reading;
  }

  private async begin(): Promise<void> {
    this.askedMeanwhile = false;
    this.reading = this.read();
    await this.reading;
    this.reading = undefined;
    if (this.askedMeanwhile) this.ask();
  }
}
