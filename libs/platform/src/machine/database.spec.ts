import { DriverAdapterError } from '@prisma/driver-adapter-utils';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Database, isUnavailable } from './database.js';

describe('a Postgres that is not there is known as that, by a query and in a transaction', () => {
  let resetting: Server;
  const ports = { 'refuses connections': 1, 'resets them': 0 };

  beforeAll(async () => {
    resetting = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.on('data', () => socket.resetAndDestroy());
    });
    await new Promise<void>((resolve) => resetting.listen(0, '127.0.0.1', resolve));
    ports['resets them'] = (resetting.address() as AddressInfo).port;
  });
  afterAll(() => {
    resetting.close();
  });

  test.each(['refuses connections', 'resets them'] as const)('one that %s', async (how) => {
    const database = new Database(`postgresql://nobody@127.0.0.1:${ports[how]}/nothing`);
    try {
      const query = await database.prisma.$queryRaw`SELECT 1`.catch((error: unknown) => error);
      const execution = await database.prisma.$executeRaw`SELECT 1`.catch((error: unknown) => error);
      const transaction = await database.transaction((tx) => tx.$queryRaw`SELECT 1`).catch((error: unknown) => error);
      expect([query, execution, transaction].map(isUnavailable)).toEqual([true, true, true]);
    } finally {
      await database.close();
    }
  });
});

test('what ends the BEGIN or the COMMIT of a transaction is known, of which Prisma makes no error of its own', () => {
  const told = (code: string) =>
    new DriverAdapterError({
      kind: 'postgres',
      originalCode: code,
      code,
      severity: 'FATAL',
      message: 'it said so',
      detail: undefined,
      column: undefined,
      hint: undefined,
    });
  expect(['57P01', '53100', '25006', '55P03'].map((code) => isUnavailable(told(code)))).toEqual(Array(4).fill(true));
  expect(['23505', '22P02'].map((code) => isUnavailable(told(code)))).toEqual([false, false]);
});
