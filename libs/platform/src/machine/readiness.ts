/** Whether Postgres can be written, by writing. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from './database.js';

/** So long an answer holds: however often it is asked, there is a write a second at most. */
const HOLDS_MS = 1000;
/** Probes wait no longer than a second or two. */
const PATIENCE_MS = 1500;

export class Readiness {
  private written: Promise<boolean> | undefined;
  private under = false;
  private until = 0;

  constructor(private readonly database: Database) {}

  /** False where Postgres does not answer, or can't be written: read-only, full, locked or out of connections. */
  async canWrite(): Promise<boolean> {
    if (!this.under && performance.now() > this.until) this.written = this.write();
    return Promise.race([this.written!, delay(PATIENCE_MS, false, { ref: false })]);
  }

  /**
   * Writes a row into a table that is made anew, which takes a page of the disk: a row in a page that is there would go
   * in where nothing else does.
   */
  private async write(): Promise<boolean> {
    this.under = true;
    try {
      await this.database.prisma.$transaction([
        this.database.prisma.$executeRaw`TRUNCATE readiness`,
        this.database.prisma.$executeRaw`INSERT INTO readiness DEFAULT VALUES`,
      ]);
      return true;
    } catch {
      return false;
    } finally {
      this.under = false;
      this.until = performance.now() + HOLDS_MS;
    }
  }
}
