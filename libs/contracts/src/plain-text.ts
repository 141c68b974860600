/** Text that comes from data or from trainers, on its way to where not every character may go. */

/** As Postgres takes it, and JSON: without NUL, with each half of a surrogate pair that stands alone replaced. */
export const storableText = (text: string): string => text.toWellFormed().replaceAll('\0', '');

/** C0 but for tab and line feed, DEL, and C1. */
const CONTROL = new RegExp(String.raw`[\u0000-\u0008\u000b-\u001f\u007f-\u009f]`, 'g');

/**
 * As a terminal may have it: control characters, by which data could move its cursor, rename its window or answer in
 * the user's place, are shown as the escapes that they would be in a program (`\x1b`). Tabs and line feeds stay.
 */
export const printable = (text: string): string =>
  text.replace(CONTROL, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`);

/** JSON with the control characters escaped that JSON lets pass: DEL and C1. */
export const printableJson = (json: string): string =>
  json.replace(C1, (character) => `\\u00${character.charCodeAt(0).toString(16)}`);
const C1 = new RegExp(String.raw`[\u007f-\u009f]`, 'g');

/** A value of JSON with each text in it changed, names of fields too. */
export function mapTexts<Value>(value: Value, change: (text: string) => string): Value {
  if (typeof value === 'string') return change(value) as Value;
  if (Array.isArray(value)) return value.map((each) => mapTexts<unknown>(each, change)) as Value;
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [change(key), mapTexts<unknown>(each, change)]),
  ) as Value;
}
