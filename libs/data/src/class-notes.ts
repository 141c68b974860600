/** What is said of classes that may not be those that were meant, by what their folders are called. */
import type { SourceFile } from './containers.js';
import { named } from './invalid-data.js';
import { PLAIN_FOLDER } from './part-folders.js';
import { haveWordsOfSplits } from './split-words.js';

/** How parts of a whole are called, such as those of a cross-validation or of a download. */
const PART = /^(folds?|parts?|chunks?|batch|shards?|splits?|subset|volumes?|dis[ck]s?|images?|data|set)[ _-]?\d{1,6}$/i;

/** Of files whose names are their paths from their split or their class on. */
export function notesOnClasses(files: readonly SourceFile[]): string[] {
  const classes = [...new Set(files.map(({ className }) => className))].sort();
  if (classes.length < 2) return [];
  const notes: string[] = [];
  if (haveWordsOfSplits(classes))
    notes.push(
      `the classes ${named(classes)} have words of splits in their names: where they are splits, call the folders ` +
        'train, val and test',
    );
  if (classes.every((name) => PART.test(name)))
    notes.push(
      `the classes ${named(classes)} are called like parts of one whole (folds, parts of a download): if that is ` +
        'what they are, say with `list` or `fileName` which class a sample has',
    );
  const below = foldersBelow(files);
  if (areLetters(below))
    notes.push(
      `the classes ${named(classes)} are letters with folders below: if those are the classes, as in Places365, ` +
        'fileName says so: {label}/{}',
    );
  const [shared = []] = below.values();
  if (shared.length > 1 && [...below.values()].every((folders) => folders.join('/') === shared.join('/')))
    notes.push(
      `the classes ${named(classes)} have the same folders in them (${named(shared)}): if those are the classes, ` +
        'fileName says so: {group}/{label}/{}, or {}/{label}/{}',
    );
  return notes;
}

/** The folders in those of the classes, other than such that say nothing; none of a class with other files in it. */
function foldersBelow(files: readonly SourceFile[]): Map<string, string[]> {
  const below = new Map<string, string[]>();
  for (const [className, those] of Map.groupBy(files, (file) => file.className)) {
    const folders = those.map(({ name, split }) => {
      const inside = name.split('/').slice(split === null ? 1 : 2, -1);
      return inside.find((folder) => !PLAIN_FOLDER.test(folder));
    });
    below.set(className, folders.includes(undefined) ? [] : ([...new Set(folders)].sort() as string[]));
  }
  return below;
}

/** Whether classes are the letters that folders in them begin with. */
const areLetters = (below: ReadonlyMap<string, readonly string[]>): boolean =>
  [...below].every(
    ([name, folders]) =>
      /^\p{L}$/u.test(name) &&
      folders.length > 0 &&
      folders.every((folder) => folder.toLowerCase().startsWith(name.toLowerCase())),
  );
