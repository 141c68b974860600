/**
 * Processes that can start no more, by the kernel's limit for a user (RLIMIT_NPROC). It counts threads too, and does
 * not hold for root.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);
const NOBODY = 65_534;
/** As somebody whom the limit holds for, who may set the limits of processes of that user. */
const AS_NOBODY =
  process.getuid?.() === 0 ? ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'] : [];
/** Through which a program is started that is to be limited. It opens all files as before. */
export const LIMITABLE =
  AS_NOBODY.length > 0 ? [...AS_NOBODY, '--inh-caps=+dac_override', '--ambient-caps=+dac_override'] : [];

const prlimit = async (...words: string[]): Promise<string> => {
  const [command, ...rest] = [...AS_NOBODY, 'prlimit', ...words];
  return (await run(command!, rest, { cwd: '/' })).stdout.trim();
};

/** Sets what a process may have of something. Resolves with what sets it back. */
async function limit(pid: number, resource: 'nproc' | 'stack', most: number): Promise<() => Promise<void>> {
  const soft = await prlimit('--pid', String(pid), `--${resource}`, '--raw', '--noheadings', '-o', 'SOFT');
  await prlimit('--pid', String(pid), `--${resource}=${most}:`);
  return async () => void (await prlimit('--pid', String(pid), `--${resource}=${soft}:`));
}

/** From here on a process can start no others (EAGAIN). Resolves with what ends that. */
export const noMoreProcesses = (pid: number) => limit(pid, 'nproc', 1);

/**
 * An environment that is too long for the processes which a process starts from `noRoomForEnvironment` on: Linux gives
 * it a fourth of the stack.
 */
export const LONG_ENVIRONMENT = Object.fromEntries(
  Array.from({ length: 12 }, (_, i) => [`TEST_LONG_${i}`, 'x'.repeat(120_000)]),
);

/** From here on a process that has the long environment can start no others (E2BIG). Resolves with what ends that. */
export const noRoomForEnvironment = (pid: number) => limit(pid, 'stack', 4 * 2 ** 20);

/** The processes that a process has started and that run. */
export async function childrenOf(pid: number): Promise<number[]> {
  // It exits with 1 where there are none.
  const { stdout } = await run('ps', ['-o', 'pid=', '--ppid', String(pid)]).catch(() => ({ stdout: '' }));
  return stdout.split('\n').filter(Boolean).map(Number);
}
