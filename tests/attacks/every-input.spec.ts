/** Whatever stands in a request, each route says what is wrong with it, or takes it: none has an error of its own. */
import { LoomClient, type Problem } from '#libs/contracts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startApi, type Api } from '../support/api.js';
import { everyRoute, type RouteRequest } from '../support/every-route.js';

let api: Api;
beforeAll(async () => {
  api = await startApi();
}, 60_000);
afterAll(() => api.stop());

/** What Postgres takes as no text, no integer, or nothing at all. */
const HOSTILE: [what: string, value: unknown][] = [
  ['NUL', 'a\0b'],
  ['half of a surrogate pair', 'a\ud800'],
  ['a key with NUL', { 'a\0b': 1 }],
  ['an integer beyond 32 bits', 2 ** 31],
  ['nested lists', Array.from({ length: 300 }).reduce<unknown>((inner) => [inner], 1)],
];
/** What is of another type than most fields, and what is no id, URL, time or word that is known. */
const WRONG: [what: string, value: unknown][] = [
  ['a word', 'pp'],
  ['a number', -1.5],
  ['nothing', null],
  ['an object', { some: { other: 'pp' } }],
  ['a list', ['pp']],
  ['a name that every object has', 'constructor'],
  ['what every object begins with', '__proto__'],
];
/** How the library says what its schemas refuse. */
const OF_THE_LIBRARY = /^(Invalid|Too (big|small)|Unrecognized|Required|Expected)|, received |discriminator/;

const HOSTILE_TEXTS = ['a%00b', '%ED%A0%80', String(2 ** 31), '1e400', 'pp'];

/** A body with something else at each place of it. */
function* changedBodies(body: unknown, value: unknown): Generator<unknown> {
  yield value;
  if (typeof body !== 'object' || body === null) return;
  for (const [key, inner] of Object.entries(body))
    for (const changed of changedBodies(inner, value))
      yield Array.isArray(body) ? body.with(Number(key), changed) : { ...body, [key]: changed };
  if (!Array.isArray(body)) yield { ...body, other: value };
}

/** Paths with something else in place of each part that names something, and of each value of the query. */
function changedPaths({ path, route }: RouteRequest): string[] {
  const [at, query] = path.split('?') as [string, string?];
  const parts = at.split('/');
  const named = route
    .split(' ')[1]!
    .split('/')
    .flatMap((part, i) => (part.startsWith('{') ? [i] : []));
  const asked = (query ?? 'limit=1&cursor=x&name=x&tag=x&where=a>1&sort=name').split('&');
  return HOSTILE_TEXTS.flatMap((text) => [
    ...named.map((i) => parts.with(i, text).join('/')),
    ...asked.map((pair) => `${at}?${pair.split('=')[0]}=${text}`),
  ]);
}

test('no route of the API has an error of its own for any place of a request', async ({ annotate }) => {
  const platform = {
    client: new LoomClient({ url: api.url, retries: 0 }),
    database: api.database,
    runs: api.runs,
    artifactsDir: api.dir,
  };
  const routes = (await everyRoute(platform)).filter(({ route }) => !route.endsWith('/stream'));
  const counts = new Map<number, number>();
  const faults: string[] = [];
  const send = async (what: string, { method, path: at, body }: Pick<RouteRequest, 'method' | 'path' | 'body'>) => {
    const response = await fetch(api.url + at, {
      method,
      ...(body !== undefined && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    });
    counts.set(response.status, (counts.get(response.status) ?? 0) + 1);
    const text = await response.text();
    if (response.status === 422 && text.startsWith('{'))
      for (const { path, message } of (JSON.parse(text) as Problem).errors ?? [])
        if (OF_THE_LIBRARY.test(message)) faults.push(`${method} ${at} with ${what}: ${path}: ${message}`);
    if (response.status >= 500) faults.push(`${method} ${at} with ${what}: ${response.status} ${text.slice(0, 200)}`);
  };
  for (const request of routes) {
    for (const path of changedPaths(request)) await send(path, { ...request, path });
    if (request.body === undefined || Buffer.isBuffer(request.body)) continue;
    for (const [what, value] of [...HOSTILE, ...WRONG])
      for (const body of changedBodies(request.body, value)) await send(what, { ...request, body });
  }
  await annotate(JSON.stringify(Object.fromEntries(counts)));
  expect(faults).toEqual([]);
  expect(counts.get(422)).toBeGreaterThan(100);
}, 180_000);
