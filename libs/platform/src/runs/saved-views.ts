import { SavedView, type SavedQuery } from '#libs/contracts';
import { checkedRow, intactRows, type IntactRows, type RecordOf } from '../checked-row.js';
import type { Database } from '../machine/database.js';
import { RequestError } from '../request-error.js';

export type SavedViewRecord = RecordOf<typeof SavedView>;

const recordOf = (row: { name: string }): SavedViewRecord =>
  checkedRow(SavedView, { resource: 'saved_view', id: row.name }, row);

/** Ways to look at the list of runs, shared by all who use this database. */
export class SavedViews {
  constructor(private readonly database: Database) {}

  /** By name. */
  async list(): Promise<IntactRows<SavedViewRecord>> {
    return intactRows(await this.database.prisma.savedView.findMany({ orderBy: { name: 'asc' } }), recordOf);
  }

  /** Saves a view, in the place of the one of its name where there is one. */
  async put(name: string, query: SavedQuery): Promise<SavedViewRecord> {
    return recordOf(
      await this.database.prisma.savedView.upsert({ where: { name }, create: { name, query }, update: { query } }),
    );
  }

  /** @throws RequestError where there is none of that name */
  async delete(name: string): Promise<void> {
    const { count } = await this.database.prisma.savedView.deleteMany({ where: { name } });
    if (count === 0)
      throw new RequestError('not_found', `expected a saved view, got ${name}: there is none of that name`);
  }
}
