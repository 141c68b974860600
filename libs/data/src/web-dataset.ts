/** WebDataset: tar shards in which files of one key (`000123.jpg`, `000123.cls`) are one sample. */
import type { Split } from '#libs/contracts';
import { splitsOfFiles } from './collections.js';
import { nameOfBytes, type LeftOut, type Source, type SourceFile } from './containers.js';
import type { FileName } from './file-name.js';
import { named } from './invalid-data.js';
import { parsedJson, writtenOf } from './table-file.js';
import { openTar, type Tar } from './tar.js';

/** Endings of labels, the first of which counts: WebDataset's own two for a class, and what else is written. */
const LABELS = ['cls', 'class', 'label', 'target', 'cls.txt', 'class.txt', 'label.txt', 'target.txt'];
/** WebDataset reads a file by what its name ends with, whatever is before it: `output.cls`. */
const NAMED_LABEL = /\.(?:cls|class)$/;
const DESCRIPTIONS = ['json', 'jsn'];
/** Fields of a description that are the label. */
const FIELDS = ['label', 'cls', 'class'];
/** Bytes of a label, or of a description that holds one; what is larger is neither. */
const MAX_LABEL_BYTES = 2 ** 20;

const isLabelEnding = (ending: string): boolean => LABELS.includes(ending) || NAMED_LABEL.test(ending);
/** Whether a file is the label of a sample, by its name. */
export const isLabel = (name: string): boolean => isLabelEnding(partsOf(name).ending);
/** Whether a file describes a sample, by its name. */
export const isDescription = (name: string): boolean => DESCRIPTIONS.includes(partsOf(name).ending);

interface Shard {
  tar: Tar;
  name: string;
  split: Split | null;
}
interface Sample {
  shard: Shard;
  key: string;
  entry: string;
  label: string | undefined;
}
/** What lies beside samples and is read as no label: endings of files, and fields of descriptions. */
interface Beside {
  endings: Set<string>;
  fields: Set<string>;
}

/**
 * The key is the path up to the first dot of the file's own name. The class is the text of `.cls` or another of
 * `LABELS`, or a field of `.json`, or what `fileName` takes from the key; where no sample has one, the dataset has no
 * classes. `chosen` says which ending or field it is. Of several images of a key, one with a plain ending (`.jpg`)
 * comes before one with a compound ending (`.depth.png`).
 * @throws InvalidDataError for a shard that is no tar.
 */
export async function openShards(
  files: readonly { name: string; path: string }[],
  media: RegExp,
  fileName: FileName | undefined,
  chosen?: string,
): Promise<Source> {
  const { taken, leftOut } = splitsOfFiles(files);
  const ignored: string[] = [];
  const samples: Sample[] = [];
  const beside: Beside = { endings: new Set(), fields: new Set() };
  for (const { name, path, split } of taken) {
    const tar = await openTar(path, name, (entry, size) => size <= MAX_LABEL_BYTES && mayLabel(entry, chosen));
    leftOut.push(...tar.leftOut.map((each) => ({ ...each, name: `${name}/${each.name}` })));
    const found = samplesOf({ tar, name, split }, media, leftOut, chosen, beside);
    samples.push(...found.samples);
    ignored.push(...found.ignored);
  }
  const labelled = fileName?.hasLabel === true || samples.some(({ label }) => label !== undefined);
  const described: { sample: Sample; file: SourceFile }[] = [];
  for (const sample of samples) {
    const { shard, key, entry, label } = sample;
    const told = fileName?.(key);
    const className = fileName?.hasLabel ? (told?.label ?? undefined) : label;
    const name = `${shard.name}/${entry}`;
    if (labelled && className === undefined) ignored.push(name);
    else
      described.push({
        sample,
        file: { name, className: className ?? '', group: told?.group ?? null, split: shard.split },
      });
  }
  described.sort(({ file: a }, { file: b }) => (a.name < b.name ? -1 : 1));
  return {
    files: described.map(({ file }) => file),
    ignored: ignored.sort(),
    leftOut,
    unread: [],
    lostClasses: [],
    notes: labelled ? [] : notesOn(beside),
    read: async (visit, signal) => {
      const shards = Map.groupBy(described.entries(), ([, { sample }]) => sample.shard);
      for (const [{ tar }, members] of shards) {
        const indexOf = new Map(members.map(([index, { sample }]) => [sample.entry, index]));
        await tar.read(
          (entry) => indexOf.has(entry),
          (entry, bytes) => visit(indexOf.get(entry)!, bytes, 'sample'),
          signal,
        );
      }
    },
  };
}

function partsOf(entry: string): { key: string; ending: string } {
  const start = entry.lastIndexOf('/') + 1;
  const dot = entry.indexOf('.', start);
  return dot < 0
    ? { key: entry, ending: '' }
    : { key: entry.slice(0, dot), ending: entry.slice(dot + 1).toLowerCase() };
}

/** The samples of a shard by their keys, and the files of keys without one. */
function samplesOf(
  shard: Shard,
  media: RegExp,
  leftOut: LeftOut[],
  chosen: string | undefined,
  beside: Beside,
): { samples: Sample[]; ignored: string[] } {
  const samples: Sample[] = [];
  const ignored: string[] = [];
  const { tar } = shard;
  for (const [key, entries] of Map.groupBy(tar.names, (entry) => partsOf(entry).key)) {
    const endings = new Map(entries.map((entry) => [partsOf(entry).ending, entry]));
    const [entry, ...others] = entries
      .filter((each) => media.test(`.${partsOf(each).ending}`))
      .sort((a, b) => dotsOf(a) - dotsOf(b) || (a < b ? -1 : 1));
    if (entry === undefined) {
      ignored.push(`${shard.name}/${key}`);
      continue;
    }
    leftOut.push(
      ...others.map((other) => ({
        name: `${shard.name}/${other}`,
        reason: 'have a key that another file is taken of',
      })),
    );
    const label = labelAmong(endings, tar, chosen);
    if (label === undefined) addTo(beside, endings, tar, media);
    samples.push({ shard, key, entry, label });
  }
  return { samples, ignored };
}

const dotsOf = (entry: string): number => partsOf(entry).ending.split('.').length;

/** An ending as the spec may write it: `.index` or `index`. */
const endingOf = (chosen: string): string => chosen.replace(/^\./, '').toLowerCase();

const mayLabel = (entry: string, chosen: string | undefined): boolean =>
  isLabel(entry) || isDescription(entry) || (chosen !== undefined && partsOf(entry).ending === endingOf(chosen));

function labelAmong(
  members: ReadonlyMap<string, string>,
  { kept }: Tar,
  chosen: string | undefined,
): string | undefined {
  const bytesOf = (ending: string) => kept.get(members.get(ending) ?? '');
  // Of several that are called something, nobody says which is meant.
  const called = [...members.keys()].filter((ending) => NAMED_LABEL.test(ending));
  const known = called.length === 1 ? [...LABELS, ...called] : LABELS;
  const endings = chosen === undefined ? known : [endingOf(chosen)];
  for (const ending of endings) {
    const label = textIn(bytesOf(ending));
    if (label !== undefined) return label;
  }
  const described = DESCRIPTIONS.map((ending) => describedIn(bytesOf(ending))).find((each) => each !== undefined);
  const fields = chosen === undefined ? FIELDS : [chosen];
  return fields.map((field) => writtenOf(described?.[field])).find(Boolean);
}

/** A label that stands in a file; none where that is no text. */
function textIn(bytes: Buffer | undefined): string | undefined {
  if (!bytes || bytes.includes(0)) return undefined;
  return nameOfBytes(bytes).trim() || undefined;
}

function describedIn(bytes: Buffer | undefined): Record<string, unknown> | undefined {
  const content = bytes && parsedJson(bytes.toString('utf8'));
  return typeof content === 'object' && content !== null ? (content as Record<string, unknown>) : undefined;
}

function addTo(beside: Beside, members: ReadonlyMap<string, string>, { kept }: Tar, media: RegExp): void {
  for (const [ending, entry] of members) {
    if (!isDescription(entry)) {
      if (!media.test(`.${ending}`)) beside.endings.add(`.${ending}`);
      continue;
    }
    for (const [field, value] of Object.entries(describedIn(kept.get(entry)) ?? {}))
      if (writtenOf(value) !== undefined) beside.fields.add(field);
  }
}

/** Says what may be the label where no sample has one by a name that is known. */
function notesOn({ endings, fields }: Beside): string[] {
  const found = [
    ...(endings.size ? [`the files ${named([...endings].sort())}`] : []),
    ...(fields.size ? [`the fields ${named([...fields].sort())} of .json`] : []),
  ].join(' or ');
  return found
    ? [`no sample of the shards has a label such as .cls: if it is one of ${found}, columns.label says so`]
    : [];
}
