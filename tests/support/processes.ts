import { spawn, type ChildProcess } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const ROOT = path.resolve(import.meta.dirname, '..', '..');

export interface Started {
  pid: number;
  child: ChildProcess;
  output(): string;
  kill(signal: NodeJS.Signals): Promise<void>;
}

/**
 * Starts a built program of this repository, as an argument of `through` if any; `kill` waits until it is gone. Its
 * last output is kept for failures.
 */
export function startApp(
  app: 'api' | 'worker',
  environment: Record<string, string>,
  through: readonly string[] = [],
): Started {
  const [command, ...words] = [...through, process.execPath, path.join(ROOT, 'dist', 'apps', app, 'src', 'main.js')];
  const child = spawn(command, words, {
    cwd: ROOT,
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-20_000);
    });
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  return {
    pid: child.pid!,
    child,
    output: () => output,
    kill: async (signal) => {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
      await gone;
    },
  };
}

/** NODE_OPTIONS that have a program, and every Node process that it starts, load this module of tests/support first. */
export const preload = (name: string): string => `--import ${pathToFileURL(path.join(import.meta.dirname, name)).href}`;

/** A port of 127.0.0.1 that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** True while a process does anything at all: one that is dead and not yet reaped does not. */
export async function isRunning(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  const state = /^State:\s+(\S)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8').catch(() => ''))?.[1];
  return state !== undefined ? state !== 'Z' && state !== 'X' : process.platform !== 'linux';
}
