/**
 * Every route of openapi.json under every way in which Postgres can be unavailable, on a real Postgres. The number is
 * the row of the table in docs/reliability.md.
 */
import { Database, Runs } from '#libs/platform';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { documented, everyRoute, type RouteRequest } from '../support/every-route.js';
import { administer, locked, smallDisk, type Hindrance, type SmallDisk } from '../support/own-postgres.js';
import { ownPostgres, type OwnServer } from '../support/own-services.js';
import { knowShapes } from '../support/shapes.js';
import { startStack, type Stack } from '../support/stack.js';

/** Answered without Postgres. */
const WITHOUT = ['GET /healthz', 'GET /schemas/{name}', 'GET /v1/data-root'];
/** Answered from what is there, though nothing can be written. */
const READS = /^GET (?!\/readyz)|^POST \/v1\/artifacts\/collect$/;
const ROLE = 'loom_api';
const AT_ONCE = 8;

let postgres: OwnServer;
let stack: Stack;
let database: Database;
let runs: Runs;
let disk: SmallDisk | undefined;
let locks: Hindrance;
/** What each route answered, by the way in which Postgres was away. */
const table = new Map<string, Map<string, string>>();

const everywhere = (sql: string) => administer(postgres, (admin) => admin.query(sql));
/** The API's connections end, so that new ones meet what was changed. */
const END = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${ROLE}'`;

beforeAll(async () => {
  postgres = await ownPostgres();
  disk = await smallDisk(postgres, 96);
  await administer(
    postgres,
    async (admin) => {
      await admin.query(`CREATE ROLE ${ROLE} LOGIN PASSWORD 'api'`);
      await admin.query(`GRANT ALL ON ALL TABLES IN SCHEMA public TO ${ROLE}`);
      await admin.query(`GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO ${ROLE}`);
    },
    'loom',
  );
  locks = locked(postgres);
  const url = new URL(postgres.url);
  url.username = ROLE;
  url.password = 'api';
  stack = await startStack({
    environment: {
      DATABASE_URL: url.href,
      LOOM_HEARTBEAT_MS: '20000',
      LOOM_LEASE_MS: '600000',
      LOOM_NETWORK_TIMEOUT_MS: '2000',
    },
  });
  database = new Database(postgres.url);
  runs = new Runs(database, { dataRoot: stack.dataRoot, leaseMs: 600_000 });
  await knowShapes(runs);
}, 120_000);
afterAll(async () => {
  await stack?.stop();
  await database?.close();
  await postgres?.stop();
  await disk?.remove();
  process.stdout.write(`\n${matrix()}\n`);
});

function matrix(): string {
  const ways = [...new Set([...table.values()].flatMap((row) => [...row.keys()]))];
  const width = Math.max(0, ...[...table.keys()].map((route) => route.length));
  const lines = [...table].map(
    ([route, row]) =>
      `${route.padEnd(width)}  ${ways.map((way) => (row.get(way) ?? '').padEnd(way.length)).join('  ')}`,
  );
  return [`${'route'.padEnd(width)}  ${ways.join('  ')}`, ...lines].join('\n');
}

const prepare = () =>
  everyRoute({ client: stack.client, database, runs, artifactsDir: path.join(stack.dir, 'artifacts') });

interface Answer {
  route: string;
  status: number;
  /** What an answer of 503 has to have and this one has not. */
  lacks: string[];
  text: string;
}

const isProblem = (headers: Headers) => headers.get('content-type')?.startsWith('application/problem+json') ?? false;

async function ask({ route, method, path: at, body }: RouteRequest): Promise<Answer> {
  const response = await fetch(stack.client.url + at, {
    method,
    signal: AbortSignal.timeout(30_000),
    ...(body !== undefined && {
      headers: { 'content-type': Buffer.isBuffer(body) ? 'application/octet-stream' : 'application/json' },
      body: Buffer.isBuffer(body) ? new Uint8Array(body) : JSON.stringify(body),
    }),
  });
  const { status, headers } = response;
  const text = await response.text();
  const lacks =
    status === 503
      ? [
          ...(Number(headers.get('retry-after')) > 0 ? [] : ['Retry-After']),
          ...(isProblem(headers) || route === 'GET /readyz' ? [] : ['a problem document']),
        ]
      : [];
  return { route, status, lacks, text: text.slice(0, 200) };
}

/** Asks for all of them, a few at a time, and notes what came. */
async function askAll(way: string, requests: readonly RouteRequest[]): Promise<Answer[]> {
  const answers: Answer[] = [];
  const left = [...requests];
  const client = async () => {
    for (let request = left.shift(); request; request = left.shift()) {
      const answer = await ask(request);
      answers.push(answer);
      const row = table.get(request.route) ?? new Map<string, string>();
      table.set(request.route, row.set(way, String(answer.status)));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, client));
  return answers;
}

/** @param expected what a route may answer, among 503 with all that it has to have */
function expectAnswers(answers: readonly Answer[], expected: (route: string) => ('ok' | 503)[]): void {
  const wrong = answers.filter(({ route, status, lacks }) => {
    const told = status >= 200 && status < 300 ? 'ok' : status;
    const allowed: (string | number)[] = WITHOUT.includes(route) ? ['ok'] : expected(route);
    return !allowed.includes(told) || lacks.length > 0;
  });
  expect(wrong, stack.api.output()).toEqual([]);
}

/** New connections are made: what meets one that was ended is told so, and asks again. */
const reads = () =>
  eventually(async () => {
    const ask = () => fetch(`${stack.client.url}/v1/runs/counts`).then(({ status }) => status);
    expect(new Set(await Promise.all(Array.from({ length: AT_ONCE }, ask)))).toEqual(new Set([200]));
  });

/** Well again: the API is ready, and every route answers. */
const recovered = () =>
  eventually(async () => expect(await stack.client.ready(), `the API is not ready: ${stack.api.output()}`).toBe(true), {
    timeoutMs: 30_000,
  });

interface Way {
  begin(): Promise<unknown>;
  end(): Promise<unknown>;
  expected?: (route: string) => ('ok' | 503)[];
}

let ending: NodeJS.Timeout | undefined;
let shuttingDown: Promise<void> | undefined;
let connected = () => {};

const WAYS: Record<string, Way> = {
  away: { begin: () => postgres.kill('SIGQUIT'), end: () => postgres.start() },
  'out of connections (53300)': {
    begin: async () => {
      await everywhere(`ALTER ROLE ${ROLE} CONNECTION LIMIT 0`);
      await everywhere(END);
    },
    end: () => everywhere(`ALTER ROLE ${ROLE} CONNECTION LIMIT -1`),
  },
  'read-only (25006)': {
    begin: async () => {
      await everywhere(`ALTER ROLE ${ROLE} SET default_transaction_read_only = on`);
      await everywhere(END);
      await reads();
    },
    end: async () => {
      await everywhere(`ALTER ROLE ${ROLE} RESET default_transaction_read_only`);
      await everywhere(END);
    },
    expected: (route) => (READS.test(route) ? ['ok'] : [503]),
  },
  'locked (55P03)': {
    begin: async () => {
      await everywhere(`ALTER ROLE ${ROLE} SET lock_timeout = '200ms'`);
      await everywhere(END);
      await locks.begin();
    },
    end: async () => {
      await locks.end();
      await everywhere(`ALTER ROLE ${ROLE} RESET lock_timeout`);
      await everywhere(END);
    },
  },
  'locked (57014)': { begin: () => locks.begin(), end: () => locks.end() },
  'shutting down (57P03)': {
    // A smart shutdown refuses newcomers for as long as somebody is there.
    begin: async () => {
      await new Promise<void>((resolve) => {
        shuttingDown = administer(postgres, async (admin) => {
          await postgres.signal('SIGTERM');
          await delay(100);
          await admin.query(END);
          resolve();
          await new Promise<void>((over) => (connected = over));
        });
      });
    },
    end: async () => {
      connected();
      await shuttingDown;
      await postgres.kill('SIGINT').catch(() => undefined);
      await postgres.start();
    },
  },
  'ending sessions (57P01)': {
    begin: async () => {
      ending = setInterval(() => void everywhere(END).catch(() => undefined), 30);
    },
    end: async () => {
      clearInterval(ending);
    },
    expected: () => ['ok', 503],
  },
  silent: {
    begin: async () => postgres.proxy.blackhole(),
    end: async () => {
      postgres.proxy.heal();
      await everywhere(END);
    },
  },
};

test('the requests are to every route of openapi.json, and well a healthy API answers all of them', async () => {
  const requests = await prepare();
  expect(requests.map(({ route }) => route).sort()).toEqual((await documented()).sort());
  expectAnswers(await askAll('well', requests), () => ['ok']);
});

test.each(Object.entries(WAYS))(
  '#50 Postgres is %s: every route answers 503 with Retry-After, or what it can do without',
  async (way, { begin, end, expected = () => [503] }) => {
    const requests = await prepare();
    await begin();
    try {
      // What was written a moment ago is believed for a second.
      if (!expected('GET /readyz').includes('ok'))
        await eventually(async () => expect(await stack.client.ready()).toBe(false));
      expectAnswers(await askAll(way, requests), expected);
    } finally {
      await end();
      await recovered();
    }
    expect(stack.api.child.exitCode, stack.api.output()).toBeNull();
  },
  120_000,
);

test('#50 Postgres is full (53100): what finds no room answers 503 with Retry-After, and /readyz', async (context) => {
  if (!disk) context.skip('a small file system could not be mounted: this needs root');
  const requests = await prepare();
  try {
    await disk!.fill();
    // Pages that are there take some more.
    const submits = requests.filter(({ route }) => route === 'POST /v1/runs');
    await eventually(async () => expect((await ask(submits[0]!)).status).toBe(503), { timeoutMs: 60_000 });
    expectAnswers(await askAll('full (53100)', requests), (route) => (route === 'GET /readyz' ? [503] : ['ok', 503]));
  } finally {
    await disk!.empty();
    await recovered();
  }
}, 120_000);
