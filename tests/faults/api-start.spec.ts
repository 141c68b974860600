/** An API that starts on a database of another version, or without one: a row of docs/reliability.md. */
import pg from 'pg';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { ownPostgres, type OwnServer } from '../support/own-services.js';
import { startStack, type ApiProcess, type Stack } from '../support/stack.js';

let postgres: OwnServer;
let stack: Stack;

beforeAll(async () => {
  postgres = await ownPostgres();
  stack = await startStack({ environment: { DATABASE_URL: postgres.url, LOOM_NETWORK_TIMEOUT_MS: '2000' } });
}, 120_000);
afterEach(async () => {
  postgres.proxy.heal();
  await query("DELETE FROM _prisma_migrations WHERE id = 'future'");
});
afterAll(async () => {
  await stack?.stop();
  await postgres?.stop();
});

async function query(sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: postgres.url });
  await client.connect();
  await client.query(sql).finally(() => client.end());
}
const migrateFurther = () =>
  query(`INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at)
         VALUES ('future', '', '99990101000000_future', now())`);
const late = () => stack.startApi({}, [], { waits: false });
const ends = (api: ApiProcess) =>
  eventually(() => expect(api.child.exitCode, api.output()).toBe(1), { timeoutMs: 30_000 });

test('#52 an API older than its database does not start, and says what to do', async () => {
  await migrateFurther();
  const api = await late();
  await ends(api);
  expect(api.output()).toContain('got 99990101000000_future: update this API');
  // The one that runs goes on: clients are served while versions change.
  expect((await fetch(`${stack.client.url}/v1/runs`)).status).toBe(200);
});

test('#52 one that starts while Postgres is away is not ready, and ends when it learns that it is older', async () => {
  postgres.proxy.cut();
  const api = await late();
  await eventually(async () => expect((await fetch(`${api.client.url}/healthz`)).status).toBe(200), {
    timeoutMs: 30_000,
  });
  expect(await api.client.ready()).toBe(false);
  postgres.proxy.heal();
  await eventually(async () => expect(await api.client.ready()).toBe(true), { timeoutMs: 30_000 });
  await api.kill('SIGTERM');

  postgres.proxy.cut();
  const older = await late();
  await eventually(async () => expect((await fetch(`${older.client.url}/healthz`)).status).toBe(200), {
    timeoutMs: 30_000,
  });
  postgres.proxy.heal();
  await migrateFurther();
  await ends(older);
});
