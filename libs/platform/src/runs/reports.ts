import { ListedReport, Report, type ListPage, type ReplaceReport, type WriteReport } from '#libs/contracts';
import { checkedRow, type RecordOf } from '../checked-row.js';
import type { Database } from '../machine/database.js';
import { RequestError } from '../request-error.js';
import { decodeCursor, encodeCursor, pageOf, type Page } from './page.js';
import { NO_PROJECT, rememberForRepeats, resourceOfRepeat } from './repeats.js';

export type ReportRecord = RecordOf<typeof Report>;
type ListedReportRecord = RecordOf<typeof ListedReport>;

const of = (row: { id: string }) => ({ resource: 'report', id: row.id }) as const;
const recordOf = (row: { id: string }): ReportRecord => checkedRow(Report, of(row), row);
const listedOf = (row: { id: string }): ListedReportRecord => checkedRow(ListedReport, of(row), row);
const missing = (id: string) =>
  new RequestError('not_found', `expected the id of a report, got ${id}: there is no such report`);

/** Reports, shared by all who use this database. */
export class Reports {
  constructor(private readonly database: Database) {}

  private get table() {
    return this.database.prisma.report;
  }

  /** The one that was changed last first. @throws RequestError for a cursor that is none */
  async list({ limit, cursor }: ListPage): Promise<Page<ListedReportRecord>> {
    const after = decodeCursor(cursor, 'date', 'id') as [string, string] | undefined;
    const at = after && new Date(after[0]);
    const rows = await this.table.findMany({
      where: after ? { OR: [{ updatedAt: { lt: at! } }, { updatedAt: at!, id: { lt: after[1] } }] } : {},
      omit: { blocks: true },
      orderBy: [{ updatedAt: 'desc' }, { id: 'desc' }],
      take: limit + 1,
    });
    return pageOf(rows, limit, ({ updatedAt, id }) => encodeCursor(updatedAt.toISOString(), id), listedOf);
  }

  /** @throws RequestError where there is none of that id, DamagedRowError */
  async get(id: string): Promise<ReportRecord> {
    const row = await this.table.findUnique({ where: { id } });
    if (!row) throw missing(id);
    return recordOf(row);
  }

  /**
   * Writes a report. A repeat with the same key returns the report that the first has written, as it is now.
   * @throws RequestError `idempotency_mismatch` for a key that was used for another report
   */
  async add(
    { title, blocks }: WriteReport,
    idempotencyKey?: string,
  ): Promise<{ report: ReportRecord; outcome: 'created' | 'replayed' }> {
    const request = { project: NO_PROJECT, title, blocks };
    return this.database.transaction(async (tx) => {
      const id = await resourceOfRepeat(tx, idempotencyKey, request);
      const known = id === undefined ? null : await tx.report.findUnique({ where: { id } });
      if (known) return { report: recordOf(known), outcome: 'replayed' };
      const row = await tx.report.create({ data: { title, blocks } });
      await rememberForRepeats(tx, idempotencyKey, request, row.id);
      return { report: recordOf(row), outcome: 'created' };
    });
  }

  /**
   * Saves an edit of one version.
   * @throws RequestError where there is no such report, or it has another version by now
   */
  async replace(id: string, { title, blocks, version }: ReplaceReport): Promise<ReportRecord> {
    const [row] = await this.table.updateManyAndReturn({
      where: { id, version },
      data: { title, blocks, version: { increment: 1 } },
    });
    if (row) return recordOf(row);
    const saved = await this.table.findUnique({ where: { id }, select: { version: true } });
    if (!saved) throw missing(id);
    throw new RequestError(
      'conflict',
      `expected an edit of version ${saved.version} of the report, got one of version ${version}: it was saved by ` +
        'somebody else since, so nothing was changed; read it anew and edit that',
    );
  }

  /** @throws RequestError where there is none of that id */
  async delete(id: string): Promise<void> {
    await this.database.transaction(async (tx) => {
      const { count } = await tx.report.deleteMany({ where: { id } });
      if (count === 0) throw missing(id);
      // A repeat writes anew what is no longer there.
      await tx.idempotencyKey.deleteMany({ where: { resourceId: id } });
    });
  }
}
