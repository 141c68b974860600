/** Children that die with this process, however it ends. */
import { ChildProcess, spawn, spawnSync, type SpawnOptions } from 'node:child_process';
import { existsSync } from 'node:fs';

/** Sets Linux's parent-death signal (prctl(2), PR_SET_PDEATHSIG) before it becomes the command; of util-linux. */
const SETPRIV = programOf('setpriv');
/** Makes a namespace (unshare(2)) before it becomes the command; of util-linux. */
const UNSHARE = programOf('unshare');

function programOf(name: string): string | undefined {
  return [`/usr/bin/${name}`, `/bin/${name}`].find((file) => process.platform === 'linux' && existsSync(file));
}

/** Whether this user may have children in user namespaces of their own: containers often don't let it. */
export const hasUserNamespaces = (): boolean =>
  !!SETPRIV && !!UNSHARE && spawnSync(UNSHARE, ['--user', SETPRIV, '--version'], { stdio: 'ignore' }).status === 0;

export interface DependentOptions extends Omit<SpawnOptions, 'uid' | 'gid'> {
  /** What the child gets from the kernel when this process is gone. */
  parentDeathSignal: 'KILL' | 'INT' | 'TERM';
  /** Whom the child runs as, without any other group than `groups`; like this process without it. */
  user?: { uid: number; gid: number; groups?: readonly number[] } | undefined;
  /** Nothing that it starts gets more rights than it has, not by a set-uid program either (PR_SET_NO_NEW_PRIVS). */
  noNewPrivileges?: boolean;
  /**
   * In a user namespace of its own, from which the kernel lets it look into no process outside, those of its user
   * included (user_namespaces(7), ptrace(2)). Files it may use as before. For where `hasUserNamespaces`.
   */
  apart?: boolean;
}

/**
 * Starts a child that ends with this process, also where this process is killed. Where the system has no parent-death
 * signal, or no setpriv to set it, the child is started all the same: it then has to be ended by who started it. What
 * can't be started, whatever for, says so by an 'error', and has neither a pid nor streams.
 */
export function spawnDependent(
  command: string,
  args: readonly string[],
  { parentDeathSignal, user, noNewPrivileges = false, apart = false, ...options }: DependentOptions,
): ChildProcess {
  if (!SETPRIV) return started(command, args, { ...options, ...(user && { uid: user.uid, gid: user.gid }) });
  // A change of user clears the signal, so that setpriv does both, in the right order.
  const groups = user?.groups?.length ? `--groups=${user.groups.join(',')}` : '--clear-groups';
  const identity = user ? [`--reuid=${user.uid}`, `--regid=${user.gid}`, groups] : [];
  const limits = noNewPrivileges ? ['--no-new-privs'] : [];
  const settings = [...identity, ...limits, '--pdeathsig', parentDeathSignal, command, ...args];
  return apart && UNSHARE
    ? started(UNSHARE, ['--user', SETPRIV, ...settings], options)
    : started(SETPRIV, settings, options);
}

/** Node throws for some of the system's refusals (ENOMEM, E2BIG), and emits others (EAGAIN, EMFILE). */
function started(...[command, args, options]: [string, readonly string[], SpawnOptions]): ChildProcess {
  try {
    return spawn(command, args, options);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall !== 'spawn') throw error;
    const child = new ChildProcess();
    process.nextTick(() => child.emit('error', error));
    return child;
  }
}
