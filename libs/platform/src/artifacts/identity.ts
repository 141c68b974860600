/**
 * Which store a folder is. A volume that has dropped leaves an empty folder behind, of the local disk: whoever makes
 * the store anew in it reports successes whose files nobody finds. So a store has an id in a file, written once, and
 * Postgres knows the id of the store that its artifacts are in.
 */
import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Database } from '../machine/database.js';

const ID_FILE = 'store-id';
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The folder of artifacts is not there, or is another store's: nothing is written to it. */
export class ForeignStoreError extends Error {
  constructor(dir: string, expected: string, found: string | undefined) {
    super(
      `expected ${dir} to be the artifact store ${expected}, found ${found ?? `no file ${ID_FILE} in it`}: is the ` +
        `volume mounted? If the artifacts were moved there on purpose, write ${expected} into ${ID_FILE} in it`,
    );
    this.name = new.target.name;
  }
}

/** A store as it is identified. */
interface Identified {
  readonly dir: string;
  id: string | undefined;
  checkIdentity(): Promise<void>;
}

/** The id of the store in this folder; undefined where it has none, or is not there. */
export async function storeIdOf(dir: string): Promise<string | undefined> {
  try {
    const id = (await readFile(path.join(dir, ID_FILE), 'utf8')).trim();
    return UUID.test(id) ? id : undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** Makes the folder a store, once: of several that do so at once one gives it its id. */
async function foundStore(dir: string): Promise<string> {
  await mkdir(dir, { recursive: true });
  const draft = path.join(dir, `${ID_FILE}.${randomUUID()}`);
  const handle = await open(draft, 'wx');
  try {
    await handle.writeFile(`${randomUUID()}\n`);
    await handle.sync();
    await link(draft, path.join(dir, ID_FILE)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  } finally {
    await handle.close();
    await rm(draft, { force: true });
  }
  return (await storeIdOf(dir)) ?? '';
}

/**
 * Has a store know which it is, as Postgres knows it: from here on each of its writes is refused elsewhere. Where
 * Postgres knows none yet, this one is it, and its folder is made where it is missing.
 * @throws ForeignStoreError when the folder is another store, or none.
 */
export async function identify(store: Identified, database: Database): Promise<void> {
  const known = async () =>
    (await database.prisma.$queryRaw<{ id: string }[]>`SELECT id::text AS id FROM artifact_store`)[0]?.id;
  let id = await known();
  if (id === undefined) {
    const found = (await storeIdOf(store.dir)) ?? (await foundStore(store.dir));
    await database.prisma.$executeRaw`INSERT INTO artifact_store (id) VALUES (${found}::uuid) ON CONFLICT DO NOTHING`;
    id = (await known())!;
  }
  store.id = id;
  await store.checkIdentity();
}
