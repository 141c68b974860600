/** Generators of clients and validators of OpenAPI: what `npm run clients` holds the document against. */
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { cache, hash, Missing, root, run, say, seconds } from './step.mjs';

const sources = path.join(root, 'tests', 'clients');
const FILES = ['package.json', 'package-lock.json', 'requirements.txt'];

/** The folder that has them: `node_modules` and the Python environment `python`, one for each content of the lists. */
export async function generatorsFolder() {
  const lists = await Promise.all(FILES.map((name) => readFile(path.join(sources, name), 'utf8')));
  return path.join(cache, `clients-${hash(...lists).slice(0, 16)}`);
}

export async function installGenerators() {
  const folder = await generatorsFolder();
  // A virtual environment can't be moved: a mark says that the folder is whole.
  const mark = path.join(folder, 'complete');
  if (existsSync(mark)) return;
  const started = performance.now();
  say('installing generators of clients (npm ci, pip) …');
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const name of FILES) await copyFile(path.join(sources, name), path.join(folder, name));
  await run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: folder, label: 'npm ci' });
  const python = path.join(folder, 'python');
  try {
    await run('python3', ['-m', 'venv', python], { cwd: folder });
  } catch (error) {
    throw new Missing(`Python 3.10 or newer with venv is needed for the client of Python: ${error.message}`);
  }
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', 'requirements.txt'];
  await run(path.join(python, 'bin', 'python'), pip, { cwd: folder, label: 'pip' });
  await writeFile(`${mark}.new`, '');
  await rename(`${mark}.new`, mark);
  say(`generators installed in ${seconds(started)}`);
}
