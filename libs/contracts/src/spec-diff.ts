/** What tells runs apart. Pure. */

/** `{encoder: {width: 8}}` → `encoder.width` = 8. Lists and empty objects stay whole. */
export function flattened(value: unknown, prefix = ''): Map<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || Object.keys(value).length === 0)
    return new Map(prefix ? [[prefix, value]] : []);
  return new Map(
    Object.entries(value).flatMap(([key, inner]) => [...flattened(inner, prefix ? `${prefix}.${key}` : key)]),
  );
}

/** What a spec has at a path such as `encoder.width`, as text; undefined where it has nothing there, or null. */
export function fieldText(spec: unknown, path: string): string | undefined {
  let found = spec;
  for (const field of path.split('.')) found = (found as Record<string, unknown> | null | undefined)?.[field];
  return found === undefined || found === null ? undefined : valueText(found);
}
/** Text as it is, all else as JSON. */
export const valueText = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));

export interface DiffRow {
  path: string;
  values: (string | undefined)[];
  differs: boolean;
}

/**
 * Every field of the specs, in the order in which it first comes, with each spec's value as JSON; undefined where it
 * has none.
 */
export function diffSpecs(specs: readonly unknown[]): DiffRow[] {
  const flat = specs.map((spec) => flattened(spec));
  return [...new Set(flat.flatMap((fields) => [...fields.keys()]))].map((path) => {
    const values = flat.map((fields) => (fields.has(path) ? JSON.stringify(fields.get(path)) : undefined));
    return { path, values, differs: new Set(values).size > 1 };
  });
}

/**
 * Paths without what all of them begin with: `pretrain.augmentation.blur` and `pretrain.augmentation.crop` are `blur`
 * and `crop`.
 */
export function shortestPaths(paths: readonly string[]): string[] {
  const parts = paths.map((path) => path.split('.'));
  const most = Math.min(...parts.map(({ length }) => length)) - 1;
  let common = 0;
  while (common < most && parts.every((each) => each[common] === parts[0]![common])) common++;
  return parts.map((each) => each.slice(common).join('.'));
}
