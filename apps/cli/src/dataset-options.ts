/** Options of `loom datasets add`: those of a prepare-dataset run, in words of the command line. */
import type { PrepareDataset } from '#libs/contracts';
import { InvalidArgumentError, type Command } from 'commander';
import type { z } from 'zod';
import { UsageError } from './usage-error.js';
import { positive } from './options.js';

type Spec = z.input<typeof PrepareDataset>;

export interface DatasetOptions {
  imageSize: Spec['imageSize'];
  channels?: 1 | 3;
  sounds?: true;
  sampleRate?: number;
  seconds?: number;
  windows?: true;
  windowHop?: number;
  mostWindows?: number;
  masks?: string[];
  unlabelled?: number;
  maskValue?: Record<string, string>;
  maskColour?: Record<string, string>;
  maskSuffix?: string;
  fileName?: string;
  list?: string;
  column?: Record<string, string>;
  splitList?: Record<string, string>;
  rename?: Record<string, string>;
  holdOut?: Record<string, string>;
  valFraction?: number;
  testFraction?: number;
  seed?: number;
  maxCorruptFraction?: number;
  dryRun?: true;
}

const number = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('expected a number');
  return value;
};

/** `32`, or `24x32`: height and width. */
function imageSize(text: string): Spec['imageSize'] {
  const [height, width, ...rest] = text.split(/[x×]/i).map(positive);
  if (height === undefined || rest.length) throw new InvalidArgumentError('expected 32, or 24x32: height and width');
  return width === undefined ? height : { height, width };
}

const list = (text: string): string[] => text.split(',').map((name) => name.trim());

/** `NAME=VALUE`, collected: the value begins after the first `=`. */
const pair = (text: string, before: Record<string, string> = {}): Record<string, string> => {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('expected NAME=VALUE');
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
};

export const withDatasetOptions = (command: Command): Command =>
  command
    .option('--image-size <pixels>', 'side of the square they are resized to, or HEIGHTxWIDTH', imageSize, 32)
    .option('--channels <1|3>', 'gray or colour', positive)
    .option('--sounds', 'sounds instead of images')
    .option('--sample-rate <hertz>', 'what sounds are resampled to', positive)
    .option('--seconds <seconds>', 'what sounds are cut or filled with silence to', number)
    .option('--windows', 'as many samples of that length as a sound has, instead of its beginning alone')
    .option('--window-hop <seconds>', 'from the beginning of a window to that of the next', number)
    .option('--most-windows <count>', 'of one sound', positive)
    .option('--masks <classes>', 'pairs of images and masks: names of the class ids, from 0, separated by commas', list)
    .option('--unlabelled <id>', "the masks' id of pixels that have no class", positive)
    .option('--mask-value <value=class>', 'which class a value of masks means, `7=` none; can be repeated', pair)
    .option('--mask-colour <#rrggbb=class>', 'which class a colour of masks means; can be repeated', pair)
    .option('--mask-suffix <text>', "what names of masks have behind their images' names")
    .option('--file-name <template>', "how file names give the class and a group, such as '{label}_{group}_{}'")
    .option('--list <file>', 'a CSV, TSV or JSON Lines file among them that says labels, groups and splits')
    .option('--column <role=name>', 'which column is the sample, label, group, split or mask; can be repeated', pair)
    .option('--split-list <split=file>', 'a text among them that names the samples of a split; can be repeated', pair)
    .option('--rename <class=name>', 'another name of a class; several of one name are merged; can be repeated', pair)
    .option('--hold-out <split=groups>', 'groups that go to val or test, separated by commas; can be repeated', pair)
    .option('--val-fraction <part>', 'part of the training samples that is put aside for validation', number)
    .option('--test-fraction <part>', 'part of the training samples that is put aside for testing', number)
    .option('--seed <seed>', 'by which splits are drawn', positive)
    .option('--max-corrupt-fraction <part>', 'part of the files that may be damaged', number)
    .option('--dry-run', 'only say what would become of the files');

/** What was given of these. */
const present = <Given extends object>(given: Given) =>
  Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as {
    [Key in keyof Given]?: Exclude<Given[Key], undefined>;
  };

/** What the options say of a spec. @throws UsageError for options that don't go together. */
export function specOf(options: DatasetOptions): Omit<Spec, 'kind' | 'name' | 'path'> {
  const { sounds, sampleRate, seconds, windows, windowHop, mostWindows, ...ofImages } = options;
  const { masks, unlabelled, maskValue, maskColour, maskSuffix, ...others } = ofImages;
  const { holdOut, channels, column, splitList, rename, ...rest } = others;
  if (channels !== undefined && channels !== 1 && channels !== 3)
    throw new UsageError(`expected --channels 1 or 3, got ${String(channels)}`);
  const ofWindows = present({ hopSeconds: windowHop, most: mostWindows });
  const ofSounds = present({
    sampleRate,
    seconds,
    windows: windows || Object.keys(ofWindows).length > 0 ? ofWindows : undefined,
  });
  const ofMasks = present({
    unlabelled,
    values: maskValue && orNone(maskValue),
    colours: maskColour && orNone(maskColour),
    suffix: maskSuffix,
  });
  if (!masks && Object.keys(ofMasks).length > 0)
    throw new UsageError('expected --masks with --unlabelled, --mask-value, --mask-colour and --mask-suffix');
  return {
    ...rest,
    ...present({
      channels,
      audio: sounds || Object.keys(ofSounds).length > 0 ? ofSounds : undefined,
      masks: masks && { classes: masks, ...ofMasks },
      holdOut: holdOut && heldOut(holdOut),
      columns: column,
      splitLists: splitList,
      renameClasses: rename,
    }),
  };
}

/** No class where there is none behind the `=`. */
const orNone = (given: Record<string, string>): Record<string, string | null> =>
  Object.fromEntries(Object.entries(given).map(([value, name]) => [value, name || null]));

function heldOut(given: Record<string, string>): NonNullable<Spec['holdOut']> {
  const wrong = Object.keys(given).find((split) => split !== 'val' && split !== 'test');
  if (wrong !== undefined) throw new UsageError(`expected --hold-out val=GROUPS or test=GROUPS, got ${wrong}`);
  return Object.fromEntries(Object.entries(given).map(([split, groups]) => [split, list(groups)]));
}
