/** What a word that is unknown was probably meant to be. */

/**
 * Letters that have to be put in, left out, changed, or swapped with their neighbour to make one word of another
 * (optimal string alignment).
 */
function distance(a: string, b: string): number {
  let [before, last] = [[] as number[], Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const swapped =
        i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
          ? before[j - 2]! + 1
          : Number.POSITIVE_INFINITY;
      row.push(Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + Number(a[i - 1] !== b[j - 1]), swapped));
    }
    [before, last] = [last, row];
  }
  return last[b.length]!;
}

/**
 * The nearest of the words, whatever the case; undefined where none is near: two letters in five may be wrong, or the
 * rest be missing.
 */
export function nearest(given: string, words: readonly string[]): string | undefined {
  const begun = given.length < 3 ? [] : words.filter((word) => word.toLowerCase().startsWith(given.toLowerCase()));
  if (begun.length === 1) return begun[0];
  const known = words
    .map((word) => ({ word, far: distance(given.toLowerCase(), word.toLowerCase()) }))
    .sort((a, b) => a.far - b.far)[0];
  return known && known.far <= Math.max(1, Math.floor(0.4 * Math.max(given.length, known.word.length)))
    ? known.word
    : undefined;
}

/** `: did you mean epochs?`, to follow what is wrong; empty where nothing is near. */
export function didYouMean(given: string, words: readonly string[]): string {
  const word = nearest(given, words);
  return word === undefined ? '' : `: did you mean ${word}?`;
}
