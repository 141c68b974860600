/** Parquet as Hugging Face writes it: a column of structs `{bytes, path}`, a column of labels, the classes' names in the schema. */
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema, type AsyncBuffer, type Compressors, type FileMetaData } from 'hyparquet';
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from 'node:zlib';
import { splitNamed, type Source, type SourceFile } from './containers.js';
import { InvalidDataError } from './npy.js';

/** A row group's column is unpacked at once. */
const MAX_GROUP_BYTES = 2 ** 30;
const LABEL_COLUMNS = ['label', 'labels', 'fine_label', 'class'];

type Unpack = (bytes: Uint8Array, options: { maxOutputLength: number }) => Uint8Array;
const bounded = (unpack: Unpack) => (bytes: Uint8Array, length: number) => unpack(bytes, { maxOutputLength: Math.max(length, 1) });
/** Snappy is in hyparquet itself. */
const compressors: Compressors = { GZIP: bounded(gunzipSync), ZSTD: bounded(zstdDecompressSync), BROTLI: bounded(brotliDecompressSync) };

interface Feature { _type?: unknown; names?: unknown }
interface Table { name: string; file: AsyncBuffer; metadata: FileMetaData; column: string; groups: { start: number; end: number }[]; indexOf: Int32Array }

/**
 * Splits by the files' names (`train-*`, `validation-*`, `test-*`). A negative label is none: such rows are passed over.
 * Changed bytes inside a page can make hyparquet 1.31 read levels for ever: then it is the clock on the run's progress that ends it.
 * @throws InvalidDataError for what is no Parquet, or has no column of images (sounds) or none of labels.
 */
export async function openParquet(paths: readonly { name: string; path: string }[], modality: 'image' | 'audio'): Promise<Source> {
  const files: SourceFile[] = [];
  const ignored: string[] = [];
  const tables: Table[] = [];
  let classNames: readonly string[] | undefined;
  for (const { name, path } of paths) {
    const split = splitNamed(name);
    const { label, names, ...table } = await open(name, path, modality);
    if (names && classNames && names.join('\0') !== classNames.join('\0')) throw new InvalidDataError(`expected the same classes in every Parquet file, ${name} has others`);
    classNames ??= names;
    const indexOf = new Int32Array(table.groups.at(-1)?.end ?? 0).fill(-1);
    for (const { start, end } of table.groups) {
      const rows = await told(name, () => parquetReadObjects({ file: table.file, metadata: table.metadata, compressors, columns: [label], rowStart: start, rowEnd: end }));
      for (const [i, row] of rows.entries()) {
        const className = classOf((row as Record<string, unknown>)[label], names);
        if (className === undefined) ignored.push(`${name}, row ${start + i}`);
        else {
          indexOf[start + i] = files.length;
          files.push({ name: `${name}, row ${start + i}`, className, group: null, split });
        }
      }
    }
    tables.push({ ...table, indexOf });
  }
  return {
    files, ignored, ...(classNames && { classNames }),
    read: async (visit, signal) => {
      for (const { name, file, metadata, column, groups, indexOf } of tables) {
        for (const { start, end } of groups) {
          signal.throwIfAborted();
          const rows = await told(name, () => parquetReadObjects({ file, metadata, compressors, columns: [column], rowStart: start, rowEnd: end, utf8: false }));
          for (const [i, row] of rows.entries()) {
            signal.throwIfAborted();
            const value = (row as Record<string, unknown>)[column] as Uint8Array | { bytes?: Uint8Array | null } | null;
            const bytes = value instanceof Uint8Array ? value : value?.bytes;
            if (indexOf[start + i]! >= 0) await visit(indexOf[start + i]!, bytes instanceof Uint8Array ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength) : Buffer.alloc(0), 'sample');
          }
        }
      }
    },
  };
}

async function open(name: string, path: string, modality: 'image' | 'audio') {
  const file = await asyncBufferFromFile(path);
  const metadata = await told(name, () => parquetMetadataAsync(file));
  const features = featuresOf(metadata);
  const columns = parquetSchema(metadata).children;
  const named = (type: string) => Object.entries(features).find(([, feature]) => feature._type === type)?.[0];
  const find = (what: string, candidates: readonly (string | undefined)[]) => {
    const found = candidates.map((candidate) => columns.find(({ element }) => element.name === candidate)).find((column) => column !== undefined);
    if (!found) throw new InvalidDataError(`expected a column ${candidates.filter((candidate) => candidate !== undefined).join(' or ')} of ${what} in ${name}, found ${columns.map(({ element }) => element.name).join(', ') || 'no column'}`);
    return found;
  };
  const media = modality === 'image' ? find('images', [named('Image'), 'image', 'img']) : find('sounds', [named('Audio'), 'audio', 'sound']);
  const holder = media.children.length ? media.children.find(({ element }) => element.name === 'bytes') : media;
  if (holder?.element.type !== 'BYTE_ARRAY') throw new InvalidDataError(`expected column ${media.element.name} of ${name} to hold bytes, or structs with a field bytes`);
  const label = find('labels', [...LABEL_COLUMNS, named('ClassLabel')]).element.name;
  const names = features[label]?.names;
  let end = 0;
  const groups = metadata.row_groups.map(({ num_rows: rows, columns: chunks }) => {
    const bytes = chunks.reduce((sum, { meta_data: meta }) => sum + (meta?.path_in_schema[0] === media.element.name ? Number(meta.total_uncompressed_size) : 0), 0);
    if (bytes > MAX_GROUP_BYTES) throw new InvalidDataError(`expected row groups of at most ${MAX_GROUP_BYTES} bytes in ${name}, got one of ${bytes}: write the file with smaller ones (row_group_size)`);
    return { start: end, end: end += Number(rows) };
  });
  if (end > Number(metadata.num_rows) || end > 2 ** 31 - 1) throw new InvalidDataError(`expected ${metadata.num_rows} rows in ${name}, its row groups have ${end}`);
  return { name, file, metadata, column: media.element.name, groups, label, names: Array.isArray(names) && names.every((each) => typeof each === 'string') ? names : undefined };
}

function featuresOf({ key_value_metadata: pairs }: FileMetaData): Record<string, Feature> {
  try {
    const { info } = JSON.parse(pairs?.find(({ key }) => key === 'huggingface')?.value ?? '{}') as { info?: { features?: Record<string, Feature> } };
    return info?.features ?? {};
  } catch {
    return {};
  }
}

function classOf(value: unknown, names: readonly string[] | undefined): string | undefined {
  if (typeof value === 'string') return value || undefined;
  if (typeof value !== 'number' && typeof value !== 'bigint') return undefined;
  return value < 0 ? undefined : names ? names[Number(value)] : String(value);
}

/** Whatever goes wrong while a file is unpacked is the file's fault, other than that it can't be read. */
async function told<T>(name: string, read: () => Promise<T> | T): Promise<T> {
  try {
    return await read();
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    if (error instanceof InvalidDataError || /^E[A-Z]+$/.test(code ?? '')) throw error;
    throw new InvalidDataError(`expected ${name} to be a whole Parquet file: ${message}`);
  }
}
