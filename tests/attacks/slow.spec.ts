/** Connections that are kept open and say little, too much or nothing. */
import { Database, Runs } from '#libs/platform';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { eventually } from '../support/eventually.js';
import { knowShapes } from '../support/shapes.js';
import { startStack, type Stack } from '../support/stack.js';

const TIMEOUT_MS = 1500;

let stack: Stack;
beforeAll(async () => {
  stack = await startStack({ environment: { LOOM_REQUEST_TIMEOUT_MS: String(TIMEOUT_MS), LOOM_STREAM_SECONDS: '1' } });
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

const openStreams = async () => {
  const text = await (await fetch(`${stack.client.url}/metrics`)).text();
  return Number(/^loom_streams (\d+)$/m.exec(text)?.[1]);
};

test('a stream on which nothing happens is counted, ends when it is old, and leaves its place', async () => {
  const ends = until((socket, host) =>
    socket.write(`GET /v1/runs/stream?tag=nothing HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`),
  );
  await eventually(async () => expect(await openStreams()).toBe(1));
  expect((await ends).text).toMatch(/^HTTP\/1\.1 200 .*"counts":\{\}/s);
  await eventually(async () => expect(await openStreams()).toBe(0));
});

test('whoever follows a run takes its stream up again where it was, as often as it ends', async () => {
  const database = new Database(stack.database.url);
  await knowShapes(new Runs(database, { dataRoot: stack.dataRoot, leaseMs: 60_000 })).finally(() => database.close());
  const id = await stack.submit({ kind: 'pretrain', dataset: 'shapes', batchSize: 32 });
  const asked = vi.spyOn(globalThis, 'fetch');
  const stream = `${stack.client.url}/v1/runs/${id}/stream`;
  try {
    const events: string[] = [];
    const lost: Error[] = [];
    const over = stack.client.follow(id, {
      onEvent: ({ type }) => void events.push(type),
      onLost: (error) => void lost.push(error),
    });
    await eventually(() => expect(asked.mock.calls.filter(([url]) => url === stream).length).toBeGreaterThan(2), {
      timeoutMs: 30_000,
    });
    await stack.client.cancelRun(id);
    expect((await over).status).toBe('cancelled');
    expect(events.filter((type) => type === 'submitted')).toEqual(['submitted']);
    expect(lost).toEqual([]);
  } finally {
    asked.mockRestore();
  }
});

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
