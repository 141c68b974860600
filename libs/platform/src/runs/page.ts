/** Lists a page at a time: a page says where it ended, as text that its reader need not understand. */
import { intactRows, type IntactRows } from '../checked-row.js';
import { RequestError } from '../request-error.js';

export interface Page<Item> extends IntactRows<Item> {
  nextCursor: string | null;
}
/** Where a page ended, as opaque text. */
export const encodeCursor = (...key: (string | number)[]): string =>
  Buffer.from(JSON.stringify(key)).toString('base64url');
export const invalidCursor = () =>
  RequestError.invalid([{ path: ['cursor'], message: 'expected the nextCursor of an earlier page' }]);

export function decodeCursor(
  cursor: string | undefined,
  ...types: ('date' | 'text' | 'id' | 'number')[]
): (string | number)[] | undefined {
  if (cursor === undefined) return undefined;
  let key: unknown;
  try {
    key = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  } catch {
    throw invalidCursor();
  }
  const fits = (value: unknown, type: (typeof types)[number]) =>
    type === 'number'
      ? Number.isSafeInteger(value)
      : typeof value === 'string' &&
        ((type === 'text' && !value.includes('\0')) ||
          (type === 'date' ? !Number.isNaN(Date.parse(value)) : /^[0-9a-f-]{36}$/.test(value)));
  if (
    !Array.isArray(key) ||
    key.length !== types.length ||
    !types.every((type, i) => fits((key as unknown[])[i], type))
  )
    throw invalidCursor();
  return key as (string | number)[];
}

/** One row more than asked for tells whether a page follows. Damaged rows are told of beside the items. */
export async function pageOf<Row, Item>(
  rows: Row[],
  limit: number,
  cursorOf: (row: Row) => string,
  itemOf: (row: Row) => Item,
): Promise<Page<Item>> {
  const shown = rows.slice(0, limit);
  return { ...(await intactRows(shown, itemOf)), nextCursor: rows.length > limit ? cursorOf(shown.at(-1)!) : null };
}
