import Fastify, { type FastifyInstance } from 'fastify';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { clientOf, Clients } from './clients.js';

const LIMITS = {
  clientRequests: 20,
  clientStreams: 2,
  streamMs: 60_000,
  clientWaitMs: 200,
  mostRequests: 30,
  mostStreams: 3,
};

let app: FastifyInstance;
let clients: Clients;
let held: (() => void)[];
let working = 0;
let most = 0;

/** A server whose requests are worked on until `release`. */
beforeEach(async () => {
  clients = new Clients(LIMITS);
  [held, working, most] = [[], 0, 0];
  app = Fastify({ trustProxy: true });
  app.get('/', async (request, reply) => {
    clients.enter(request, reply);
    const done = await clients.turn(request, reply);
    most = Math.max(most, ++working);
    await new Promise<void>((resolve) => held.push(resolve));
    working--;
    done();
    return 'done';
  });
});
afterEach(() => app.close());

const release = () => held.splice(0).forEach((each) => each());
const ask = async (ip: string) =>
  (await app.inject({ method: 'GET', url: '/', headers: { 'x-forwarded-for': ip } })).statusCode;
const moment = () => new Promise((resolve) => setTimeout(resolve, 30));

describe('of one client', () => {
  test('eight requests are worked on at once, so many wait, and what is more is turned away', async () => {
    const answers = Promise.all(Array.from({ length: 25 }, () => ask('10.0.0.1')));
    await moment();
    expect(working).toBe(8);
    for (let round = 0; round < 4; round++) {
      release();
      await moment();
    }
    const told = await answers;
    expect(told.filter((status) => status === 200)).toHaveLength(20);
    expect(told.filter((status) => status === 429)).toHaveLength(5);
    expect(most).toBe(8);
    // All is as if nothing had been.
    const again = ask('10.0.0.1');
    await moment();
    release();
    expect(await again).toBe(200);
  });

  test('what has waited for too long is turned away', async () => {
    const answers = Promise.all(Array.from({ length: 10 }, () => ask('10.0.0.1')));
    await new Promise((resolve) => setTimeout(resolve, LIMITS.clientWaitMs + 100));
    release();
    expect((await answers).sort()).toEqual([...Array.from({ length: 8 }, () => 200), 429, 429]);
    expect(clients.turnedAway.waiting).toBe(2);
  });
});

test('another client is worked on at once, until all together are too many', async () => {
  const greedy = Promise.all(Array.from({ length: 20 }, () => ask('10.0.0.1')));
  await moment();
  const polite = ask('10.0.0.2');
  await moment();
  expect(working).toBe(9);
  const others = Promise.all(Array.from({ length: 12 }, (_, i) => ask(`10.0.1.${i}`)));
  await moment();
  for (let round = 0; round < 4; round++) {
    release();
    await moment();
  }
  expect(await polite).toBe(200);
  expect((await others).filter((status) => status === 503)).toHaveLength(3);
  await greedy;
});

test('a client is an address, of IPv6 the network of a house', () => {
  expect(clientOf('10.0.0.1')).toBe('10.0.0.1');
  expect(clientOf('::ffff:10.0.0.1')).toBe('::ffff:10.0.0.1');
  expect(clientOf('2001:db8:1:2:3:4:5:6')).toBe('2001:db8:1:2::/64');
  expect(clientOf('2001:db8:1:2::9')).toBe('2001:db8:1:2::/64');
  expect(clientOf('2001:db8::9')).toBe('2001:db8:0:0::/64');
  expect(clientOf('::1')).toBe('0:0:0:0::/64');
});
