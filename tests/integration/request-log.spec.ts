/** What the API logs of requests: one line for each, and the request's id in every line that is logged for it. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { startProxy, type Proxy } from '../support/proxy.js';
import { startStack, type ApiProcess, type Stack } from '../support/stack.js';

let stack: Stack;
let way: Proxy & { url: string };
let api: ApiProcess;
const DEBUG = 20;
const INFO = 30;

beforeAll(async () => {
  stack = await startStack();
  way = await startProxy(stack.database.url);
  api = await stack.startApi({ DATABASE_URL: way.url, LOOM_LOG_LEVEL: 'debug' });
}, 60_000);
afterAll(async () => {
  way?.heal();
  await stack?.stop();
  await way?.close();
});

interface Line {
  level: number;
  msg: string;
  requestId?: string;
  method?: string;
  url?: string;
  status?: number;
}
const lines = (): Line[] =>
  api
    .output()
    .split('\n')
    .filter((line) => line.startsWith('{') && line.endsWith('}'))
    .map((line) => JSON.parse(line) as Line);
/** The lines of a request, when there is one of this text. */
const linesOf = (requestId: string, text = 'request') =>
  eventually(() => {
    const found = lines().filter((line) => line.requestId === requestId);
    expect(found.map(({ msg }) => msg)).toContain(text);
    return found;
  });
const idOf = (response: Response): string => response.headers.get('x-request-id')!;
const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  fetch(`${api.client.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });

test('one line for each request: those that read at debug, others at info, refused and unknown ones too', async () => {
  for (const [respond, expected] of [
    [() => fetch(`${api.client.url}/healthz?a=b`), { level: DEBUG, method: 'GET', url: '/healthz?a=b', status: 200 }],
    [() => fetch(`${api.client.url}/nowhere`), { level: DEBUG, method: 'GET', url: '/nowhere', status: 404 }],
    [() => post('/v1/runs', { spec: 1 }), { level: INFO, method: 'POST', url: '/v1/runs', status: 422 }],
    [
      () => post('/v1/runs', {}, { origin: 'http://elsewhere.example' }),
      { level: INFO, method: 'POST', url: '/v1/runs', status: 403 },
    ],
  ] as const) {
    const found = await linesOf(idOf(await respond()));
    expect(found).toEqual([expect.objectContaining(expected)]);
  }
});

test('a request that fails is told with its id, whether its body was read before or not', async () => {
  way.cut();
  for (const response of [
    await fetch(`${api.client.url}/v1/runs`),
    await post('/v1/runs/bulk', { action: 'cancel', filter: {} }),
  ]) {
    expect(response.status).toBe(503);
    expect((await linesOf(idOf(response), 'request failed')).length).toBeLessThanOrEqual(2);
    await linesOf(idOf(response));
  }
  way.heal();
  await eventually(async () => expect(await api.client.ready()).toBe(true), { timeoutMs: 20_000 });
});

test('a stream that is broken off long after its request came is told with its id', async () => {
  const { run } = await stack.client.submitRun({ spec: { kind: 'prepare-dataset', name: 'x', path: '.' } });
  const path = `/v1/runs/${run.id}/stream`;
  const messages = (await fetch(`${api.client.url}${path}`)).body!.getReader();
  await messages.read();
  way.cut();
  while (!(await messages.read()).done);
  await eventually(() => {
    const broken = lines().find(({ msg }) => msg.startsWith('a stream was broken off'));
    const request = lines().find(({ url }) => url === path);
    expect(broken?.requestId).toBeDefined();
    expect(request?.requestId).toBe(broken!.requestId);
  });
  way.heal();
});
