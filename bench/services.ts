/**
 * What the fields of `npm run bench -- sweep` run on: one Postgres and one Redis, durable as in production, a database
 * for each part.
 */
import { migrate, startLocalServices, type LocalServices } from '#libs/platform';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { Stack, type StackOptions } from '../apps/cli/src/stack.js';

/** One field of the result: `ratio` is above 1 where ours is better, whatever the unit. */
export interface Measured {
  ours: number;
  peer: number;
  unit: string;
  ratio: number;
  [detail: string]: unknown;
}

export type Measure = (bench: Services, options: { quick: boolean }) => Promise<Measured>;

export class Services {
  private readonly stacks: Stack[] = [];
  private readonly databases = new Map<string, string>();
  private constructor(
    private readonly dir: string,
    private readonly local: LocalServices,
  ) {}

  static async start(): Promise<Services> {
    const dir = await mkdtemp(path.join(tmpdir(), 'loom-bench-'));
    const { DATABASE_URL: databaseUrl, REDIS_URL: redisUrl } = process.env;
    return new Services(dir, await startLocalServices({ dir, log: console.log, databaseUrl, redisUrl }));
  }

  get redisUrl(): string {
    return this.local.redisUrl;
  }

  /** An empty database on the same server; `schema: true`: with ours. */
  async database(name: string, { schema = false } = {}): Promise<string> {
    const url = new URL(this.local.databaseUrl);
    const client = new pg.Client({ connectionString: url.href });
    await client.connect();
    try {
      await client.query(`DROP DATABASE IF EXISTS bench_${name} WITH (FORCE)`);
      await client.query(`CREATE DATABASE bench_${name}`);
    } finally {
      await client.end();
    }
    url.pathname = `/bench_${name}`;
    if (schema) await migrate(url.href);
    return url.href;
  }

  /**
   * The API and workers, as `loom up` starts them, on a database, a queue and a folder of this name: what is there
   * already is brought up again.
   */
  async stack(
    name: string,
    { workers, environment = {} }: Pick<StackOptions, 'workers'> & { environment?: NodeJS.ProcessEnv },
  ): Promise<Stack> {
    const databaseUrl = this.databases.get(name) ?? (await this.database(name, { schema: true }));
    this.databases.set(name, databaseUrl);
    const stack = await Stack.start({
      dir: path.join(this.dir, name),
      port: 0,
      workers,
      databaseUrl,
      redisUrl: this.redisUrl,
      environment: { ...process.env, LOOM_QUEUE: `bench-${name}`, LOOM_LOG_LEVEL: 'warn', ...environment },
      log: console.log,
    });
    this.stacks.push(stack);
    return stack;
  }

  async stop(): Promise<void> {
    await Promise.all(this.stacks.map((stack) => stack.stop()));
    await this.local.stop();
    await rm(this.dir, { recursive: true, force: true });
  }
}
