import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * Runs `work` while this process can't make files larger than `bytes`: the write that crosses the limit moves a part
 * and says so in its result only, as on a disk that fills up; the next fails with EFBIG. False where the system has no
 * `prlimit`; `work` has not run then.
 */
export async function withFileSizeLimit(bytes: number, work: () => Promise<void>): Promise<boolean> {
  const limit = (soft: string) => run('prlimit', ['--pid', String(process.pid), `--fsize=${soft}:`]);
  // The signal that comes with EFBIG would end the process.
  const ignore = () => undefined;
  process.on('SIGXFSZ' as NodeJS.Signals, ignore);
  try {
    const limited = await limit(String(bytes)).then(
      () => true,
      () => false,
    );
    if (!limited) return false;
    try {
      await work();
    } finally {
      await limit('unlimited');
    }
    return true;
  } finally {
    process.off('SIGXFSZ' as NodeJS.Signals, ignore);
  }
}
