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
/** So many of the newest artifacts are looked for in a folder that has no id. */
const LOOKED_FOR = 100;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The folder of artifacts is not there, or is another store's: nothing is written to it. */
export class ForeignStoreError extends Error {
  constructor(message: string) {
    super(message);
    this.name = new.target.name;
  }
}

const isAnother = (dir: string, expected: string, found: string | undefined) =>
  new ForeignStoreError(
    `expected ${dir} to be the artifact store ${expected}, found ${found ?? `no file ${ID_FILE} in it`}: is the ` +
      `volume mounted? If the artifacts were moved there on purpose, write ${expected} into ${ID_FILE} in it`,
  );
const holdsNone = (dir: string, looked: number) =>
  new ForeignStoreError(
    `expected ${dir} to hold artifacts that Postgres names, found none of the ${looked} newest and no file ` +
      `${ID_FILE} in it: is the volume mounted? If they are lost for good, write a new UUID into ${ID_FILE} in it`,
  );

/** A store as it is identified. */
interface Identified {
  readonly dir: string;
  id: string | undefined;
  size(sha256: string): Promise<number | undefined>;
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
 * Resolves when the folder is the store of this id.
 * @throws ForeignStoreError
 */
export async function requireStore(dir: string, id: string): Promise<void> {
  const found = await storeIdOf(dir);
  if (found !== id) throw isAnother(dir, id, found);
}

/**
 * Resolves when a folder without an id may be made the store: Postgres names no artifacts yet, or they are here. It may
 * name some and no store where they were made by a version whose stores had no id, or where it was restored.
 * @throws ForeignStoreError
 */
async function requireArtifacts(store: Identified, database: Database): Promise<void> {
  const named = await database.prisma.$queryRaw<{ sha256: string }[]>`
    SELECT sha256
    FROM artifact
    ORDER BY created_at DESC
    LIMIT ${LOOKED_FOR}`;
  for (const { sha256 } of named) if ((await store.size(sha256)) !== undefined) return;
  if (named.length > 0) throw holdsNone(store.dir, named.length);
}

/**
 * Has a store know which it is, as Postgres knows it: from here on each of its writes is refused elsewhere. Where
 * Postgres knows none yet, and names no artifacts that are elsewhere, this one is it, and its folder is made where it
 * is missing.
 * @throws ForeignStoreError when the folder is another store, or none.
 */
export async function identify(store: Identified, database: Database): Promise<void> {
  const known = async () =>
    (await database.prisma.$queryRaw<{ id: string }[]>`SELECT id::text AS id FROM artifact_store`)[0]?.id;
  let id = await known();
  if (id === undefined) {
    let found = await storeIdOf(store.dir);
    if (found === undefined) {
      await requireArtifacts(store, database);
      found = await foundStore(store.dir);
    }
    await database.prisma.$executeRaw`INSERT INTO artifact_store (id) VALUES (${found}::uuid) ON CONFLICT DO NOTHING`;
    id = (await known())!;
  }
  store.id = id;
  await requireStore(store.dir, id);
}
