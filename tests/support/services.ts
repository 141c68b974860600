/** Real Postgres and Redis for the integration tests: containers where Docker answers, embedded servers otherwise. */
// By path: global set-up runs where `#libs` means the build, which may be older than the sources.
import { startLocalServices, type LocalServices } from '../../libs/platform/src/machine/local-services.js';
import { migrate } from '../../libs/platform/src/machine/migrations.js';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  export interface ProvidedContext {
    databaseUrl: string;
    redisUrl: string;
  }
}

/** Undefined where no container runtime answers. */
async function containers(): Promise<LocalServices | undefined> {
  const { getContainerRuntimeClient, GenericContainer } = await import('testcontainers');
  try {
    await getContainerRuntimeClient();
  } catch {
    return undefined;
  }
  const { PostgreSqlContainer } = await import('@testcontainers/postgresql');
  const [postgres, redis] = await Promise.all([
    new PostgreSqlContainer('postgres:18-alpine').start(),
    new GenericContainer('redis:8-alpine').withExposedPorts(6379).start(),
  ]);
  return {
    databaseUrl: postgres.getConnectionUri(),
    redisUrl: `redis://${redis.getHost()}:${redis.getMappedPort(6379)}`,
    stop: async () => {
      await Promise.all([postgres.stop(), redis.stop()]);
    },
  };
}

async function embedded(): Promise<LocalServices> {
  const dir = await mkdtemp(path.join(tmpdir(), 'loom-test-'));
  const remove = () => rm(dir, { recursive: true, force: true });
  try {
    const services = await startLocalServices({
      dir,
      durable: false,
      log: () => {},
      databaseUrl: process.env['DATABASE_URL'],
      redisUrl: process.env['REDIS_URL'],
    });
    return {
      ...services,
      stop: async () => {
        await services.stop();
        await remove();
      },
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const services = (await containers()) ?? (await embedded());
  await migrate(services.databaseUrl);
  project.provide('databaseUrl', services.databaseUrl);
  project.provide('redisUrl', services.redisUrl);
  return () => services.stop();
}
