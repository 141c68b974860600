import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { SCHEMA } from './schema-version.js';

test('a worker takes runs from a database with the newest migration of its own version', async () => {
  const migrations = (await readdir(path.resolve(import.meta.dirname, '..', '..', '..', '..', 'prisma', 'migrations')))
    .filter((name) => /^\d{14}_/.test(name))
    .sort();
  expect(SCHEMA).toBe(migrations.at(-1));
});
