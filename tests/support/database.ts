import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import { eventually } from './eventually.js';

/** What is done from beside the database of all tests. */
export async function administer(sql: (template: string) => string): Promise<void> {
  const url = new URL(inject('databaseUrl'));
  const template = url.pathname.slice(1);
  url.pathname = '/postgres';
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  try {
    await client.query(sql(template));
  } finally {
    await client.end();
  }
}

/**
 * Drops a database, and ends who is connected to it. While autovacuum is at work in it, Postgres refuses that to who is
 * no superuser.
 */
export const dropDatabase = (name: string): Promise<void> =>
  eventually(() => administer(() => `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`));

/** An empty database with the newest schema, for one test file. */
export async function freshDatabase(): Promise<{ url: string; drop(): Promise<void> }> {
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  await administer((template) => `CREATE DATABASE ${name} TEMPLATE ${template}`);
  const url = new URL(inject('databaseUrl'));
  url.pathname = `/${name}`;
  return { url: url.href, drop: () => dropDatabase(name) };
}
