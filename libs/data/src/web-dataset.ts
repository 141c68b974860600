/** WebDataset: tar shards in which files of one key (`000123.jpg`, `000123.cls`) are one sample. */
import type { Split } from '#libs/contracts';
import { splitsOfFiles } from './collections.js';
import type { LeftOut, Source, SourceFile } from './containers.js';
import type { FileName } from './file-name.js';
import { parsedJson, writtenOf } from './table-file.js';
import { openTar, type Tar } from './tar.js';

/** Endings of labels, the first of which counts. */
const LABELS = ['cls', 'json'];
/** Bytes of a label, or of a description that holds one; what is larger is neither. */
const MAX_LABEL_BYTES = 2 ** 20;

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

/**
 * The key is the path up to the first dot of the file's own name. The class is the text of `.cls`, or `labelField` of
 * `.json`, or what `fileName` takes from the key; where no sample has one, the dataset has no classes. Of several
 * images of a key, one with a plain ending (`.jpg`) comes before one with a compound ending (`.depth.png`).
 * @throws InvalidDataError for a shard that is no tar.
 */
export async function openShards(
  files: readonly { name: string; path: string }[],
  media: RegExp,
  fileName: FileName | undefined,
  labelField = 'label',
): Promise<Source> {
  const { taken, leftOut } = splitsOfFiles(files);
  const ignored: string[] = [];
  const samples: Sample[] = [];
  for (const { name, path, split } of taken) {
    const tar = await openTar(
      path,
      name,
      (entry, size) => LABELS.includes(partsOf(entry).ending) && size <= MAX_LABEL_BYTES,
    );
    leftOut.push(...tar.leftOut.map((each) => ({ ...each, name: `${name}/${each.name}` })));
    const found = samplesOf({ tar, name, split }, media, leftOut, labelField);
    samples.push(...found.samples);
    ignored.push(...found.ignored);
  }
  const labelled = fileName?.hasLabel === true || samples.some(({ label }) => label !== undefined);
  const described: { sample: Sample; file: SourceFile }[] = [];
  for (const sample of samples) {
    const { shard, key, entry, label } = sample;
    const named = fileName?.(key);
    const className = fileName?.hasLabel ? (named?.label ?? undefined) : label;
    const name = `${shard.name}/${entry}`;
    if (labelled && className === undefined) ignored.push(name);
    else
      described.push({
        sample,
        file: { name, className: className ?? '', group: named?.group ?? null, split: shard.split },
      });
  }
  described.sort(({ file: a }, { file: b }) => (a.name < b.name ? -1 : 1));
  return {
    files: described.map(({ file }) => file),
    ignored: ignored.sort(),
    leftOut,
    unread: [],
    lostClasses: [],
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
  labelField: string,
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
    const label = LABELS.map((ending) => {
      const bytes = tar.kept.get(endings.get(ending) ?? '');
      return bytes && labelIn(ending, bytes.toString('utf8'), labelField);
    }).find((found) => found !== undefined);
    samples.push({ shard, key, entry, label });
  }
  return { samples, ignored };
}

const dotsOf = (entry: string): number => partsOf(entry).ending.split('.').length;

function labelIn(ending: string, text: string, field: string): string | undefined {
  if (ending === 'cls') return text.trim() || undefined;
  return writtenOf((parsedJson(text) as Record<string, unknown> | null | undefined)?.[field]);
}
