/** Whole numbers as text that is short enough for an address. Pure. */

/** Characters of an address that a list may take. */
const LONGEST = 1500;
const BASE = 36;

/**
 * Numbers from 0 on as `0-1k.2s`: ranges and single ones in ascending order, in base 36. Undefined where that would be
 * too long for an address.
 */
export function writeNumbers(numbers: readonly number[]): string | undefined {
  const sorted = [...new Set(numbers)].sort((a, b) => a - b);
  const parts: string[] = [];
  let length = 0;
  for (let from = 0; from < sorted.length;) {
    let to = from;
    while (sorted[to + 1] === sorted[to]! + 1) to++;
    const [first, last] = [sorted[from]!.toString(BASE), sorted[to]!.toString(BASE)];
    const part = to === from ? first : `${first}-${last}`;
    length += part.length + 1;
    if (length > LONGEST) return undefined;
    parts.push(part);
    from = to + 1;
  }
  return parts.join('.');
}

/** Those below `count`; none for what is no such text. */
export function readNumbers(text: string, count: number): number[] {
  const found: number[] = [];
  for (const part of text.split('.')) {
    const [first, last = first] = part.split('-');
    const [from, to] = [Number.parseInt(first!, BASE), Number.parseInt(last!, BASE)];
    if (!(from >= 0 && to >= from)) return [];
    for (let number = from; number <= to && number < count; number++) found.push(number);
  }
  return found;
}
