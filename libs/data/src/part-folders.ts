/** Folders of images, and those of their masks, by what they are called alone or among other words. */
import {
  IMAGE_FOLDER,
  IMAGE_LETTER,
  MASK_FOLDER,
  MASK_LETTER,
  SURE_IMAGE_FOLDER,
  SURE_MASK_FOLDER,
} from '#libs/contracts';
import { restOf, splitAmongWords, type SplitWord } from './split-words.js';

/** Folders between a split, or the source, and what lies in it: they say nothing. */
export const PLAIN_FOLDER = /^(images?|imgs?|jpe?gs?|pngs?|data|files|samples|audio|sounds?|wavs?|clips)$/i;

export type Part = 'images' | 'masks';

export const partOf = (folder: string): Part | undefined => {
  if (IMAGE_FOLDER.test(folder) || IMAGE_LETTER.test(folder)) return 'images';
  return MASK_FOLDER.test(folder) || MASK_LETTER.test(folder) ? 'masks' : undefined;
};

const isSure = (name: string): boolean => SURE_IMAGE_FOLDER.test(name) || SURE_MASK_FOLDER.test(name);

export interface PartByWords {
  part: Part;
  split: SplitWord | undefined;
  /** The words before that of the part, without that of the split. */
  rest: string;
  /** Whether the word is of nothing else. */
  isSure: boolean;
}

/** What a folder is whose name, or last words, say so: `masks`, `LabelsVal`, `stage1_images`, `Task1_GroundTruth`. */
export function partByWords(folder: string): PartByWords | undefined {
  const plain = partOf(folder);
  if (plain) return { part: plain, split: undefined, rest: '', isSure: isSure(folder) };
  const words = restOf(folder).split('_');
  for (const count of [1, 2]) {
    const last = words.slice(-count).join('_');
    const before = words.slice(0, -count);
    const isLetter = last.length === 1 && before.length > 0;
    const part = isLetter ? undefined : partOf(last);
    const rest = before.join('_').toLowerCase();
    if (part) return { part, split: splitAmongWords(folder), rest, isSure: isSure(last) };
  }
  return undefined;
}
