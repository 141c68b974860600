/** Long lists are checked item by item, in turns: 500 runs of a page, or 10,000 points, would hold up all others. */
import { Turns } from '#libs/platform';
import { z } from 'zod';

/** Items that are checked with the rest. */
const FEW = 50;
/** Of a long list so many faulty items are told of. */
const MOST_FAULTY = 100;

type Checked = { data: unknown; issues?: undefined } | { data?: undefined; issues: z.core.$ZodIssue[] };

/** The same object schema where these lists may hold anything: their lengths and all else is still checked. */
const lenient = new WeakMap<z.ZodObject, Map<string, z.ZodObject>>();
function withoutItemsOf(schema: z.ZodObject, lists: readonly LongList[]): z.ZodObject {
  const known = lenient.get(schema) ?? new Map<string, z.ZodObject>();
  lenient.set(schema, known);
  const name = lists.map(({ field }) => field).join();
  const free = lists.map(({ field, list }) => [field, list.clone({ ...list._zod.def, element: z.any() })]);
  const made =
    known.get(name) ??
    schema.clone({ ...schema._zod.def, shape: { ...schema.shape, ...(Object.fromEntries(free) as z.ZodRawShape) } });
  known.set(name, made);
  return made;
}

interface LongList {
  field: string;
  list: z.ZodArray;
}
/** The fields of an object that are long lists, where its schema is an object's. */
function longLists(schema: z.ZodObject, value: unknown): LongList[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(schema.shape).flatMap(([field, of]) => {
    const given = (value as Record<string, unknown>)[field];
    return of instanceof z.ZodArray && Array.isArray(given) && given.length > FEW ? [{ field, list: of }] : [];
  });
}

/** What `schema` makes of a value; of a long list of faulty items only the first faults are told. */
export async function checkInTurns(schema: z.ZodType, value: unknown): Promise<Checked> {
  const lists = schema instanceof z.ZodObject ? longLists(schema, value) : [];
  if (!(schema instanceof z.ZodObject) || lists.length === 0) {
    const parsed = schema.safeParse(value, { reportInput: true });
    return parsed.success ? { data: parsed.data } : { issues: parsed.error.issues };
  }
  const whole = withoutItemsOf(schema, lists).safeParse(value, { reportInput: true });
  if (!whole.success) return { issues: whole.error.issues };
  const data: Record<string, unknown> = { ...whole.data };
  const issues: z.core.$ZodIssue[] = [];
  const turns = new Turns();
  for (const { field, list } of lists) {
    const item = list.element as z.ZodType;
    const items: unknown[] = [];
    let faulty = 0;
    for (const [index, given] of (whole.data[field] as unknown[]).entries()) {
      const parsed = item.safeParse(given, { reportInput: true });
      if (parsed.success) items.push(parsed.data);
      else {
        issues.push(...parsed.error.issues.map((issue) => ({ ...issue, path: [field, index, ...issue.path] })));
        if (++faulty === MOST_FAULTY) break;
      }
      if (turns.over) await turns.next();
    }
    data[field] = items;
  }
  return issues.length ? { issues } : { data };
}
