/**
 * Virtual environments of Python, made once in the cache. As a program it prints the Python of one that has what a file
 * of requirements names: `node scripts/setup/python.mjs NAME FILE`.
 */
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { cache, hash, Missing, run } from './step.mjs';

/** Makes what belongs in a folder, unless it was made before: a mark says that the folder is whole. */
export async function madeOnce(folder, make) {
  const mark = path.join(folder, 'complete');
  if (existsSync(mark)) return;
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await make();
  await writeFile(`${mark}.new`, '');
  await rename(`${mark}.new`, mark);
}

export const pythonIn = (folder) => path.join(folder, 'bin', 'python');

/** Makes a virtual environment, which can't be moved afterwards, of what a file of requirements names. */
export async function installPython(folder, requirements, whatFor) {
  try {
    await run('python3', ['-m', 'venv', folder]);
  } catch (error) {
    throw new Missing(`Python 3.10 or newer with venv is needed for ${whatFor}: ${error.message}`);
  }
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', requirements];
  await run(pythonIn(folder), pip, { label: 'pip' });
}

async function main(name, requirements) {
  const folder = path.join(cache, `${name}-${hash(readFileSync(requirements)).slice(0, 12)}`);
  await madeOnce(folder, async () => {
    const file = path.join(path.basename(path.dirname(requirements)), path.basename(requirements));
    process.stderr.write(`${name}: installing what ${file} names in a virtual environment, once …\n`);
    await installPython(folder, requirements, name);
  });
  process.stdout.write(`${pythonIn(folder)}\n`);
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const [name, requirements] = process.argv.slice(2).filter((argument) => argument !== '--quiet');
  await main(name, requirements).catch((error) => {
    process.stderr.write(`${name}: ${error.message}\n`);
    process.exitCode = 1;
  });
}
