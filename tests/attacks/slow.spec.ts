/** Connections that are kept open and say little, too much or nothing. */
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startStack, type Stack } from '../support/stack.js';

const TIMEOUT_MS = 1500;

let stack: Stack;
beforeAll(async () => {
  stack = await startStack({ environment: { LOOM_REQUEST_TIMEOUT_MS: String(TIMEOUT_MS) } });
}, 60_000);
afterAll(() => stack?.stop());

interface Ended {
  text: string;
  ms: number;
}

/** What comes on a connection until it ends, and after how long. `talk` goes on until then. */
async function until(talk: (socket: Socket, host: string) => void): Promise<Ended> {
  const { hostname, port } = new URL(stack.client.url);
  const begun = performance.now();
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(Number(port), hostname, () => talk(socket, `${hostname}:${port}`));
    socket.on('data', (chunk) => (text += chunk.toString()));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve({ text, ms: performance.now() - begun }));
  });
}

/** Sends a piece now and then until the connection ends. */
const dribble = (socket: Socket, piece: string) => {
  const timer = setInterval(() => socket.write(piece), 100);
  socket.on('close', () => clearInterval(timer));
};
const post = (host: string, more: string) =>
  `POST /v1/runs HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\n${more}\r\n\r\n`;

test.each<[string, (socket: Socket, host: string) => void]>([
  ['that says nothing', () => undefined],
  ['whose headers never end', (socket) => (socket.write('GET / HTTP/1.1\r\n'), dribble(socket, 'x: y\r\n'))],
  ['whose body never comes', (socket, host) => socket.write(post(host, 'content-length: 100'))],
  [
    'whose body never ends',
    (socket, host) => (socket.write(post(host, 'content-length: 99999')), dribble(socket, ' ')),
  ],
  [
    'whose pieces never end',
    (socket, host) => (socket.write(post(host, 'transfer-encoding: chunked')), dribble(socket, '1\r\n \r\n')),
  ],
])('a connection %s is closed in time', async (_, talk) => {
  const { ms, text } = await until(talk);
  expect(ms).toBeLessThan(3 * TIMEOUT_MS + 1000);
  if (text) expect(text).toMatch(/^HTTP\/1\.1 408 .*application\/problem\+json/s);
});

test('a thousand such connections keep nobody else waiting', async () => {
  const held = Array.from({ length: 1000 }, () =>
    until((socket, host) => socket.write(post(host, 'content-length: 100'))),
  );
  await delay(200);
  const begun = performance.now();
  const answers = await Promise.all(
    Array.from({ length: 10 }, () => fetch(`${stack.client.url}/healthz`).then(({ status }) => status)),
  );
  expect(new Set(answers)).toEqual(new Set([200]));
  expect(performance.now() - begun).toBeLessThan(2000);
  for (const { text } of await Promise.all(held)) expect(text).toMatch(/^(HTTP\/1\.1 (408|429) |$)/);
}, 60_000);

test('a body that says it is larger than any is refused before it comes', async () => {
  const { text } = await until((socket, host) => socket.write(post(host, 'content-length: 999999999')));
  expect(text).toMatch(/^HTTP\/1\.1 413 .*application\/problem\+json/s);
});

test('a body that is larger than it says does not become a second request', async () => {
  const smuggled = 'GET /v1/smuggled HTTP/1.1\r\nhost: x\r\n\r\n';
  const { text } = await until((socket, host) => {
    socket.write(`${post(host, 'content-length: 2\r\ntransfer-encoding: chunked')}0\r\n\r\n${smuggled}`);
    socket.end();
  });
  expect(text).toMatch(/^HTTP\/1\.1 400 /);
  expect(text).not.toContain('smuggled');
});

test('headers that are larger than any are refused', async () => {
  const { text } = await until((socket, host) =>
    socket.write(`GET / HTTP/1.1\r\nhost: ${host}\r\nx: ${'a'.repeat(100_000)}\r\n\r\n`),
  );
  expect(text).toMatch(/^HTTP\/1\.1 431 /);
});
