/** Several files that hold many samples each. */
import type { Split } from '#libs/contracts';
import type { LeftOut } from './containers.js';
import { splitNamed, type SplitWord } from './split-words.js';

interface CollectionFile {
  name: string;
  path: string;
}

/**
 * The split of each file by its name, or by what `splitOf` makes of that. Files of unlabelled samples beside others are
 * left out, and so are files that name no split beside those of train: nobody has said what they are for.
 */
export function splitsOfFiles<File extends CollectionFile>(
  files: readonly File[],
  splitOf: (name: string) => SplitWord | null = splitNamed,
): { taken: (File & { split: Split | null })[]; leftOut: LeftOut[] } {
  const splits = files.map(({ name }) => splitOf(name));
  const onlyUnlabelled = splits.every((split) => split === 'unlabelled');
  const hasTrain = splits.includes('train');
  const taken: (File & { split: Split | null })[] = [];
  const leftOut: LeftOut[] = [];
  for (const [i, file] of files.entries()) {
    const split = splits[i]!;
    if (onlyUnlabelled) taken.push({ ...file, split: null });
    else if (split === 'unlabelled')
      leftOut.push({ name: file.name, reason: 'hold unlabelled samples, which are no class' });
    else if (split === null && hasTrain)
      leftOut.push({ name: file.name, reason: 'name no split, and lie beside files of train' });
    else taken.push({ ...file, split });
  }
  return { taken, leftOut };
}
