/** What somebody has chosen in a map and named, as a file of the run that others find. Pure. */

/** A choice that somebody has given a name, as a file of the run: rows of the dataset's split. */
export interface Tagged {
  name: string;
  samplesDigest: string;
  rows: number[];
}

const FILE = /^selection-([\w.-]{1,100})\.json$/;
/** Name of a tag that its file says; undefined for other files. */
export const tagOf = (file: string): string | undefined => FILE.exec(file)?.[1];
export const fileOfTag = (name: string): string => `selection-${name}.json`;
export const isTag = (name: string): boolean => FILE.test(fileOfTag(name));

/** Places of the rows that a tag names, among those that are mapped. */
export function pointsOfTag({ rows }: Pick<Tagged, 'rows'>, mapped: readonly number[]): number[] {
  const wanted = new Set(rows);
  return mapped.flatMap((row, point) => (wanted.has(row) ? [point] : []));
}

/** At most so many points, evenly spread: they are in the order of their classes, and each has its share. */
export const spread = (points: readonly number[], most: number): readonly number[] =>
  points.length <= most
    ? points
    : Array.from({ length: most }, (_, i) => points[Math.floor((i * points.length) / most)]!);
