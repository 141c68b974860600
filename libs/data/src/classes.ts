/** Which classes a dataset has. */
import { IMAGE, SOUND, type PrepareDataset, type Split } from '#libs/contracts';
import type { Source } from './containers.js';
import { InvalidDataError, named } from './invalid-data.js';

/** What a message calls the samples. */
export const nounOf = ({ audio }: Pick<PrepareDataset, 'audio'>): string => (audio ? 'sounds' : 'images');

/**
 * The classes of the dataset in the order of their labels: the source's own order, that of their values where all are
 * numbers, or that of the alphabet; those of masks as the spec names them. None where nothing has a class, or where all
 * lie in one folder: such a dataset is for training without labels.
 * @throws InvalidDataError for a source without samples or with one class, and for classes of val and test that train
 *   lacks.
 */
export function requireClasses(source: Source, spec: PrepareDataset): string[] {
  const { masks, path: shown } = spec;
  if (source.files.length === 0) {
    const others = [...source.ignored, ...source.unread.map(({ name }) => name)];
    const found = others.length ? ` (only ${named(others)})${whatElse(others, spec)}` : ': it is empty';
    throw new InvalidDataError(`expected ${wantedIn(spec)} in ${shown}, found none${found}`);
  }
  if (!masks) return classesOfFiles(source, spec);
  if (new Set(masks.classes).size < masks.classes.length)
    throw new InvalidDataError(`expected masks.classes to be different names, got ${named(masks.classes)}`);
  return [...masks.classes];
}

/** What files of another kind may have been meant as. */
function whatElse(names: readonly string[], { audio, masks }: PrepareDataset): string {
  if (audio) return names.some((name) => IMAGE.test(name)) ? ': without audio, images are read' : '';
  return !masks && names.some((name) => SOUND.test(name)) ? ': with audio, sounds are read' : '';
}

/** What a source that the spec describes holds. */
function wantedIn(spec: PrepareDataset): string {
  if (spec.masks) return 'images and masks of the same names in folders images and masks';
  return `${nounOf(spec)} ${spec.fileName === undefined ? 'in class folders' : `named like ${spec.fileName}`}`;
}

/**
 * Samples under the classes' new names: several that get one name become one class.
 * @throws InvalidDataError for classes that there are not, and where classes are not of samples.
 */
export function withRenamed(source: Source, names: Readonly<Record<string, string>>): Source {
  const classes = new Set(source.files.map(({ className }) => className));
  const absent = Object.keys(names).filter((name) => !classes.has(name));
  if (absent.length)
    throw new InvalidDataError(
      `expected renameClasses to name classes that there are (${named([...classes].filter(Boolean).sort())}), got ` +
        named(absent),
    );
  const nameOf = new Map(Object.entries(names));
  const renamed = (name: string): string => nameOf.get(name) ?? name;
  return {
    ...source,
    files: source.files.map((file) => ({ ...file, className: renamed(file.className) })),
    ...(source.classNames && { classNames: [...new Set(source.classNames.map(renamed))] }),
  };
}

/** What may have been meant as samples of other classes. */
const alsoLeftOut = ({ leftOut }: Source): string =>
  leftOut.length
    ? `; ${leftOut.length} files were left out, such as ${leftOut[0]!.name}, which ${leftOut[0]!.reason}`
    : '';

function classesOfFiles(source: Source, { path: shown, fileName, list }: PrepareDataset): string[] {
  const { files, classNames, classesAreFolders, lostClasses } = source;
  const classesOf = (of: (split: Split | null) => boolean) =>
    new Set(files.filter(({ split }) => of(split)).map(({ className }) => className));
  const trained = classesOf((split) => split === null || split === 'train');
  const sorted = [...trained].sort();
  if (sorted.every((name) => /^\d{1,15}$/.test(name))) sorted.sort((a, b) => Number(a) - Number(b));
  const classes = classNames?.filter((name) => trained.has(name)) ?? sorted;
  if (classes.length === 0)
    throw new InvalidDataError(
      `expected a train folder in ${shown}, found only ${[...new Set(files.map(({ split }) => split))].join(', ')}`,
    );
  const strangers = [...classesOf((split) => split === 'val' || split === 'test')]
    .filter((name) => !trained.has(name))
    .sort();
  if (strangers.length)
    throw new InvalidDataError(`expected the classes of train in val and test, found others: ${named(strangers)}`);
  if (classes.length === 1 && classes[0] === '') return [];
  if (classes.length === 1 && classesAreFolders && lostClasses.length === 0) return [];
  const areFolders = fileName === undefined && list === undefined;
  if (classes.length === 1)
    throw new InvalidDataError(
      `expected at least two ${areFolders ? 'class folders' : 'classes'} in ${shown}, found one: ${classes[0]}` +
        (areFolders ? '; where the names of files tell the class, fileName says how' : '') +
        alsoLeftOut(source),
    );
  return classes;
}
