/** WebDataset: tar shards in which files of one key (`000123.jpg`, `000123.cls`) are one sample. */
import { scanTar, splitNamed, type Source, type SourceFile } from './containers.js';
import type { FileName } from './file-name.js';

const LABEL = /^(cls|json)$/;
/** Bytes of a label, or of a description that holds one; what is larger is neither. */
const MAX_LABEL_BYTES = 2 ** 20;

/**
 * The key is the path up to the first dot of the file's own name. The class is the text of `.cls`, or `label` of
 * `.json`, or what `fileName` takes from the key.
 * @throws InvalidDataError for a shard that is no tar.
 */
export async function openShards(
  shards: readonly { name: string; path: string }[],
  media: RegExp,
  fileName: FileName | undefined,
): Promise<Source> {
  const samples: { file: SourceFile; shard: string; entry: string }[] = [];
  const ignored: string[] = [];
  for (const shard of shards) {
    const found = new Map<string, { entry?: string; label?: string | undefined }>();
    const split = splitNamed(shard.name);
    const partsOf = (name: string) => {
      const start = name.lastIndexOf('/') + 1;
      const dot = name.indexOf('.', start);
      const key = dot < 0 ? name : name.slice(0, dot);
      let sample = found.get(key);
      if (!sample) found.set(key, (sample = {}));
      return { sample, ending: dot < 0 ? '' : name.slice(dot + 1).toLowerCase() };
    };
    await scanTar(shard.path, shard.name, (header, bytes) => {
      const { sample, ending } = partsOf(header.name);
      if (bytes) sample.label ??= labelIn(ending, bytes.toString('utf8'));
      else if (media.test(`.${ending}`)) sample.entry ??= header.name;
      return LABEL.test(ending) && (header.size ?? 0) <= MAX_LABEL_BYTES;
    });
    for (const [key, { entry, label }] of found) {
      const named = fileName?.(key.slice(key.lastIndexOf('/') + 1));
      const className = fileName ? named?.label : label;
      if (entry === undefined || className === undefined) ignored.push(`${shard.name}/${entry ?? key}`);
      else
        samples.push({
          shard: shard.path,
          entry,
          file: { name: `${shard.name}/${entry}`, className, group: named?.group ?? null, split },
        });
    }
  }
  samples.sort((a, b) => (a.file.name < b.file.name ? -1 : 1));
  const indexOf = new Map(samples.map(({ shard, entry }, index) => [`${shard}\0${entry}`, index]));
  return {
    files: samples.map(({ file }) => file),
    ignored,
    read: async (visit, signal) => {
      const seen = new Set<number>();
      for (const shard of shards) {
        await scanTar(shard.path, shard.name, (header, bytes) => {
          signal.throwIfAborted();
          const index = indexOf.get(`${shard.path}\0${header.name}`);
          if (index === undefined || seen.has(index)) return false;
          if (!bytes) return true;
          seen.add(index);
          return visit(index, bytes, 'sample');
        });
      }
    },
  };
}

function labelIn(ending: string, text: string): string | undefined {
  if (ending === 'cls') return text.trim() || undefined;
  try {
    const { label } = JSON.parse(text) as { label?: unknown };
    return typeof label === 'string' || typeof label === 'number' ? String(label) : undefined;
  } catch {
    return undefined;
  }
}
