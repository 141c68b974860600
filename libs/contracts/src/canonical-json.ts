/**
 * JSON with sorted keys and no insignificant space (RFC 8785 for the values that specs hold): equal specs
 * give equal text, whatever the order in which their keys were written. Throws on what JSON can't hold.
 */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new TypeError(`expected a finite number, got ${value}`);
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value === 'object') {
    // A loop instead of map and join: this is called a million times for a sweep of 10,000 trials.
    const fields = value as Record<string, unknown>;
    let text = '';
    for (const key of Object.keys(fields).sort())
      if (fields[key] !== undefined) text += `${text && ','}${JSON.stringify(key)}:${canonicalJson(fields[key])}`;
    return `{${text}}`;
  }
  throw new TypeError(`expected a JSON value, got ${typeof value}`);
}

/** The same text in pieces, for whoever makes a long one and lets others have their turn in between. */
export function* canonicalPieces(value: unknown): Generator<string> {
  if (Array.isArray(value)) {
    yield '[';
    for (const [i, item] of value.entries()) {
      if (i > 0) yield ',';
      yield* canonicalPieces(item);
    }
    yield ']';
  } else if (typeof value === 'object' && value !== null) {
    const fields = Object.entries(value).filter(([, field]) => field !== undefined);
    yield '{';
    for (const [i, [key, field]] of fields.sort(([a], [b]) => Number(a > b) - Number(a < b)).entries()) {
      yield `${i > 0 ? ',' : ''}${JSON.stringify(key)}:`;
      yield* canonicalPieces(field);
    }
    yield '}';
  } else yield canonicalJson(value);
}
