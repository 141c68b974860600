/** Generators of clients and validators of OpenAPI: what `npm run clients` holds the document against. */
import { copyFile, readFile } from 'node:fs/promises';
import path from 'node:path';
import { installPython, madeOnce } from './python.mjs';
import { cache, hash, root, run, say, seconds } from './step.mjs';

const sources = path.join(root, 'tests', 'clients');
const FILES = ['package.json', 'package-lock.json', 'requirements.txt'];

/** The folder that has them: `node_modules` and the Python environment `python`, one for each content of the lists. */
export async function generatorsFolder() {
  const lists = await Promise.all(FILES.map((name) => readFile(path.join(sources, name), 'utf8')));
  return path.join(cache, `clients-${hash(...lists).slice(0, 16)}`);
}

export async function installGenerators() {
  const folder = await generatorsFolder();
  await madeOnce(folder, async () => {
    const started = performance.now();
    say('installing generators of clients (npm ci, pip) …');
    for (const name of FILES) await copyFile(path.join(sources, name), path.join(folder, name));
    await run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: folder, label: 'npm ci' });
    await installPython(path.join(folder, 'python'), path.join(folder, 'requirements.txt'), 'the client of Python');
    say(`generators installed in ${seconds(started)}`);
  });
}
