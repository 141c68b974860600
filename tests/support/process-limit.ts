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

/** From here on a process can start no others. Resolves with what ends that. */
export async function noMoreProcesses(pid: number): Promise<() => Promise<void>> {
  const soft = await prlimit('--pid', String(pid), '--nproc', '--raw', '--noheadings', '-o', 'SOFT');
  await prlimit('--pid', String(pid), '--nproc=1:');
  return async () => void (await prlimit('--pid', String(pid), `--nproc=${soft}:`));
}

/** The processes that a process has started and that run. */
export async function childrenOf(pid: number): Promise<number[]> {
  // It exits with 1 where there are none.
  const { stdout } = await run('ps', ['-o', 'pid=', '--ppid', String(pid)]).catch(() => ({ stdout: '' }));
  return stdout.split('\n').filter(Boolean).map(Number);
}
