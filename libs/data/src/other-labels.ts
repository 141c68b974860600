/** Folders of images and of their labels or masks, which are no classes. */
import { InvalidDataError, named } from './invalid-data.js';
import { restOf, splitAmongWords } from './split-words.js';

const IMAGES = /^(images?|imgs?|jpegimages|leftimg8bit)$/i;
const LABELS =
  /^(labels?|annotations?|annots?|masks?|gtfine|gtcoarse|segmentationclass|segmentationobject|segmentations?|trimaps?)$/i;
/** The same by words that can be classes where they are not the only two folders. */
const PAIRED = [
  /^(images?|imgs?|inputs?|photos?|rgb|x)$/i,
  /^(msks?|gts?|ground_?truths?|segs?|segmentations?|trimaps?|targets?|y)$/i,
] as const;

/** Two folders, of images and of their labels. */
type Folders = [images: string, labels: string];

/** Those of these folders. `holding`: the ones that samples lie in. */
function imagesAndLabels(folders: readonly string[], holding: readonly string[]): Folders | undefined {
  const found = (among: readonly string[], [images, labels]: readonly [RegExp, RegExp]): Folders | undefined => {
    const told = [images, labels].map((pattern) => among.find((name) => pattern.test(name)));
    return told[0] !== undefined && told[1] !== undefined ? [told[0], told[1]] : undefined;
  };
  // Letters alone, x and y, may be classes where there is anything else.
  const areWords = holding.length === 2 && holding.every((name) => name.length > 1);
  return (
    found(folders, [IMAGES, LABELS]) ??
    (folders.length === 2 ? found(folders, PAIRED) : undefined) ??
    (areWords ? found(holding, PAIRED) : undefined) ??
    ofOneSplit(folders)
  );
}

/** `train_images` and `train_masks`. */
function ofOneSplit(folders: readonly string[]): Folders | undefined {
  for (const [split, those] of Map.groupBy(folders, splitAmongWords)) {
    if (split === undefined || those.length < 2) continue;
    const byRest = new Map(those.map((name) => [restOf(name), name]));
    const told = [IMAGES, LABELS].map((pattern) => [...byRest.keys()].find((rest) => pattern.test(rest)));
    if (told[0] !== undefined && told[1] !== undefined) return [byRest.get(told[0])!, byRest.get(told[1])!];
  }
  return undefined;
}

/** Folders by the folder that they lie in, down to three of them. */
function foldersIn(names: readonly string[]): Map<string, Set<string>> {
  const children = new Map<string, Set<string>>();
  for (const name of names) {
    const parts = name.split('/');
    for (let depth = 0; depth < Math.min(parts.length - 1, 3); depth++) {
      const above = parts.slice(0, depth).join('/');
      let inside = children.get(above);
      if (!inside) children.set(above, (inside = new Set()));
      inside.add(parts[depth]!);
    }
  }
  return children;
}

/** @throws InvalidDataError where folders of images have a folder of labels or masks beside them. */
export function refuseOtherLabels(samples: readonly string[], names: readonly string[]): void {
  const holding = foldersIn(samples);
  for (const [above, inside] of foldersIn(names)) {
    const found = imagesAndLabels([...inside], [...(holding.get(above) ?? [])]);
    if (!found) continue;
    const [imagesAt, labelsAt] = found.map((name) => (above ? `${above}/${name}` : name)) as Folders;
    const within = (name: string) => name.startsWith(`${labelsAt}/`);
    const instead = `or give the folder ${imagesAt} alone, for pretraining without labels`;
    if (samples.some(within))
      throw new InvalidDataError(
        `expected class folders, found ${imagesAt} and ${labelsAt}, which look like images and their masks: say with ` +
          `\`masks\` which classes the masks have (folders images and masks), ${instead}`,
      );
    throw new InvalidDataError(
      `expected class folders, found ${imagesAt} and ${labelsAt}, which look like labels for detection ` +
        `(${named(names.filter(within).sort().slice(0, 3))}), which are not read: put images into folders of their ` +
        `classes, ${instead}`,
    );
  }
}
