import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { choosePort, urlOf } from './listening.js';

let taken: Server;
let port: number;
beforeAll(async () => {
  taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  ({ port } = taken.address() as AddressInfo);
});
afterAll(() => {
  taken.close();
});

test('a port that is wanted has to be free; that of last time is passed over where it is not', async () => {
  await expect(choosePort('127.0.0.1', port, undefined)).rejects.toThrow(
    `expected port ${port} to be free: choose another with --port`,
  );
  expect(await choosePort('127.0.0.1', undefined, port)).not.toBe(port);
  expect(await choosePort('127.0.0.1', 0, port)).toBeGreaterThan(1023);
});

test('an ordinary user is told of a port that it may not listen on', async (context) => {
  if (process.getuid?.() !== 0 || process.platform !== 'linux') context.skip('only root can become another user');
  const first = Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'));
  if (first <= 80) context.skip('whoever is on this machine may listen on port 80');
  process.seteuid!(65_534);
  try {
    await expect(choosePort('127.0.0.1', 80, undefined)).rejects.toThrow(
      'expected a port that this user may listen on, got 80: choose one of 1024 or above with --port',
    );
  } finally {
    process.seteuid!(0);
  }
});

test('an address that is not of this machine is told', async () => {
  await expect(choosePort('192.0.2.1', 3000, undefined)).rejects.toThrow(
    'expected --host to be an address of this machine, got 192.0.2.1',
  );
  expect([urlOf('0.0.0.0', 1), urlOf('::', 1), urlOf('::1', 1)]).toEqual([
    'http://127.0.0.1:1',
    'http://127.0.0.1:1',
    'http://[::1]:1',
  ]);
});
