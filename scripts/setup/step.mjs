/** What the steps of set-up share. Plain Node 20: there may be no packages yet. */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..');
export const modules = path.join(root, 'node_modules');
export const cache = path.join(process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'latent-loom');
const quiet = process.argv.includes('--quiet');
export const platform = `${process.platform}-${process.arch}`;

/** What is missing and how to get it, in one sentence: shown without a stack. */
export class Missing extends Error {}

export const say = (text) => {
  if (!quiet) process.stdout.write(`setup: ${text}\n`);
};
export const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(1)} s`;

/** Runs a command and resolves with its output; rejects with the end of it. A long one shows that it lives. */
export function run(command, args, { cwd = root, env = process.env, label } = {}) {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const keep = (chunk) => {
      output = (output + chunk).slice(-20_000);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    const pulse =
      label && setInterval(() => say(`  ${label} … ${Math.round((performance.now() - started) / 1000)} s`), 10_000);
    const end = () => output.trim().split('\n').slice(-15).join('\n');
    const done = () => clearInterval(pulse);
    child.once('error', (error) => {
      done();
      reject(error);
    });
    child.once('exit', (code, signal) => {
      done();
      if (code === 0) resolve(output);
      else
        reject(
          Object.assign(
            new Error(`${command} ${args.join(' ')} ended with ${signal ?? `exit code ${code}`}:\n${end()}`),
            {
              output,
            },
          ),
        );
    });
  });
}

export const answers = (command, ...args) => spawnSync(command, args, { stdio: 'ignore' }).status === 0;
export const onPath = (command) =>
  (process.env.PATH ?? '').split(path.delimiter).some((folder) => folder && existsSync(path.join(folder, command)));
export const hash = (...parts) => {
  const h = createHash('sha256');
  for (const part of parts) h.update(part);
  return h.digest('hex');
};
export const read = (file) => readFile(file).catch(() => Buffer.alloc(0));
/** A step is done when its stamp holds the same key. */
const stampOf = (name) => path.join(modules, '.latent-loom', name);
export const isDone = async (name, key) => (await read(stampOf(name))).toString() === key;
export async function markDone(name, key) {
  await mkdir(path.dirname(stampOf(name)), { recursive: true });
  await writeFile(stampOf(name), key);
}

/** Everything after this runs on the Node that the lockfile brings, whatever started set-up. */
export const node = () => path.join(modules, '.bin', process.platform === 'win32' ? 'node.exe' : 'node');
