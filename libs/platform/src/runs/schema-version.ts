import { Prisma, type Transaction } from '../machine/database.js';

/**
 * The newest migration that this build was made for: a worker of another version than the database takes no runs, and
 * an API does not start.
 */
export const SCHEMA = '20261130070000_archive';

/** What to do about a database of another schema. */
export const mismatch = (found: string, who = 'worker'): string =>
  `expected a database of schema ${SCHEMA}, got ${found}: ` +
  `${found > SCHEMA ? `update this ${who}` : 'run the migrations (`npx prisma migrate deploy`)'}`;

/** The newest migration of the database; NULL where it has none. */
export const newestMigration = Prisma.sql`(
  SELECT max(migration_name)
  FROM _prisma_migrations
  WHERE finished_at IS NOT NULL)`;

/**
 * Resolves when the database has the schema that this build is for.
 * @throws Error when it has another, with what to do.
 */
export async function checkSchema(tx: Transaction, who: 'worker' | 'API'): Promise<void> {
  const [row] = await tx.$queryRaw<{ schema: string | null }[]>`SELECT ${newestMigration} AS schema`;
  if (row?.schema !== SCHEMA) throw new Error(mismatch(row?.schema ?? 'none', who));
}
