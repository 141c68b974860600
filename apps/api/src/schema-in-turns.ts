/** Long lists are checked item by item, in turns: 500 runs of a page, or 10,000 points, would hold up all others. */
import { Turns } from '#libs/platform';
import { z } from 'zod';

/** Items that are checked with the rest. */
const FEW = 50;
/** Of a long list so many faulty items are told of. */
const MOST_FAULTY = 100;

type Checked = { data: unknown; issues?: undefined } | { data?: undefined; issues: z.core.$ZodIssue[] };

/** A long list within a value, and its schema. */
interface LongList {
  path: string[];
  list: z.ZodArray;
}
const isWrapped = (schema: z.ZodType): schema is z.ZodNullable<z.ZodType> | z.ZodOptional<z.ZodType> =>
  schema instanceof z.ZodNullable || schema instanceof z.ZodOptional;

/** The long lists of a value that are reached by fields of objects alone. */
function longLists(schema: z.ZodType, value: unknown, path: string[] = []): LongList[] {
  if (isWrapped(schema)) return longLists(schema.unwrap(), value, path);
  if (schema instanceof z.ZodArray) return Array.isArray(value) && value.length > FEW ? [{ path, list: schema }] : [];
  if (!(schema instanceof z.ZodObject) || typeof value !== 'object' || value === null) return [];
  return Object.entries(schema.shape as z.ZodRawShape).flatMap(([field, of]) =>
    longLists(of as z.ZodType, (value as Record<string, unknown>)[field], [...path, field]),
  );
}

/** The same schema where these lists may hold anything: their lengths and all else is still checked. */
function withoutItemsOf(schema: z.ZodType, paths: readonly string[][]): z.ZodType {
  if (paths.length === 0) return schema;
  if (isWrapped(schema))
    return schema.clone({ ...schema._zod.def, innerType: withoutItemsOf(schema.unwrap(), paths) } as never);
  if (schema instanceof z.ZodArray) return schema.clone({ ...schema._zod.def, element: z.any() });
  const object = schema as z.ZodObject;
  const free = Object.entries(object.shape).map(([field, of]) => [
    field,
    withoutItemsOf(
      of as z.ZodType,
      paths.filter(([first]) => first === field).map(([, ...rest]) => rest),
    ),
  ]);
  return object.clone({ ...object._zod.def, shape: Object.fromEntries(free) as z.ZodRawShape });
}
const lenient = new WeakMap<z.ZodType, Map<string, z.ZodType>>();
/** `withoutItemsOf`, made once for each schema and its lists. */
function lenientOf(schema: z.ZodType, lists: readonly LongList[]): z.ZodType {
  const known = lenient.get(schema) ?? new Map<string, z.ZodType>();
  lenient.set(schema, known);
  const paths = lists.map(({ path }) => path);
  const name = JSON.stringify(paths);
  const made = known.get(name) ?? withoutItemsOf(schema, paths);
  known.set(name, made);
  return made;
}

/** What `schema` makes of a value; of a long list of faulty items only the first faults are told. */
export async function checkInTurns(schema: z.ZodType, value: unknown): Promise<Checked> {
  const lists = longLists(schema, value).filter(({ path }) => path.length > 0);
  const whole = (lists.length ? lenientOf(schema, lists) : schema).safeParse(value, { reportInput: true });
  if (!whole.success) return { issues: whole.error.issues };
  const issues: z.core.$ZodIssue[] = [];
  const turns = new Turns();
  for (const { path, list } of lists) {
    const item = list.element as z.ZodType;
    const holder = path
      .slice(0, -1)
      .reduce((at, field) => at[field] as Record<string, unknown>, whole.data as Record<string, unknown>);
    const field = path.at(-1)!;
    const items: unknown[] = [];
    let faulty = 0;
    for (const [index, given] of (holder[field] as unknown[]).entries()) {
      const parsed = item.safeParse(given, { reportInput: true });
      if (parsed.success) items.push(parsed.data);
      else {
        issues.push(...parsed.error.issues.map((issue) => ({ ...issue, path: [...path, index, ...issue.path] })));
        if (++faulty === MOST_FAULTY) break;
      }
      if (turns.over) await turns.next();
    }
    holder[field] = items;
  }
  return issues.length ? { issues } : { data: whole.data };
}
