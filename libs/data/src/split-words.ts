/** The words by which folders and files say which split they hold. */
import type { Split } from '#libs/contracts';

/** A split, or samples that are meant to have no label: they are no class and belong to no split. */
export type SplitWord = Split | 'unlabelled';

const WORDS: Readonly<Record<SplitWord, readonly string[]>> = {
  train: ['train', 'training', 'trn', 'trainval', 'labeled', 'labelled', 'supervised'],
  val: ['val', 'valid', 'validation', 'validate', 'dev', 'devel', 'development', 'eval', 'evaluation'],
  test: ['test', 'testing', 'tst', 't10k'],
  unlabelled: ['unlabeled', 'unlabelled', 'unlabel', 'nolabel', 'unsup', 'unsupervised'],
};
const WORD_OF = new Map(
  Object.entries(WORDS).flatMap(([split, words]) => words.map((word) => [word, split as SplitWord] as const)),
);
/** What stands beside the word and says nothing: `test_set`, `train-images`, `validation data`. */
const FILLER = /^(sets?|data|dataset|split|images?|imgs?|audio|sounds?|wavs?|samples|files|folder|\d+)$/;
const JOINED = /^([a-z]+?)(?:set|data|images|split|\d{1,4})$/;

/** Words of a name as they are written: what stands between other signs, and from a small letter to a large one. */
const partsOf = (name: string): string[] =>
  name
    .replaceAll(/(?<=\p{Ll})(?=\p{Lu})/gu, ' ')
    .split(/[^\p{L}\p{N}]+/u)
    .filter(Boolean);
const tokensOf = (name: string): string[] => partsOf(name).map((part) => part.toLowerCase());

/** `train`, also within `trainset`, `train2017`, `test1` or `t10k`. */
const wordOf = (token: string): SplitWord | undefined =>
  WORD_OF.get(token) ?? WORD_OF.get(JOINED.exec(token)?.[1] ?? '');

/** The split that a folder of this name holds: `train`, `Test_set`, `val2017`, but not `train_station`. */
export function splitOfFolder(name: string | undefined): SplitWord | undefined {
  if (/^un-?_?labell?ed/i.test(name ?? '')) return 'unlabelled';
  const tokens = tokensOf(name ?? '');
  const words = tokens.map(wordOf).filter((word) => word !== undefined);
  return words.length === 1 && tokens.every((token) => wordOf(token) ?? FILLER.test(token)) ? words[0] : undefined;
}

/** Of nnU-Net: `imagesTr`, `labelsTr` and `imagesTs`. */
const OF_NNUNET = /^(images|labels)T([rs])$/;

/** The one split that is named among the words of a folder, whatever else stands there: `train-clean-100`. */
export function splitAmongWords(name: string): SplitWord | undefined {
  const letter = OF_NNUNET.exec(name)?.[2];
  if (letter) return letter === 'r' ? 'train' : 'test';
  const words = tokensOf(name).flatMap((token) => wordOf(token) ?? []);
  return words.length === 1 ? words[0] : undefined;
}

/** `train_val`: what is trained on in the end. */
const TRAIN_AND_VAL = /^train(?:ing)?[ _+&-]?val(?:id(?:ation)?)?(?:[ _-]?(?:set|\d{4}))?$/i;
/** The split of a folder that lies around those of classes. */
export const splitAround = (name: string): SplitWord | undefined =>
  splitOfFolder(name) ?? (TRAIN_AND_VAL.test(name) ? 'train' : undefined);

/** Whether each name has the word of one split in it, and they have those of several. */
export function haveWordsOfSplits(names: readonly string[]): boolean {
  const words = names.map((name) => splitAround(name) ?? splitAmongWords(name));
  return words.every((word) => word !== undefined) && new Set(words).size > 1;
}

/** The split that a file's path names last: `data/test-00000-of-00003.parquet`. */
export const splitNamed = (path: string): SplitWord | null =>
  tokensOf(path)
    .map(wordOf)
    .findLast((split) => split !== undefined) ?? null;

/** A path without the words that name its split: what several files of one set have in common. */
export const withoutSplit = (path: string): string =>
  tokensOf(path)
    .filter((token) => wordOf(token) === undefined)
    .join(' ');

/** A folder whose name says a split, and beside it another word: `seg` of `seg_train`. */
interface SplitMember {
  split: SplitWord;
  rest: string;
}

/**
 * Folders that differ in nothing but a split's name, such as `seg_train` and `seg_test`, by what they have in common:
 * of each family one is of train, and no two are of one split.
 */
export function splitFamilies(folders: readonly string[]): Map<string, SplitMember>[] {
  const families = Map.groupBy(
    folders.filter((name) => splitNamed(name) !== null),
    withoutSplit,
  );
  return [...families.values()].flatMap((members) => {
    const told = new Map(members.map((name) => [name, { split: splitNamed(name)!, rest: restOf(name) }]));
    const different = new Set([...told.values()].map(({ split }) => split));
    return different.size === members.length && different.size > 1 && different.has('train') ? [told] : [];
  });
}

/** The other words of a name, as they are written. */
export const restOf = (name: string): string =>
  OF_NNUNET.exec(name)?.[1] ??
  partsOf(name)
    .filter((part) => wordOf(part.toLowerCase()) === undefined)
    .join('_');
