/** Templates such as `{label}_{group}_{}`, which say what the names of files tell. */
import { InvalidDataError } from './invalid-data.js';

/** Takes a file's name, without folder and ending, apart; undefined where the template does not fit. */
export type FileName = (name: string) => { label: string; group: string | null } | undefined;

/**
 * Each field takes as little as it can up to the text that follows it, the last one the rest; `{}` may be empty. One
 * pass over the name, so that no template and no name can take long.
 * @throws InvalidDataError for a template that could be read in more than one way.
 */
export function fileNameMatcher(template: string): FileName {
  const pieces = template.split(/(\{[^{}]*\})/);
  const fields = pieces.filter((_, i) => i % 2 === 1).map((field) => field.slice(1, -1));
  const texts = pieces.filter((_, i) => i % 2 === 0);
  const unknown = fields.find((field) => !['label', 'group', ''].includes(field));
  if (unknown !== undefined)
    throw new InvalidDataError(
      `expected {label}, {group} and {} in the fileName template ${template}, got {${unknown}}`,
    );
  for (const field of ['label', 'group'])
    if (fields.indexOf(field) !== fields.lastIndexOf(field))
      throw new InvalidDataError(`expected {${field}} once in the fileName template ${template}`);
  if (!fields.includes('label')) throw new InvalidDataError(`expected {label} in the fileName template ${template}`);
  if (texts.slice(1, -1).includes(''))
    throw new InvalidDataError(
      `expected text between the fields of the fileName template ${template}: without it there is no telling ` +
        'where one ends',
    );
  const [first, last] = [texts[0]!, texts.at(-1)!];
  return (name) => {
    if (!name.startsWith(first) || !name.endsWith(last) || name.length < first.length + last.length) return undefined;
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
    return { label: values['label']!, group: values['group'] ?? null };
  };
}
