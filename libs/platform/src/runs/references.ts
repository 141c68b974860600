/** Runs and sweeps by what people call them. */
import { partOfId, type FindReferences } from '#libs/contracts';
import { Prisma, type Database } from '../machine/database.js';

/** So many are told where a text means several. */
const MOST_TOLD = 10;

export interface FoundReference {
  type: 'run' | 'sweep';
  id: string;
  name: string | null;
  createdAt: Date;
}

export class References {
  constructor(private readonly database: Database) {}

  /**
   * What a text may mean, the newest first and at most ten: whatever is called so; where nothing is, that whose id
   * begins or ends so.
   */
  async find({ text, type }: FindReferences): Promise<FoundReference[]> {
    const part = partOfId(text);
    const named = await this.where(type, Prisma.sql`name = ${text}`);
    if (named.length > 0 || part === undefined) return named;
    return this.where(type, Prisma.sql`id::text LIKE ${`${part}%`} OR id::text LIKE ${`%${part}`}`);
  }

  private where(type: FindReferences['type'], condition: Prisma.Sql): Promise<FoundReference[]> {
    return this.database.prisma.$queryRaw`
      SELECT type, id, name, created_at AS "createdAt"
      FROM (
        SELECT 'run' AS type, id, name, created_at
        FROM run
        WHERE ${type !== 'sweep'} AND (${condition})
        UNION ALL
        SELECT 'sweep', id, name, created_at
        FROM sweep
        WHERE ${type !== 'run'} AND (${condition})) AS found
      ORDER BY created_at DESC, id DESC
      LIMIT ${MOST_TOLD}`;
  }
}
