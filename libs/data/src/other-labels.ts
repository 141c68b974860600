/** Folders of images and of their labels or masks, which are no classes. */
import { InvalidDataError, named } from './invalid-data.js';
import { partByWords, type PartByWords } from './part-folders.js';
import { splitAmongWords } from './split-words.js';

/** Of VOC: masks of single objects, which are never read. */
const OBJECTS = /^segmentationobject$/i;

/** Two folders, of images and of their labels. */
type Folders = [images: string, labels: string];

/** Those of these folders. `holding`: the ones that samples lie in. */
const imagesAndLabels = (folders: readonly string[], holding: readonly string[]): Folders | undefined =>
  // Letters, x and y, may be classes where there is anything else.
  pairAmong(folders) ?? pairAmong(holding.filter((name) => name.length > 1));

/** `images` and `masks`, or `train_images` and `train_masks`. */
function pairAmong(folders: readonly string[]): Folders | undefined {
  for (const [split, those] of Map.groupBy(folders, splitAmongWords)) {
    const told = those.flatMap((name) => {
      const part = partByWords(OBJECTS.test(name) ? 'masks' : name);
      return part ? [{ name, ...part }] : [];
    });
    const areTwo = those.length === 2 && (split !== undefined || folders.length === 2);
    for (const images of told) {
      const labels = told.find((each) => areOfOne(images, each, areTwo));
      if (labels) return [images.name, labels.name];
    }
  }
  return undefined;
}

/**
 * Whether folders of one split differ in their parts alone. Words that can be classes say so only of two that are
 * alone, and there it is enough that both begin alike.
 */
function areOfOne(images: PartByWords, labels: PartByWords, areTwo: boolean): boolean {
  if (images.part !== 'images' || labels.part !== 'masks') return false;
  if (images.rest === labels.rest) return areTwo || (images.isSure && labels.isSure);
  const first = ({ rest }: PartByWords) => rest.split('_', 1)[0];
  return areTwo && first(images) === first(labels);
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
