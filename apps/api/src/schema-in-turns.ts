/** Long lists are checked item by item, in turns: 500 runs of a page, or 10,000 points, would hold up all others. */
import { Turns } from '#libs/platform';
import { z } from 'zod';

/** Items that are checked with the rest. */
const FEW = 50;
/** Of a long list so many faulty items are told of. */
const MOST_FAULTY = 100;

type Checked = { data: unknown; issues?: undefined } | { data?: undefined; issues: z.core.$ZodIssue[] };

/** The same object schema where a list may hold anything: its length and all else is still checked. */
const lenient = new WeakMap<z.ZodObject, Map<string, z.ZodObject>>();
function withoutItemsOf(schema: z.ZodObject, field: string, list: z.ZodArray): z.ZodObject {
  const known = lenient.get(schema) ?? new Map<string, z.ZodObject>();
  lenient.set(schema, known);
  const made =
    known.get(field) ??
    schema.clone({
      ...schema._zod.def,
      shape: { ...schema.shape, [field]: list.clone({ ...list._zod.def, element: z.any() }) },
    });
  known.set(field, made);
  return made;
}

/** The field of an object that is a long list, where its schema is an object's. */
function longList(schema: z.ZodType, value: unknown): { object: z.ZodObject; field: string; list: z.ZodArray } | null {
  if (!(schema instanceof z.ZodObject) || typeof value !== 'object' || value === null) return null;
  for (const [field, of] of Object.entries(schema.shape)) {
    const given = (value as Record<string, unknown>)[field];
    if (of instanceof z.ZodArray && Array.isArray(given) && given.length > FEW)
      return { object: schema, field, list: of };
  }
  return null;
}

/** What `schema` makes of a value; of a long list of faulty items only the first faults are told. */
export async function checkInTurns(schema: z.ZodType, value: unknown): Promise<Checked> {
  const long = longList(schema, value);
  if (!long) {
    const parsed = schema.safeParse(value, { reportInput: true });
    return parsed.success ? { data: parsed.data } : { issues: parsed.error.issues };
  }
  const { object, field, list } = long;
  const whole = withoutItemsOf(object, field, list).safeParse(value, { reportInput: true });
  if (!whole.success) return { issues: whole.error.issues };
  const item = list.element as z.ZodType;
  const items: unknown[] = [];
  const issues: z.core.$ZodIssue[] = [];
  let faulty = 0;
  const turns = new Turns();
  for (const [index, given] of (whole.data[field] as unknown[]).entries()) {
    const parsed = item.safeParse(given, { reportInput: true });
    if (parsed.success) items.push(parsed.data);
    else {
      issues.push(...parsed.error.issues.map((issue) => ({ ...issue, path: [field, index, ...issue.path] })));
      if (++faulty === MOST_FAULTY) break;
    }
    if (turns.over) await turns.next();
  }
  return issues.length ? { issues } : { data: { ...whole.data, [field]: items } };
}
