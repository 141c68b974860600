/** Files in a zip. */
import { isUtf8 } from 'node:buffer';
import { crc32 } from 'node:zlib';
import { getFileNameLowLevel, openPromise, validateFileName, type ZipFile } from 'yauzl';
import { followLinks, type Meaning } from './archive-links.js';
import {
  emptyAmong,
  innerName,
  isHidden,
  nameOfBytes,
  sizeGuard,
  tooLarge,
  type Bytes,
  type Container,
} from './containers.js';
import { InvalidDataError } from './invalid-data.js';

type Entry = Parameters<ZipFile['openReadStreamPromise']>[0];

const [TYPE, LINK] = [0o170000, 0o120000];
const UTF8_FLAG = 0x800;
/** Unix and macOS, as systems that entries were made by. */
const UNIX = [3, 19];

/** Bytes of where a symbolic link leads. */
const MOST_LINK_BYTES = 4096;

/**
 * Of a name that comes twice the last counts, as every unpacker has it, and symbolic links are followed to files and
 * folders of the archive.
 */
export async function openZip(file: string, shown: string): Promise<Container> {
  const folders: string[] = [];
  const meanings = new Map<string, Meaning>();
  const guard = sizeGuard(shown);
  await scan(file, shown, async (name, entry, place, zip) => {
    if (name.endsWith('/')) {
      if (!isHidden(name)) folders.push(name.slice(0, -1));
      return;
    }
    guard(entry.uncompressedSize);
    if (!isHidden(name)) requireReadable(name, entry, shown);
    const isLink = ((entry.externalFileAttributes >>> 16) & TYPE) === LINK;
    meanings.set(name, isLink ? { link: await linkOf(entry, zip) } : { place });
  });
  const { places, lost } = followLinks(meanings);
  const namesAt = Map.groupBy(places.keys(), (name) => places.get(name)!);
  return {
    names: [...places.keys()],
    emptyFolders: emptyAmong(folders, places.keys()),
    leftOut: lost,
    read: (wanted, visit, signal) =>
      scan(file, shown, async (_, entry, place, zip) => {
        signal.throwIfAborted();
        const names = namesAt.get(place)?.filter(wanted) ?? [];
        if (names.length === 0) return;
        const bytes = await bytesOf(entry, zip);
        for (const name of names) await visit(name, bytes);
      }),
  };
}

function requireReadable(name: string, entry: Entry, shown: string): void {
  if (entry.isEncrypted())
    throw new InvalidDataError(
      `expected ${shown} without encryption, ${name} is encrypted: unpack it and give the folder`,
    );
  if (!entry.canDecodeFileData())
    throw new InvalidDataError(
      `expected files in ${shown} that are stored or deflated, ${name} is compressed by method ` +
        `${entry.compressionMethod}: unpack it and give the folder`,
    );
}

async function linkOf(entry: Entry, zip: ZipFile): Promise<string> {
  const bytes = entry.uncompressedSize <= MOST_LINK_BYTES ? await bytesOf(entry, zip) : undefined;
  return bytes instanceof Buffer ? nameOfBytes(bytes) : 'what can not be read';
}

async function bytesOf(entry: Entry, zip: ZipFile): Promise<Bytes> {
  const fault = tooLarge(entry.uncompressedSize);
  if (fault) return fault;
  const chunks: Buffer[] = [];
  try {
    // Ends with an error as soon as more comes than the directory says.
    for await (const chunk of await zip.openReadStreamPromise(entry)) chunks.push(chunk as Buffer);
  } catch (error) {
    return new Error(`it can't be unpacked: ${(error as Error).message}`);
  }
  const bytes = Buffer.concat(chunks);
  return crc32(bytes) === entry.crc32 ? bytes : new Error('it is not what was packed: its CRC-32 differs');
}

/**
 * Names that are UTF-8 are read so, flagged or not. Of others Unix has packed the bytes that its file systems have;
 * elsewhere they are of the code page that the format prescribes.
 */
function nameOf(entry: Entry): string {
  const { fileNameRaw, generalPurposeBitFlag: flags, extraFields } = entry;
  if (isOfBytes(entry)) return nameOfBytes(fileNameRaw);
  return getFileNameLowLevel(isUtf8(fileNameRaw) ? flags | UTF8_FLAG : flags, fileNameRaw, extraFields, false);
}

const isOfBytes = ({ fileNameRaw, versionMadeBy }: Entry): boolean =>
  !isUtf8(fileNameRaw) && UNIX.includes(versionMadeBy >>> 8);

async function scan(
  file: string,
  shown: string,
  visit: (name: string, entry: Entry, place: number, zip: ZipFile) => Promise<void>,
): Promise<void> {
  const broken = (error: unknown): never => {
    const { message, code } = error as NodeJS.ErrnoException;
    if (code) throw error;
    throw new InvalidDataError(`expected ${shown} to be a whole zip archive: ${message}`);
  };
  const zip = await openPromise(file, { autoClose: false, decodeStrings: false }).catch(broken);
  try {
    const entries = zip.eachEntry();
    for (let place = 0; ; place++) {
      const next = await entries.next().catch(broken);
      if (next.done) return;
      const given = nameOf(next.value);
      // Bytes that are no text are told by backslashes, which no name may have.
      const fault = validateFileName(isOfBytes(next.value) ? next.value.fileNameRaw.toString('latin1') : given);
      if (fault !== null)
        throw new InvalidDataError(`expected names inside the archive ${shown}, got ${JSON.stringify(given)}`);
      const name = innerName(given, shown);
      if (name !== undefined) await visit(given.endsWith('/') ? `${name}/` : name, next.value, place, zip);
    }
  } finally {
    zip.close();
  }
}
