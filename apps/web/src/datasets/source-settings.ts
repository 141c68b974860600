/** What is asked of somebody who adds a dataset, and the spec that it makes. Pure. */
import { faultsOf, PrepareDataset, type DataFolder } from '#libs/contracts';
import type { z } from 'zod';

/** What samples are. */
export type Medium = 'images' | 'masks' | 'sounds';

/** As they are typed; empty for what is usual. */
export interface Settings {
  name: string;
  path: string;
  medium: Medium;
  imageSize: string;
  channels: '1' | '3';
  /** Names of the classes of pixels, from value 0, with commas between. */
  maskClasses: string;
  unlabelled: string;
  sampleRate: string;
  seconds: string;
  valFraction: string;
  testFraction: string;
}

export const USUAL: Omit<Settings, 'name' | 'path' | 'medium'> = {
  imageSize: '',
  channels: '3',
  maskClasses: '',
  unlabelled: '',
  sampleRate: '',
  seconds: '',
  valFraction: '',
  testFraction: '',
};

/** What the files of a folder are, most likely. Masks beside images are no class of images. */
export function mediumOf({ images, sounds, masks }: DataFolder['found']): Medium {
  if (masks) return 'masks';
  return sounds > images ? 'sounds' : 'images';
}

/** A name for the dataset of a path: its last part, of the characters that names have. */
export const nameOf = (path: string): string =>
  (path.split('/').filter(Boolean).at(-1) ?? '')
    .replace(/\.(tar(\.\w+)?|tgz|zip|parquet)$/i, '')
    .replaceAll(/[^\w.-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 128);

const number = (text: string): number | undefined => (text.trim() === '' ? undefined : Number(text));

/** The spec of a run that prepares the dataset. */
export function specOf(settings: Settings): z.input<typeof PrepareDataset> {
  const { name, path, medium, imageSize, channels, sampleRate, seconds } = settings;
  const given = {
    imageSize: number(imageSize),
    valFraction: number(settings.valFraction),
    testFraction: number(settings.testFraction),
  };
  const sound = { sampleRate: number(sampleRate), seconds: number(seconds) };
  const unlabelled = number(settings.unlabelled);
  return {
    kind: 'prepare-dataset',
    name,
    path: path || '.',
    ...defined(medium === 'sounds' ? { ...given, imageSize: undefined } : given),
    ...(medium !== 'sounds' && channels === '1' && { channels: 1 }),
    ...(medium === 'sounds' && { audio: defined(sound) }),
    ...(medium === 'masks' && {
      masks: {
        classes: settings.maskClasses
          .split(',')
          .map((each) => each.trim())
          .filter(Boolean),
        ...(unlabelled !== undefined && { unlabelled }),
      },
    }),
  };
}

const defined = <Value>(fields: Record<string, Value | undefined>): Record<string, Value> =>
  Object.fromEntries(Object.entries(fields).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])));

/** What is wrong with the settings by field of the spec, such as `masks.classes`, told without asking the API. */
export function faultsOfSettings(settings: Settings): Map<string, string> {
  const { error } = PrepareDataset.safeParse(specOf(settings), { reportInput: true });
  return new Map(error?.issues.flatMap(faultsOf).map(({ path, message }) => [path.join('.'), message]));
}
