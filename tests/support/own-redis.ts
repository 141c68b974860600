/** A stack on a Redis of its own, which a test may kill, freeze, fill or cut off. */
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest';
import { eventually } from './eventually.js';
import { ownRedis, type OwnServer } from './own-services.js';
import { expectKeptPromises, prepareStripes, SHORT } from './small-runs.js';
import { startStack, type Stack } from './stack.js';

/** Of a submit that waits for nobody, on a machine that has much else to do. */
const SOON_MS = 3000;

class StackOnOwnRedis {
  redis!: OwnServer;
  stack!: Stack;
  /** Straight to Redis, past what the test does to the way there. */
  direct!: Redis;

  async start(): Promise<void> {
    this.redis = await ownRedis({ durable: true });
    // A connection that hangs costs a second and a half here, and twenty in production.
    this.stack = await startStack({
      environment: { REDIS_URL: this.redis.url, LOOM_CHECKPOINT_SECONDS: '0.4', LOOM_NETWORK_TIMEOUT_MS: '1500' },
    });
    await prepareStripes(this.stack);
  }

  connect(): void {
    this.direct = new Redis(this.redis.url, { retryStrategy: () => 50 });
    this.direct.on('error', () => undefined);
  }

  async clear(): Promise<void> {
    this.direct.disconnect();
    await this.stack?.clear();
  }

  async stop(): Promise<void> {
    await this.stack?.stop();
    await this.redis?.stop();
  }

  proves(...ids: string[]): Promise<void> {
    return expectKeptPromises(this.stack, ids);
  }

  async isReady(): Promise<void> {
    await eventually(
      async () => {
        if (!(await this.stack.client.ready())) throw new Error('expected the API to be ready');
      },
      { timeoutMs: 30_000 },
    );
  }

  /** Submits a run and expects an answer soon, whether or not Redis is there. */
  async submitsQuickly(seed: number): Promise<string> {
    const begun = performance.now();
    const id = await this.stack.submit({ ...SHORT, seed });
    expect(performance.now() - begun).toBeLessThan(SOON_MS);
    return id;
  }
}

/** One for all tests of a file, with the dataset of `small-runs` on it. */
export function stackOnOwnRedis(): StackOnOwnRedis {
  const on = new StackOnOwnRedis();
  beforeAll(() => on.start(), 90_000);
  beforeEach(() => on.connect());
  afterEach(() => on.clear());
  afterAll(() => on.stop());
  return on;
}
