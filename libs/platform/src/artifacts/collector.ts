import type { CollectResult } from '#libs/contracts';
import { ForeignStoreError, identify } from './identity.js';
import type { ArtifactStore } from './store.js';
import type { Database } from '../machine/database.js';
import { RequestError } from '../request-error.js';
import { isAlive } from '../runs/sql.js';

/**
 * Removes the files of the artifact store that nothing names any more: checkpoints that newer ones have replaced, files
 * of runs that were deleted, what a process left half-written. A file is an orphan when it is older than the grace
 * period and no row names it; the grace period covers the time between a file and its row, and the difference between
 * clocks.
 */
export class ArtifactCollector {
  constructor(
    private readonly database: Database,
    private readonly artifacts: ArtifactStore,
    private readonly options: { collectGraceSeconds: number },
  ) {}

  /**
   * With `dryRun` it only counts. May run any number of times, also at once, and beside those who store.
   * @throws RequestError `invalid_state` where the folder is not the store that its artifacts are in.
   */
  async collect({ dryRun }: { dryRun: boolean }): Promise<CollectResult> {
    await identify(this.artifacts, this.database).catch((error: unknown) => {
      throw error instanceof ForeignStoreError ? new RequestError('invalid_state', error.message) : error;
    });
    const graceMs = this.options.collectGraceSeconds * 1000;
    const before = Date.now() - graceMs;
    const result: CollectResult = {
      orphans: { files: 0, bytes: 0 },
      leftovers: { files: 0, bytes: 0 },
      kept: { files: 0, bytes: 0 },
    };
    const count = (part: keyof CollectResult, bytes: number) => {
      result[part].files++;
      result[part].bytes += bytes;
    };
    for await (const files of this.artifacts.stored()) {
      // The files are listed first: a row that comes in after the question belongs to a file that is young by then.
      const named = await this.named(files.filter(({ modifiedAt }) => modifiedAt < before).map(({ sha256 }) => sha256));
      for (const { sha256, sizeBytes, modifiedAt } of files) {
        const orphan =
          modifiedAt < before && !named.has(sha256) && (dryRun || (await this.artifacts.removeOld(sha256, before)));
        count(orphan ? 'orphans' : 'kept', sizeBytes);
      }
    }
    const alive = new Set(
      (
        await this.database.prisma.$queryRaw<{ folder: string }[]>`
          SELECT id AS folder
          FROM worker
          WHERE ${isAlive(graceMs)}`
      ).map(({ folder }) => folder),
    );
    for await (const leftover of this.artifacts.leftovers(before)) {
      if (leftover.process !== undefined && alive.has(leftover.process)) continue;
      // What a collection that died had put aside and what has been named since goes back.
      if (
        !dryRun &&
        !(
          leftover.sha256 !== undefined &&
          (await this.named([leftover.sha256])).has(leftover.sha256) &&
          (await this.artifacts.putBack(leftover.path, leftover.sha256))
        )
      )
        await this.artifacts.removeLeftover(leftover.path);
      count('leftovers', leftover.sizeBytes);
    }
    return result;
  }

  /** Those that an artifact or the manifest of a dataset names. */
  private async named(sha256s: readonly string[]): Promise<Set<string>> {
    if (sha256s.length === 0) return new Set();
    const rows = await this.database.prisma.$queryRaw<{ sha256: string }[]>`
      SELECT sha256
      FROM artifact
      WHERE sha256 = ANY(${[...sha256s]}::text[])
      UNION
      SELECT value #>> '{}'
      FROM dataset, jsonb_path_query(manifest, 'strict $.** ? (@.type() == "string")') AS value
      WHERE value #>> '{}' = ANY(${[...sha256s]}::text[])`;
    return new Set(rows.map(({ sha256 }) => sha256));
  }
}
