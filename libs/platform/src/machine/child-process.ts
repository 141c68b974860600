/** Children that die with this process, however it ends. */
import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { existsSync } from 'node:fs';

/** Sets Linux's parent-death signal (prctl(2), PR_SET_PDEATHSIG) before it becomes the command; of util-linux. */
const SETPRIV = ['/usr/bin/setpriv', '/bin/setpriv'].find((file) => process.platform === 'linux' && existsSync(file));

export interface DependentOptions extends Omit<SpawnOptions, 'uid' | 'gid'> {
  /** What the child gets from the kernel when this process is gone. */
  parentDeathSignal: 'KILL' | 'INT' | 'TERM';
  /** Whom the child runs as, without any other group than `groups`; like this process without it. */
  user?: { uid: number; gid: number; groups?: readonly number[] } | undefined;
  /** Nothing that it starts gets more rights than it has, not by a set-uid program either (PR_SET_NO_NEW_PRIVS). */
  noNewPrivileges?: boolean;
}

/**
 * Starts a child that ends with this process, also where this process is killed. Where the system has no parent-death
 * signal, or no setpriv to set it, the child is started all the same: it then has to be ended by who started it.
 */
export function spawnDependent(
  command: string,
  args: readonly string[],
  { parentDeathSignal, user, noNewPrivileges = false, ...options }: DependentOptions,
): ChildProcess {
  if (!SETPRIV) return spawn(command, args, { ...options, ...(user && { uid: user.uid, gid: user.gid }) });
  // A change of user clears the signal, so that setpriv does both, in the right order.
  const groups = user?.groups?.length ? `--groups=${user.groups.join(',')}` : '--clear-groups';
  const identity = user ? [`--reuid=${user.uid}`, `--regid=${user.gid}`, groups] : [];
  const limits = noNewPrivileges ? ['--no-new-privs'] : [];
  return spawn(SETPRIV, [...identity, ...limits, '--pdeathsig', parentDeathSignal, command, ...args], options);
}
