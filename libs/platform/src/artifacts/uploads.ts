/** Files that programs beside its worker add to a run. */
import { ATTACHMENT, type AddArtifact } from '#libs/contracts';
import { randomUUID } from 'node:crypto';
import type { Database, Transaction } from '../machine/database.js';
import { RequestError } from '../request-error.js';
import { artifactRecord, type ArtifactRecord } from '../runs/records.js';
import { ForeignStoreError, identify } from './identity.js';
import type { ArtifactStore, Staged } from './store.js';

/** Most files that others may add to one run. */
const MOST_ATTACHMENTS = 1000;
/** What a file system says where it can't be written for now. */
const AWAY = ['ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'ESTALE', 'ENOENT', 'ENOTDIR', 'EACCES', 'EPERM'];

/** The artifact store can't be written: it is another, is not mounted, or is full. Nothing was added. */
export class StoreUnavailableError extends Error {}

export interface Upload extends AddArtifact {
  name: string;
  bytes: AsyncIterable<Buffer>;
  /** How many there will be, where that is said. */
  sizeBytes: number | undefined;
  /** In hex; undefined where whoever sends the bytes does not say it. */
  sha256: string | undefined;
}

export class Uploads {
  constructor(
    private readonly database: Database,
    private readonly store: ArtifactStore,
    private readonly options: { largestUploadBytes: number },
  ) {}

  /**
   * Stores a file and makes it visible as an artifact of a run, whatever the run's status is. The same file under the
   * same name is there once (`created` is false); of what is refused nothing stays on disk.
   * @throws RequestError `not_found`; `conflict` where the run has another file of that name; `invalid_state` for one
   *   too many; `payload_too_large`; `invalid_request` for bytes that are not those of `sha256`. StoreUnavailableError.
   */
  async add(
    runId: string,
    { name, mime, bytes, sizeBytes = 0, sha256 }: Upload,
  ): Promise<{ artifact: ArtifactRecord; created: boolean }> {
    const { largestUploadBytes } = this.options;
    if (sizeBytes > largestUploadBytes) throw tooLarge(largestUploadBytes);
    // Before anything is read: what is there with other bytes is refused anyway.
    await this.database.transaction((tx) => attachable(tx, runId, name, sha256));
    const staged = await this.staged(bytes);
    try {
      if (sha256 !== undefined && staged.sha256 !== sha256)
        throw RequestError.invalid([
          { path: ['Content-Digest'], message: `expected bytes of sha256 ${sha256}, got ${staged.sha256}` },
        ]);
      return await this.attached(runId, { name, mime }, staged);
    } finally {
      await staged.discard();
    }
  }

  /**
   * The file gets its place when nothing refuses it any more, and before the transaction ends: no row names a file that
   * is not there.
   */
  private attached(
    runId: string,
    { name, mime }: Pick<Upload, 'name' | 'mime'>,
    { sha256, sizeBytes, place }: Staged,
  ): Promise<{ artifact: ArtifactRecord; created: boolean }> {
    return this.database.transaction(async (tx) => {
      const { attempt, known } = await attachable(tx, runId, name, sha256);
      await place().catch(unavailable);
      if (known) return { artifact: known, created: false };
      const row = await tx.artifact.create({
        data: { id: randomUUID(), runId, attempt, name, kind: ATTACHMENT, mime, sha256, sizeBytes },
      });
      const data = { id: row.id, name, kind: ATTACHMENT, step: null };
      await tx.runEvent.create({ data: { runId, attempt, type: 'artifact', data } });
      await tx.$executeRaw`SELECT pg_notify('run_changed', ${runId})`;
      return { artifact: artifactRecord(row), created: true };
    });
  }

  /** Bytes on the store's disk; of what comes too much, breaks off or can't be written nothing is left. */
  private async staged(bytes: AsyncIterable<Buffer>): Promise<Staged> {
    const source = { fault: undefined as unknown };
    try {
      await identify(this.store, this.database);
      return await this.store.stage(atMost(bytes, this.options.largestUploadBytes, source));
    } catch (error) {
      if (error === source.fault) throw error;
      return unavailable(error);
    }
  }
}

/** @throws StoreUnavailableError for what the file system says where it can't be written, all else as it is */
function unavailable(error: unknown): never {
  const { code = '' } = error as NodeJS.ErrnoException;
  if (error instanceof ForeignStoreError || AWAY.includes(code))
    throw new StoreUnavailableError('the artifact store cannot be written', { cause: error });
  throw error;
}

const tooLarge = (most: number) =>
  new RequestError('payload_too_large', `expected a file of at most ${most} bytes (LOOM_LARGEST_UPLOAD_MIB)`);

/** Passes bytes on, and notes what ended them: their sender's fault is none of the store's. */
async function* atMost(bytes: AsyncIterable<Buffer>, most: number, source: { fault: unknown }): AsyncGenerator<Buffer> {
  let size = 0;
  try {
    for await (const piece of bytes) {
      size += piece.length;
      if (size > most) throw tooLarge(most);
      yield piece;
    }
  } catch (error) {
    source.fault = error;
    throw error;
  }
}

/**
 * Locks a run until the transaction ends, and says what it has of this name: the same file, or nothing.
 * @throws RequestError
 */
async function attachable(
  tx: Transaction,
  runId: string,
  name: string,
  sha256: string | undefined,
): Promise<{ attempt: number; known: ArtifactRecord | undefined }> {
  const [run] = await tx.$queryRaw<{ attempt: number }[]>`
    SELECT attempt
    FROM run
    WHERE id = ${runId}::uuid
    FOR NO KEY UPDATE`;
  if (!run) throw new RequestError('not_found', `expected the id of a run, got ${runId}: there is no such run`);
  const row = await tx.artifact.findFirst({ where: { runId, name }, orderBy: { createdAt: 'desc' } });
  const same = row?.kind === ATTACHMENT && (sha256 === undefined || row.sha256 === sha256);
  if (row && !same)
    throw new RequestError(
      'conflict',
      `expected a name of which the run has no other file, got ${name}: there is one of sha256 ${row.sha256} ` +
        `(${row.kind})`,
    );
  if (!row && (await tx.artifact.count({ where: { runId, kind: ATTACHMENT } })) >= MOST_ATTACHMENTS)
    throw new RequestError('invalid_state', `expected at most ${MOST_ATTACHMENTS} files that were added to one run`);
  return { attempt: run.attempt, known: row ? artifactRecord(row) : undefined };
}
