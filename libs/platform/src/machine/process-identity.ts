/**
 * Who a process is whose id was read from a file: ids are given out again, so that the id alone may name somebody else.
 * Nothing is signalled that this module does not know as ours.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

/** Where the system tells of its processes: the folder of procfs, where there is one, else the `ps` of POSIX. */
export interface ProcessSources {
  proc: string;
  ps: string;
}
const SYSTEM: ProcessSources = { proc: '/proc', ps: 'ps' };
const PS_TIMEOUT_MS = 5000;
/** Place of `starttime` in /proc/PID/stat (proc(5), field 22), counted from the field after the name. */
const START_TIME = 19;

/** Fields of /proc/PID/stat from the one after the name, which is in brackets and may hold spaces. */
export const statFields = (stat: string): string[] => stat.slice(stat.lastIndexOf(')') + 2).split(' ');

/** Whether a process of this id is there, be it another user's. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/**
 * What tells a process from a later one with its id, in one word: when it started, and from `ps`, which counts in whole
 * seconds, its command too. Empty where it is gone, or the system does not say.
 */
export function identityOf(pid: number, sources: ProcessSources = SYSTEM): string {
  const status = procFile(pid, 'stat', sources);
  if (status !== undefined) return statFields(status)[START_TIME] ?? '';
  return encodeURIComponent(ps(pid, ['lstart', 'command'], sources));
}

/** Whether a process is the one that `identityOf` described when it was noted; undefined where that can't be told. */
export function isStill(pid: number, identity: string, sources: ProcessSources = SYSTEM): boolean | undefined {
  if (!isAlive(pid)) return false;
  const now = identityOf(pid, sources);
  if (identity === '' || now === '') return isAlive(pid) ? undefined : false;
  return now === identity;
}

/** The command line of a process, its words separated by spaces; undefined where the system does not say. */
export function commandLineOf(pid: number, sources: ProcessSources = SYSTEM): string | undefined {
  const words = procFile(pid, 'cmdline', sources);
  if (words !== undefined) return words.replaceAll('\0', ' ').trim();
  return ps(pid, ['command'], sources) || undefined;
}

/** The folder that a process works in, by a path that leads there; undefined where there is no procfs. */
export function workingFolderOf(pid: number, { proc }: ProcessSources = SYSTEM): string | undefined {
  const folder = `${proc}/${pid}/cwd`;
  return existsSync(folder) ? folder : undefined;
}

function procFile(pid: number, name: 'stat' | 'cmdline', { proc }: ProcessSources): string | undefined {
  try {
    return readFileSync(`${proc}/${pid}/${name}`, 'utf8');
  } catch {
    return undefined;
  }
}

/** Fields of a process in the same words in every locale and time zone; empty where `ps` does not say. */
function ps(pid: number, fields: readonly string[], sources: ProcessSources): string {
  try {
    const columns = fields.flatMap((field) => ['-o', `${field}=`]);
    const env = { ...process.env, LC_ALL: 'C', TZ: 'UTC' };
    return execFileSync(sources.ps, ['-ww', ...columns, '-p', String(pid)], {
      encoding: 'utf8',
      env,
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: PS_TIMEOUT_MS,
    })
      .trim()
      .replace(/\s+/g, ' ');
  } catch {
    return '';
  }
}
