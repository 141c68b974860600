/** The databases of a stack: closed to whoever else is on the machine, and up as long as the stack is. */
import { startLocalServices, type KeptServices } from '#libs/platform';
import { execFileSync } from 'node:child_process';
import { cp, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { Redis } from 'ioredis';
import pg from 'pg';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';

let dir: string;
let said: string[];
const running = new Set<KeptServices>();

async function start(folder = dir, durable = false): Promise<KeptServices> {
  const services = await startLocalServices({ dir: folder, durable, log: (line) => said.push(line) });
  running.add(services);
  return services;
}

async function stop(services: KeptServices): Promise<void> {
  running.delete(services);
  await services.stop();
}

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-local-'));
  said = [];
});
afterEach(async () => {
  for (const services of running) await stop(services);
  await rm(dir, { recursive: true, force: true });
});

async function sql<T extends pg.QueryResultRow>(url: string | URL, statement: string): Promise<T[]> {
  const client = new pg.Client({ connectionString: String(url) });
  await client.connect();
  try {
    return (await client.query<T>(statement)).rows;
  } finally {
    await client.end();
  }
}

async function redis<T>(url: string, command: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(url, {
    lazyConnect: true,
    enableReadyCheck: false,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return await command(client);
  } finally {
    client.disconnect();
  }
}

const as = (url: string, username: string, password: string) => Object.assign(new URL(url), { username, password });
const passwords = async () =>
  JSON.parse(await readFile(path.join(dir, 'passwords.json'), 'utf8')) as Record<
    'superuser' | 'role' | 'redis',
    string
  >;
const pidOfPostgres = async (folder = dir) =>
  Number((await readFile(path.join(folder, 'postgres', 'postmaster.pid'), 'utf8')).split('\n')[0]);

test('another user of the machine reaches neither the folder nor the databases', async () => {
  const { databaseUrl, redisUrl } = await start();
  expect(Number((await stat(dir)).mode) & 0o007).toBe(0);
  expect((await stat(path.join(dir, 'passwords.json'))).mode & 0o777).toBe(0o600);

  for (const name of ['loom', 'postgres', new URL(databaseUrl).username])
    await expect(sql(as(databaseUrl, name, 'loom'), 'SELECT 1')).rejects.toMatchObject({ code: '28P01' });
  const stranger = connect(Number(new URL(redisUrl).port), '127.0.0.1');
  stranger.end('PING\r\n');
  expect(await text(stranger)).toMatch(/^-NOAUTH /);

  const arguments_ = execFileSync('ps', ['-eww', '-o', 'args=']).toString();
  for (const password of Object.values(await passwords())) {
    expect(password).toMatch(/^[\w-]{32}$/);
    expect(arguments_).not.toContain(password);
  }
});

test('the product’s role owns its database, and runs no programs and reads no files of the server', async () => {
  const { databaseUrl } = await start();
  await sql(databaseUrl, 'CREATE TABLE own (id int)');
  for (const forbidden of [
    `COPY own FROM PROGRAM 'echo 1'`,
    `COPY own TO '/tmp/own'`,
    `SELECT pg_read_file('/etc/passwd')`,
    'ALTER ROLE latent_loom SUPERUSER',
  ])
    await expect(sql(databaseUrl, forbidden), forbidden).rejects.toMatchObject({ code: '42501' });
});

test('what an earlier version’s superuser made under the known password is the role’s', async () => {
  const first = await start();
  const former = as(first.databaseUrl, 'loom', (await passwords()).superuser);
  await sql(former, `CREATE TYPE colour AS ENUM ('red'); CREATE TABLE old (id serial, colour colour)`);
  await sql(former, `CREATE FUNCTION two() RETURNS int LANGUAGE sql AS 'SELECT 2'; ALTER ROLE loom PASSWORD 'loom'`);
  await stop(first);
  await rm(path.join(dir, 'passwords.json'));

  const { databaseUrl } = await start();
  await sql(databaseUrl, `INSERT INTO old (colour) VALUES ('red'); ALTER TABLE old ADD COLUMN more int`);
  await sql(databaseUrl, `ALTER TYPE colour ADD VALUE 'blue'; DROP FUNCTION two()`);
  await expect(sql(as(databaseUrl, 'loom', 'loom'), 'SELECT 1')).rejects.toMatchObject({ code: '28P01' });
});

test('passwords that are lost are asked for, and nothing is made anew', async () => {
  await stop(await start());
  const kept = await readFile(path.join(dir, 'passwords.json'));
  await rm(path.join(dir, 'passwords.json'));
  await expect(start()).rejects.toThrow('put the file back that was there when the database was made');
  await writeFile(path.join(dir, 'passwords.json'), '{}');
  await expect(start()).rejects.toThrow('it has no superuser: put the file back that was there');
  await writeFile(path.join(dir, 'passwords.json'), kept);
  await start();
});

test('a Postgres and a Redis that are killed come back where they were, with what they had', async () => {
  const { databaseUrl, redisUrl } = await start(dir, true);
  await sql(databaseUrl, 'CREATE TABLE kept AS SELECT 7 AS value');
  process.kill(await pidOfPostgres(), 'SIGKILL');
  process.kill(
    Number(/process_id:(\d+)/.exec(await redis(redisUrl, (client) => client.info('server')))![1]),
    'SIGKILL',
  );
  await eventually(async () => {
    expect(await sql(databaseUrl, 'SELECT value FROM kept')).toEqual([{ value: 7 }]);
    expect(await redis(redisUrl, (client) => client.ping())).toBe('PONG');
  });
  expect(said.filter((line) => line.includes('ended (SIGKILL): starting it again'))).toHaveLength(2);
});

test('what the servers say is in logs of bounded size and number', async () => {
  const { databaseUrl } = await start();
  await sql(
    databaseUrl,
    `DO $$ BEGIN FOR i IN 1..600 LOOP RAISE WARNING 'flood % %', i, repeat('x', 100000); END LOOP; END $$`,
  );
  const logs = path.join(dir, 'logs');
  await eventually(async () =>
    expect(await readFile(path.join(logs, 'postgres.log'), 'utf8')).toContain('flood 600 xxx'),
  );
  const names = (await readdir(logs)).sort();
  expect(names).toEqual(['postgres.log', 'postgres.log.1', 'postgres.log.2', 'postgres.log.3', 'redis.log']);
  for (const name of names) expect((await stat(path.join(logs, name))).size).toBeLessThan(11 * 2 ** 20);
  expect(await readFile(path.join(logs, 'redis.log'), 'utf8')).toContain('Ready to accept connections');
});

test('a Redis that can’t come back is told of in the end', async () => {
  const { redisUrl, failure } = await start();
  const pid = Number(/process_id:(\d+)/.exec(await redis(redisUrl, (client) => client.info('server')))![1]);
  let taken: Server | undefined;
  const take = () => {
    taken = createServer()
      .on('error', take)
      .listen(Number(new URL(redisUrl).port), '127.0.0.1');
  };
  process.kill(pid, 'SIGKILL');
  take();
  await expect(failure).rejects.toThrow(/^Redis ended 6 times in a row: expected Redis to start, it ended: /);
  taken?.close();
}, 60_000);

test('a copy of a folder in use comes up beside it: each has its own servers', async () => {
  const first = await start();
  await sql(first.databaseUrl, 'CREATE TABLE kept AS SELECT 1 AS value');
  const pid = await pidOfPostgres();
  const copy = `${dir}-copy`;
  try {
    await cp(dir, copy, { recursive: true });
    const second = await start(copy);
    await sql(second.databaseUrl, 'SELECT 1');
    expect(await pidOfPostgres()).toBe(pid);
    expect(await sql(first.databaseUrl, 'SELECT value FROM kept')).toEqual([{ value: 1 }]);
    await stop(second);
    expect(await sql(first.databaseUrl, 'SELECT value FROM kept')).toEqual([{ value: 1 }]);
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
});
