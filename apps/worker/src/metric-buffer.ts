import type { MetricPoint } from '#libs/contracts';

/**
 * What a trainer has said and is not written yet, of bounded size. When more than `capacity` points wait, because the
 * trainer says more than can be written or because Postgres is away, steps are thinned: of each key with several points
 * the multiples of 2, then of 4, … stay, until half of the capacity is free. A key's newest point always stays.
 */
export class MetricBuffer {
  private points: MetricPoint[] = [];
  private stride = 1;

  constructor(private readonly capacity: number) {}

  get size(): number {
    return this.points.length;
  }

  add(points: readonly MetricPoint[]): void {
    for (const point of points) {
      this.points.push(point);
      if (this.points.length > this.capacity) this.thin();
    }
  }

  /**
   * Everything that waits, in the order in which it was said, and the stride that it was thinned to (1: nothing is
   * missing).
   */
  take(): { points: MetricPoint[]; stride: number } {
    const taken = { points: this.points, stride: this.stride };
    this.points = [];
    this.stride = 1;
    return taken;
  }

  private thin(): void {
    const newest = new Map(this.points.map((point) => [point.key, point]));
    const room = Math.floor(this.capacity / 2);
    // What came since the last thinning is thinned as far as what was there before; further only where that is not
    // enough.
    for (this.stride = Math.max(2, this.stride); ; this.stride *= 2) {
      this.points = this.points.filter((point) => point.step % this.stride === 0 || newest.get(point.key) === point);
      if (this.points.length <= room) return;
      // Of each key only the newest is left: there are more keys than places, and those said longest ago go.
      if (this.points.length <= newest.size) {
        this.points = this.points.slice(-room);
        return;
      }
    }
  }
}
