import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { LoomClient } from './client.js';
import { ServerSentEventParser } from './event-stream.js';
import type { Run } from './runs-api.js';
import { ApiError, UnreachableError } from './transport.js';

let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
  server = undefined;
});

/** A client of a real server that answers with `handle`; `calls` counts the requests from 0. */
async function serve(
  handle: (request: IncomingMessage & { body: string }, response: ServerResponse, call: number) => void,
): Promise<LoomClient> {
  let calls = 0;
  server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => {
      body += chunk.toString();
    });
    request.on('end', () => {
      handle(Object.assign(request, { body }), response, calls++);
    });
  });
  await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
  return new LoomClient({
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    retryDelayMs: 2,
    timeoutMs: 2000,
  });
}
const json = (response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}) => {
  response.writeHead(status, {
    'content-type': status < 400 ? 'application/json' : 'application/problem+json',
    ...headers,
  });
  response.end(JSON.stringify(body));
};
const problem = (status: number, code: string, errors?: { path: string; message: string }[]) => ({
  type: 'about:blank',
  title: code,
  status,
  code,
  detail: `it is ${code}`,
  errors,
});
const runOf = (status: string) => ({ id: 'r1', status }) as Run;
const submit = { spec: { kind: 'prepare-dataset', name: 'digits', path: 'digits' } } as const;

describe('calls', () => {
  it('names what it wants in the path and the query', async () => {
    const seen: string[] = [];
    const client = await serve((request, response) => {
      seen.push(request.url!);
      json(response, 200, { items: [], nextCursor: null });
    });
    await client.runs({ status: ['queued', 'running'], limit: 7 });
    await client.dataset('digits@0123456789ab');
    expect(seen).toEqual(['/v1/runs?status=queued%2Crunning&limit=7', '/v1/datasets/digits%400123456789ab']);
  });

  it('shows its key with every request', async () => {
    const seen: unknown[] = [];
    const { url } = await serve((request, response) => {
      seen.push(request.headers.authorization);
      json(response, 200, { items: [], nextCursor: null });
    });
    const client = new LoomClient({ url, key: 'secret' });
    await client.runs();
    await client.ready();
    await new LoomClient({ url }).runs();
    expect(seen).toEqual(['Bearer secret', 'Bearer secret', undefined]);
  });

  it('reads page after page', async () => {
    const client = await serve((request, response) =>
      json(
        response,
        200,
        request.url!.includes('cursor=b')
          ? { items: [{ id: '3' }], nextCursor: null }
          : { items: [{ id: '1' }, { id: '2' }], nextCursor: 'b' },
      ),
    );
    const ids: string[] = [];
    for await (const run of client.eachRun()) ids.push(run.id);
    expect(ids).toEqual(['1', '2', '3']);
  });

  it('goes on with a bulk action until the end, and adds up', async () => {
    const bodies: unknown[] = [];
    const client = await serve((request, response, call) => {
      bodies.push(JSON.parse(request.body));
      json(
        response,
        200,
        call === 0
          ? { done: 2, skipped: { failed: 1 }, nextCursor: 'c' }
          : { done: 1, skipped: { failed: 2, paused: 1 }, nextCursor: null },
      );
    });
    expect(await client.bulkRuns({ action: 'cancel', filter: { tag: 'x' } })).toEqual({
      done: 3,
      skipped: { failed: 3, paused: 1 },
    });
    expect(bodies).toEqual([
      { action: 'cancel', filter: { tag: 'x' } },
      { action: 'cancel', filter: { tag: 'x' }, cursor: 'c' },
    ]);
  });

  it('throws the problem of the API with the field', async () => {
    const client = await serve((_request, response) =>
      json(response, 422, problem(422, 'invalid_request', [{ path: 'spec.epochs', message: 'expected a number' }])),
    );
    const error = await client.submitRun(submit).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({
      status: 422,
      code: 'invalid_request',
      message: 'it is invalid_request\n  spec.epochs: expected a number',
    });
  });

  it('understands an answer that is not a problem document', async () => {
    const client = await serve((_request, response) => {
      response.writeHead(502).end('<html>bad gateway</html>');
    });
    await expect(client.run('r1')).rejects.toMatchObject({ status: 502, code: 'internal' });
  });

  it('repeats a submit with the same key when the API is unavailable', async () => {
    const keys: unknown[] = [];
    const client = await serve((request, response, call) => {
      keys.push(request.headers['idempotency-key']);
      if (call === 0) json(response, 503, problem(503, 'unavailable'));
      else if (call === 1) request.socket.destroy();
      else json(response, 201, runOf('queued'));
    });
    expect(await client.submitRun(submit)).toEqual({ run: runOf('queued'), created: true });
    expect(keys).toHaveLength(3);
    expect(new Set(keys).size).toBe(1);
    expect(keys[0]).toMatch(/^[0-9a-f]{32}$/);
  });

  it('repeats what writes a report with the same key, and with the one that it is given', async () => {
    const keys: unknown[] = [];
    const client = await serve((request, response, call) => {
      keys.push(request.headers['idempotency-key']);
      if (call % 2 === 0) json(response, 503, problem(503, 'unavailable'));
      else json(response, 201, { id: 'r1' });
    });
    await client.addReport({ title: 'Views', blocks: [] });
    await client.addReport({ title: 'Views', blocks: [] }, 'mine');
    expect(keys).toEqual([expect.stringMatching(/^[0-9a-f]{32}$/), keys[0], 'mine', 'mine']);
  });

  it('does not repeat what may act twice', async () => {
    let calls = 0;
    const client = await serve((_request, response) => {
      calls++;
      json(response, 503, problem(503, 'unavailable'));
    });
    await expect(client.retryRun('r1')).rejects.toBeInstanceOf(ApiError);
    expect(calls).toBe(1);
  });

  it('repeats what changes nothing more the second time', async () => {
    let calls = 0;
    const client = await serve((_request, response) => {
      if (calls++ % 2 === 0) json(response, 503, problem(503, 'unavailable'));
      else json(response, 200, runOf('cancelled'));
    });
    await client.cancelRun('r1');
    await client.pauseRun('r1');
    await client.cancelSweep('s1');
    await client.pauseSweep('s1');
    expect(calls).toBe(8);
  });

  it('repeats whatever was turned away at the door, no sooner than it was told', async () => {
    let calls = 0;
    const client = await serve((_request, response) => {
      if (calls++ === 0) json(response, 429, problem(429, 'too_many_requests'), { 'retry-after': '1' });
      else json(response, 200, runOf('queued'));
    });
    const begun = performance.now();
    await client.retryRun('r1');
    expect(calls).toBe(2);
    expect(performance.now() - begun).toBeGreaterThan(900);
  });

  it('keeps its place in line for as long as others are before it, unless it is not to repeat anything', async () => {
    let calls = 0;
    const client = await serve((_request, response) => {
      if (++calls % 8) json(response, 429, problem(429, 'too_many_requests'));
      else json(response, 200, runOf('queued'));
    });
    await client.retryRun('r1');
    expect(calls).toBe(8);
    const hasty = new LoomClient({ url: client.url, retries: 0 });
    await expect(hasty.retryRun('r1')).rejects.toMatchObject({ status: 429 });
    expect(calls).toBe(9);
  });

  it('says where nobody answers', async () => {
    const client = await serve((_request, response) => {
      response.end();
    });
    await new Promise((resolve) => server!.close(resolve));
    await expect(client.workers()).rejects.toThrow(UnreachableError);
    await expect(client.workers()).rejects.toThrow(
      /expected an API at http:\/\/127\.0\.0\.1:\d+, got no answer: .*ECONNREFUSED/,
    );
    expect(await client.ready()).toBe(false);
  });
});

describe('a download', () => {
  it('may take longer than a call, but is not waited for when it is silent', async () => {
    const { url } = await serve((request, response) => {
      response.writeHead(200);
      response.write('a');
      if (request.url!.includes('stuck')) return;
      let sent = 0;
      const pace = setInterval(() => {
        if (++sent < 8) response.write('a');
        else {
          clearInterval(pace);
          response.end();
        }
      }, 200);
    });
    const client = new LoomClient({ url, timeoutMs: 1000 });
    expect(await new Response(await client.download('r1', 'slow')).text()).toBe('a'.repeat(8));
    await expect(new Response(await client.download('r1', 'stuck')).text()).rejects.toThrow('nothing came for 1000 ms');
  });
});

describe('follow', () => {
  const write = (response: ServerResponse, id: string, event: string, data: unknown) =>
    response.write(`id: ${id}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`);

  it('gives what happens until the run has ended', async () => {
    const client = await serve((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      write(response, '1.0.0', 'run', runOf('running'));
      response.write(': still here\n\n');
      write(response, '1.1.0', 'metrics', { points: [{ key: 'train/loss', step: 1, value: 5 }] });
      write(response, '1.1.1', 'log', { id: 1, message: 'über' });
      write(response, '2.1.1', 'event', { id: 2, type: 'succeeded' });
      write(response, '2.1.1', 'run', runOf('succeeded'));
      response.end();
    });
    const seen: unknown[] = [];
    const ended = await client.follow('r1', {
      onRun: (run) => seen.push(run.status),
      onMetrics: (points) => seen.push(points),
      onLog: (line) => seen.push(line.message),
      onEvent: (event) => seen.push(event.type),
    });
    expect(ended.status).toBe('succeeded');
    expect(seen).toEqual(['running', [{ key: 'train/loss', step: 1, value: 5 }], 'über', 'succeeded', 'succeeded']);
  });

  it('goes on after the last message when the connection breaks', async () => {
    const asked: unknown[] = [];
    const client = await serve((request, response, call) => {
      asked.push(request.headers['last-event-id']);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      if (call === 0) {
        write(response, '1.4.0', 'run', runOf('running'));
        response.write('id: 1.5.0\nevent: metr', () => response.socket!.destroy());
      } else if (call === 1) response.end();
      else {
        write(response, '2.5.0', 'run', runOf('failed'));
        response.end();
      }
    });
    const told: string[] = [];
    expect(
      (await client.follow('r1', { onLost: () => told.push('lost'), onBack: () => told.push('back') })).status,
    ).toBe('failed');
    expect(asked).toEqual([undefined, '1.4.0', '1.4.0']);
    expect(told).toEqual(['lost', 'back']);
  });

  it('gives up a server that stays away after as many tries as it is given', async () => {
    const client = await serve((request) => request.socket.destroy());
    let lost = 0;
    await expect(client.follow('r1', { onLost: () => lost++ }, { retries: 2 })).rejects.toBeInstanceOf(
      UnreachableError,
    );
    expect(lost).toBe(2);
  });

  it('ends with the reason of its signal, and with an unknown run', async () => {
    const client = await serve((request, response) => {
      if (request.url!.includes('nobody')) return json(response, 404, problem(404, 'not_found'));
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      write(response, '1.0.0', 'run', runOf('running'));
    });
    const controller = new AbortController();
    const following = client.follow(
      'r1',
      { onRun: () => controller.abort(new Error('enough')) },
      { signal: controller.signal },
    );
    await expect(following).rejects.toThrow('enough');
    await expect(client.follow('nobody')).rejects.toMatchObject({ code: 'not_found' });
  });

  it('hands on the error of a handler instead of connecting again', async () => {
    let calls = 0;
    const client = await serve((_request, response) => {
      calls++;
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      write(response, '1.0.0', 'run', runOf('running'));
    });
    await expect(
      client.follow('r1', {
        onRun: () => {
          throw new Error('mine');
        },
      }),
    ).rejects.toThrow('mine');
    expect(calls).toBe(1);
  });
});

describe('ServerSentEventParser', () => {
  it('joins messages that arrive in pieces, whatever ends their lines', () => {
    const text = 'event: run\r\nid: 7\r\ndata: {"a":\r\ndata:1}\r\n\r\n: comment\n\ndata: plain\n\n';
    const whole = new ServerSentEventParser().push(text);
    const parser = new ServerSentEventParser();
    expect([...text].flatMap((character) => parser.push(character))).toEqual(whole);
    expect(whole).toEqual([
      { event: 'run', id: '7', data: '{"a":\n1}' },
      { event: 'message', data: 'plain' },
    ]);
  });
});
