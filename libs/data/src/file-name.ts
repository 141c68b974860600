/** Templates such as `{label}_{group}_{}`, which say what the names of files tell. */
import { InvalidDataError } from './invalid-data.js';

/** Takes a path without its ending apart; undefined where the template does not fit. */
export interface FileName {
  (path: string): { label: string | null; group: string | null } | undefined;
  /** Whether it tells the class; otherwise folders do. */
  hasLabel: boolean;
}

/** A path without what is behind the last dot of the file's own name. */
export const withoutEnding = (name: string): string => name.replace(/\.[^./]*$/, '');

/**
 * A template is of the file's own name, or, with `/` in it, of the folders before it too. Each field takes as little as
 * it can up to the text that follows it, the last one the rest; `{}` may be empty. One pass over the name, so that no
 * template and no name can take long.
 * @throws InvalidDataError for a template that could be read in more than one way.
 */
export function fileNameMatcher(template: string): FileName {
  const parts = template.split('/').map((part) => partMatcher(part, template));
  const fields = parts.flatMap((part) => part.fields);
  for (const field of ['label', 'group'])
    if (fields.indexOf(field) !== fields.lastIndexOf(field))
      throw new InvalidDataError(`expected {${field}} once in the fileName template ${template}`);
  if (!fields.includes('label') && !fields.includes('group'))
    throw new InvalidDataError(`expected {label} or {group} in the fileName template ${template}`);
  const match = (path: string): ReturnType<FileName> => {
    const names = path.split('/').slice(-parts.length);
    if (names.length < parts.length) return undefined;
    const values: Record<string, string> = {};
    for (const [i, { match: matchPart }] of parts.entries()) {
      const found = matchPart(names[i]!);
      if (!found) return undefined;
      Object.assign(values, found);
    }
    return { label: values['label'] ?? null, group: values['group'] ?? null };
  };
  return Object.assign(match, { hasLabel: fields.includes('label') });
}

/** A template of one name. */
function partMatcher(
  part: string,
  template: string,
): { fields: string[]; match: (name: string) => Record<string, string> | undefined } {
  const pieces = part.split(/(\{[^{}]*\})/);
  const fields = pieces.filter((_, i) => i % 2 === 1).map((field) => field.slice(1, -1));
  const texts = pieces.filter((_, i) => i % 2 === 0);
  const unknown = fields.find((field) => !['label', 'group', ''].includes(field));
  if (unknown !== undefined)
    throw new InvalidDataError(
      `expected {label}, {group} and {} in the fileName template ${template}, got {${unknown}}`,
    );
  if (texts.slice(1, -1).includes(''))
    throw new InvalidDataError(
      `expected text between the fields of the fileName template ${template}: without it there is no telling ` +
        'where one ends',
    );
  const [first, last] = [texts[0]!, texts.at(-1)!];
  const match = (name: string): Record<string, string> | undefined => {
    if (!name.startsWith(first) || !name.endsWith(last) || name.length < first.length + last.length) return undefined;
    if (fields.length === 0) return name === part ? {} : undefined;
    const values: Record<string, string> = {};
    const end = name.length - last.length;
    let start = first.length;
    for (const [i, field] of fields.entries()) {
      const isLast = i === fields.length - 1;
      // A label and a group have at least one character.
      const stop = isLast ? end : name.indexOf(texts[i + 1]!, start + (field ? 1 : 0));
      if (stop < 0 || stop > end || (field && stop <= start)) return undefined;
      values[field] = name.slice(start, stop);
      start = stop + (isLast ? 0 : texts[i + 1]!.length);
      if (start > end) return undefined;
    }
    return values;
  };
  return { fields, match };
}
