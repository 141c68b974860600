import { Injectable } from '@nestjs/common';

/** So many runs are read at once for all who follow them: other requests find connections to Postgres. */
const READ_AT_ONCE = 4;

/** Lets so many read at once, in the order in which they came. */
@Injectable()
export class Turnstile {
  private free = READ_AT_ONCE;
  private readonly line: (() => void)[] = [];

  async through<Result>(read: () => Promise<Result>): Promise<Result> {
    if (this.free > 0) this.free--;
    else await new Promise<void>((resolve) => this.line.push(resolve));
    try {
      return await read();
    } finally {
      const next = this.line.shift();
      if (next) next();
      else this.free++;
    }
  }
}
