/**
 * Whom trainers run as where the worker is root: decoders read what users bring, and a flaw in one of them must not
 * reach what root can. Each slot has a user of its own, who is nobody else on this machine.
 */
import {
  endRemains,
  FIRST_TRAINER_UID,
  hasUserNamespaces,
  lockFile,
  type Env,
  type FileLock,
  type Logger,
} from '#libs/platform';
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { chmod, chown, mkdir, readdir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

const MOST_TRIED = 300;
const LOCKS = '/run/latent-loom';

export interface TrainerUser {
  uid: number;
  gid: number;
  /** Groups that open folders on the way to what trainers read. */
  groups: number[];
}

/** Trainers can't run as another user, and why. */
class NoUserError extends Error {}

export class TrainerUsers {
  private constructor(
    private readonly users: readonly TrainerUser[],
    private readonly locks: readonly FileLock[],
    /** Holds what they keep from one trainer to the next. */
    private readonly dir: string,
  ) {}

  of(slot: number): TrainerUser {
    return this.users[slot]!;
  }

  /** Variables of a slot's trainers: a home that they may write to, and code that the first of them has compiled. */
  environmentOf(slot: number): { HOME: string; NODE_COMPILE_CACHE: string } {
    return { HOME: this.folder('home', slot), NODE_COMPILE_CACHE: this.folder('code', slot) };
  }

  private folder(name: 'home' | 'code', slot: number): string {
    return path.join(this.dir, `${name}-${this.of(slot).uid}`);
  }

  private async makeFolders(): Promise<void> {
    await chmod(this.dir, 0o711);
    for (const [slot, { uid, gid }] of this.users.entries())
      for (const name of ['home', 'code'] as const) {
        await mkdir(this.folder(name, slot), { mode: 0o700 });
        await chown(this.folder(name, slot), uid, gid);
      }
  }

  /**
   * From here on, before the first run, compiled code is read only: what a trainer that was taken over would leave in
   * it the next one would execute.
   */
  async closeCode(): Promise<void> {
    for (const slot of this.users.keys()) {
      const folder = this.folder('code', slot);
      for (const name of ['', ...(await readdir(folder, { recursive: true }))]) {
        const file = path.join(folder, name);
        await chown(file, 0, 0);
        await chmod(file, (await stat(file)).isDirectory() ? 0o755 : 0o644);
      }
    }
  }

  /**
   * One for each slot; none where the worker is no root or was told so. `dir`: a folder of this worker's own. What a
   * worker that was killed has left running under them is ended.
   * @throws NoUserError with what stands against it
   */
  static async take(
    env: Env,
    { slots, program, dir }: { slots: number; program: string; dir: string },
  ): Promise<TrainerUsers | undefined> {
    if (env.trainerUid === 'none') return undefined;
    if (process.getuid?.() !== 0 || process.platform !== 'linux') {
      if (env.trainerUid === undefined) return undefined;
      throw new NoUserError('expected this worker to be root of a Linux, which alone may start trainers as others');
    }
    const groups = await groupsOnTheWay([process.execPath, program, env.artifactsDir, env.dataRoot]);
    const first = env.trainerUid ?? FIRST_TRAINER_UID;
    const taken: { uid: number; lock: FileLock }[] = [];
    if (await isSomebody(first))
      throw new NoUserError(
        `expected an id that is no user's, got ${first}: all processes of a trainer's user are ended`,
      );
    await mkdir(LOCKS, { recursive: true, mode: 0o700 });
    for (let uid = first; taken.length < slots; uid++) {
      if (uid === first + MOST_TRIED) throw new NoUserError(`expected ${slots} free users from ${first} up`);
      const lock = (await isSomebody(uid)) ? undefined : lockFile(path.join(LOCKS, `trainer-${uid}`));
      if (lock) taken.push({ uid, lock });
    }
    for (const { uid } of taken) await endRemains({ uid });
    const users = new TrainerUsers(
      taken.map(({ uid }) => ({ uid, gid: uid, groups })),
      taken.map(({ lock }) => lock),
      dir,
    );
    await users.makeFolders();
    return users;
  }

  release(): void {
    for (const lock of this.locks) lock.release();
  }
}

/** Whether trainers that run as this worker's user get user namespaces of their own, from which they can't read it. */
export function canBeApart({ trainerUid }: Env, log: Logger): boolean {
  if (trainerUid === 'none' || process.getuid?.() === 0 || process.platform !== 'linux') return false;
  const can = hasUserNamespaces();
  if (!can) log.warn("trainers can read this worker's memory and environment: the system gives it no user namespaces");
  return can;
}

/** Whether the system knows a user of this id, whose processes are not ours to end. */
const isSomebody = (uid: number): Promise<boolean> =>
  promisify(execFile)('id', ['-un', String(uid)]).then(
    () => true,
    // It exits with 1 where there is none; where it can't be started nobody can tell.
    (error: NodeJS.ErrnoException) => typeof error.code !== 'number',
  );

/**
 * The groups by which another user comes to these files, through folders that are closed to all others.
 * @throws NoUserError where no group does, or where new files would be closed to others
 */
async function groupsOnTheWay(targets: readonly string[]): Promise<number[]> {
  if (process.umask() & 0o005) throw new NoUserError('the umask of the worker closes to others what it makes');
  const groups = new Set<number>();
  for (const target of targets) {
    // What is not there yet is made by the worker.
    const real = await realpath(target).catch(() => path.resolve(target));
    for (let folder = real; ; folder = path.dirname(folder)) {
      const found = await stat(folder).catch(() => undefined);
      const toRead = folder === real ? constants.S_IROTH : 0;
      const needed = found?.isFile() ? toRead : toRead | constants.S_IXOTH;
      if (found && (found.mode & needed) !== needed) {
        const isOpenToGroup = ((found.mode >> 3) & needed) === needed;
        // The group of root is no way: it opens more than this folder.
        if (!isOpenToGroup || found.gid === 0) throw new NoUserError(`others can't enter ${folder}`);
        groups.add(found.gid);
      }
      if (folder === path.dirname(folder)) break;
    }
  }
  return [...groups];
}
