/**
 * From rows of Postgres to what is told of them: the one place where a row is held against the schema that `contracts`
 * has of it. A row may be damaged, edited by hand or written by another version: then it is said where, and all other
 * rows are told.
 */
import { faultsOf, type DamagedRow } from '#libs/contracts';
import type { z } from 'zod';
import { inTurns } from './machine/turns.js';
import { RequestError } from './request-error.js';

/** What a schema makes of a row, but with dates as dates: the API turns them into what is sent. */
export type RecordOf<Schema extends z.ZodType> = {
  [Field in keyof z.input<Schema> & keyof z.output<Schema>]: Date extends z.input<Schema>[Field]
    ? z.input<Schema>[Field]
    : z.output<Schema>[Field];
};

/** Whose row it is. */
export type RowOf = Pick<DamagedRow, 'resource' | 'id'>;

/** What is asked for can't be told, because its row is damaged. */
export class DamagedRowError extends RequestError {
  constructor(readonly row: DamagedRow) {
    super('damaged', damageText(row), [{ path: row.field.split('.'), message: row.message }]);
  }
}

/** Which row is damaged, in which field, and what is stored there. */
export const damageText = ({ resource, id, field, message }: DamagedRow): string =>
  `${resource} ${id} can't be told: ${field}: ${message}`;

/** @throws DamagedRowError where the row is not as the schema says */
export function checkedRow<Schema extends z.ZodObject>(schema: Schema, of: RowOf, row: object): RecordOf<Schema> {
  const { data, error } = schema.safeParse(row, { reportInput: true });
  if (error) throw new DamagedRowError({ ...of, ...firstDamage(error) });
  const dates = Object.entries(row).filter(([, value]) => value instanceof Date);
  return { ...data, ...Object.fromEntries(dates) };
}

/** What is wrong with a stored value where something else is told in its place; undefined where it is whole. */
export function damageOf(schema: z.ZodType, value: unknown): Damage | undefined {
  const { error } = schema.safeParse(value, { reportInput: true });
  return error && firstDamage(error);
}

type Damage = Omit<DamagedRow, keyof RowOf>;
function firstDamage({ issues }: z.ZodError): Damage {
  const [fault] = issues.flatMap(faultsOf);
  return { field: fault!.path.join('.'), message: fault!.message };
}

export interface IntactRows<Item> {
  items: Item[];
  /** Absent where no row is damaged. */
  damaged?: DamagedRow[];
}

/** Of what one row was asked for; undefined where there is none. @throws DamagedRowError */
export function onlyOne<Item>({ items, damaged }: IntactRows<Item>): Item | undefined {
  if (damaged) throw new DamagedRowError(damaged[0]!);
  return items[0];
}

/** What is made of rows, in turns; of those for which `itemOf` throws a DamagedRowError, the damage. */
export async function intactRows<Row, Item>(
  rows: Iterable<Row>,
  itemOf: (row: Row) => Item,
): Promise<IntactRows<Item>> {
  const damaged: DamagedRow[] = [];
  const items = await inTurns(rows, (row) => {
    try {
      return [itemOf(row)];
    } catch (error) {
      if (!(error instanceof DamagedRowError)) throw error;
      damaged.push(error.row);
      return [];
    }
  });
  return { items: items.flat(), ...(damaged.length > 0 && { damaged }) };
}
