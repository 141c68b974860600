/** Files in a zip. */
import { crc32 } from 'node:zlib';
import { getFileNameLowLevel, openPromise, validateFileName, type ZipFile } from 'yauzl';
import { emptyAmong, innerName, sizeGuard, tooLarge, type Bytes, type Container, type LeftOut } from './containers.js';
import { InvalidDataError } from './invalid-data.js';

type Entry = Parameters<ZipFile['openReadStreamPromise']>[0];

const [TYPE, LINK] = [0o170000, 0o120000];
const UTF8_FLAG = 0x800;

/** Of a name that comes twice the last counts, as every unpacker has it. */
export async function openZip(file: string, shown: string): Promise<Container> {
  const leftOut: LeftOut[] = [];
  const folders: string[] = [];
  /** Place in the directory of the file that a name stands for. */
  const places = new Map<string, number>();
  const guard = sizeGuard(shown);
  await scan(file, shown, async (name, entry, place) => {
    if (name.endsWith('/')) {
      folders.push(name.slice(0, -1));
      return;
    }
    guard(entry.uncompressedSize);
    if (entry.isEncrypted())
      throw new InvalidDataError(
        `expected ${shown} without encryption, ${name} is encrypted: unpack it and give the folder`,
      );
    if (!entry.canDecodeFileData())
      throw new InvalidDataError(
        `expected files in ${shown} that are stored or deflated, ${name} is compressed by method ` +
          `${entry.compressionMethod}: unpack it and give the folder`,
      );
    if (((entry.externalFileAttributes >>> 16) & TYPE) !== LINK) places.set(name, place);
    else leftOut.push({ name, reason: 'is a symbolic link in a zip, which is not followed: give the unpacked folder' });
  });
  return {
    names: [...places.keys()],
    emptyFolders: emptyAmong(folders, places.keys()),
    leftOut,
    read: (wanted, visit, signal) =>
      scan(file, shown, async (name, entry, place, zip) => {
        signal.throwIfAborted();
        if (places.get(name) === place && wanted(name)) await visit(name, await bytesOf(entry, zip));
      }),
  };
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

/** Names that are UTF-8 are read so, flagged or not; others by the code page that the format prescribes. */
function nameOf({ fileNameRaw, generalPurposeBitFlag: flags, extraFields }: Entry): string {
  let text: string | undefined;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(fileNameRaw);
  } catch {
    text = undefined;
  }
  return getFileNameLowLevel(text === undefined ? flags : flags | UTF8_FLAG, fileNameRaw, extraFields, false);
}

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
      const fault = validateFileName(given);
      if (fault !== null)
        throw new InvalidDataError(`expected names inside the archive ${shown}, got ${JSON.stringify(given)}`);
      const name = innerName(given, shown);
      if (name !== undefined) await visit(given.endsWith('/') ? `${name}/` : name, next.value, place, zip);
    }
  } finally {
    zip.close();
  }
}
