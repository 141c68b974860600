/** Folders for what does not outlive a process. */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** Makes a folder of this process' own. @throws Error that says what stands against it */
export async function temporaryFolder(prefix: string): Promise<string> {
  const dir = tmpdir();
  return mkdtemp(path.join(dir, prefix)).catch((error: NodeJS.ErrnoException) => {
    const why = error.code === 'ENOENT' ? 'it does not exist' : error.message;
    throw new Error(`expected a folder for temporary files that can be written (TMPDIR), got ${dir}: ${why}`);
  });
}
