/** Whether this worker can store what its runs make: found out by doing it, before runs are taken and again later. */
import { ForeignStoreError, identify, isUnavailable, type ArtifactStore, type Database } from '#libs/platform';
import { open, rm, statfs, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { WorkFolder } from './work-folder.js';

/** A look is as good as a new one for so long. */
const LASTS_MS = 1000;
/** A file system that gives no answer for so long is one that can't be used: a share that is gone, for one. */
const ANSWER_MS = 10_000;
/** A run makes a file for each of its artifacts, and some while it works. */
const LEAST_INODES = 64;
const PROBE = Buffer.alloc(4096, 'x');

/**
 * What the system says where it is not the run that is at fault: storage that is read-only, broken, gone or over its
 * quota, another device, no descriptors and no processes or threads left.
 */
const FAULTS_OF_THE_MACHINE =
  /^(EROFS|EIO|ESTALE|EDQUOT|ENODEV|ENXIO|ENOTCONN|EHOSTDOWN|EXDEV|EMFILE|ENFILE|EAGAIN|ENOMEM|EUCLEAN|ERR_WORKER_INIT_FAILED)$/;
export const isFaultOfTheMachine = (code: string | undefined): boolean => FAULTS_OF_THE_MACHINE.test(code ?? '');

/** Why a worker takes no runs. `space`: bytes are short, which a run that fills a disk may have brought about. */
export interface Impairment {
  kind: 'space' | 'storage';
  why: string;
}

export interface StorageOptions {
  /** Where the runs of this worker have their files under way. */
  workRoot: string;
  minFreeBytes: number;
}

export class Storage {
  private looked: Promise<Impairment | undefined> = Promise.resolve(undefined);
  private lookedAt = Number.NEGATIVE_INFINITY;
  /** A look that has not come to its end. */
  private underWay: Promise<Impairment | undefined> | undefined;
  private readonly work: WorkFolder;

  constructor(
    private readonly store: ArtifactStore,
    private readonly database: Database,
    private readonly options: StorageOptions,
  ) {
    this.work = new WorkFolder(options.workRoot);
  }

  /** What is wrong; undefined where a run can be taken. `anew`: not what was found within the last second. */
  async look({ anew = false } = {}): Promise<Impairment | undefined> {
    if (!anew && performance.now() - this.lookedAt < LASTS_MS) return this.looked;
    this.lookedAt = performance.now();
    this.underWay ??= this.probe().finally(() => {
      this.underWay = undefined;
    });
    this.looked = Promise.race([
      this.underWay,
      delay<Impairment>(
        ANSWER_MS,
        { kind: 'storage', why: `${this.store.dir} gave no answer for ${ANSWER_MS / 1000} s` },
        { ref: false },
      ),
    ]);
    return this.looked;
  }

  private async probe(): Promise<Impairment | undefined> {
    const { dir } = this.store;
    const { workRoot } = this.options;
    /** What is being looked at: work folders may be on a device of their own. */
    let folder = dir;
    try {
      await (this.store.id === undefined ? identify(this.store, this.database) : this.store.checkIdentity());
      const short = await this.shortOf(dir, 'where artifacts are stored');
      if (short) return short;
      await writeProbe(path.join(dir, `probe-${path.basename(workRoot)}`));
      folder = path.dirname(workRoot);
      // Where the volume was away and came back without it, it is made again; the store itself never is.
      await this.work.make();
      const shortForWork = await this.shortOf(workRoot, `where runs have their files under way (${folder})`);
      if (shortForWork) return shortForWork;
      await writeProbe(path.join(workRoot, 'probe'));
      return undefined;
    } catch (error) {
      // What Postgres knows of the store is asked again when it answers; until then nothing is claimed anyway.
      if (isUnavailable(error)) return { kind: 'storage', why: 'Postgres has not said which store artifacts are in' };
      if (error instanceof ForeignStoreError) return { kind: 'storage', why: error.message };
      const { code, message } = error as NodeJS.ErrnoException;
      return { kind: 'storage', why: `nothing can be written to ${folder}: ${code ? `${code}, ` : ''}${message}` };
    }
  }

  private async shortOf(folder: string, where: string): Promise<Impairment | undefined> {
    const { bavail, bsize, files, ffree } = await statfs(folder);
    const mebibytes = (bytes: number) => Math.floor(bytes / 2 ** 20);
    if (bavail * bsize < this.options.minFreeBytes)
      return {
        kind: 'space',
        why:
          `too little space is left ${where}: ` +
          `${mebibytes(bavail * bsize)} MiB, ${mebibytes(this.options.minFreeBytes)} are needed`,
      };
    // File systems that make inodes as they need them say that they have none at all.
    if (files > 0 && ffree < LEAST_INODES)
      return { kind: 'storage', why: `${ffree} inodes are left ${where}, ${LEAST_INODES} are needed` };
    return undefined;
  }

  /** Removes this worker's folder, if it has made one. */
  async close(): Promise<void> {
    await this.work.remove();
  }
}

/** Makes a file, flushes it to the disk and removes it. */
async function writeProbe(file: string): Promise<void> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(file, 'w');
    await handle.writeFile(PROBE);
    await handle.sync();
  } finally {
    await handle?.close();
    await rm(file, { force: true });
  }
}
