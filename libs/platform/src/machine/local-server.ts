/** Servers that run as long as this process: started, waited for and ended. */
import type { ChildProcess } from 'node:child_process';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { spawnDependent } from './child-process.js';

const START_TIMEOUT_MS = 30_000;
const END_TIMEOUT_MS = 10_000;

/** A server can't be started here; the message says what to do. */
export class LocalServiceError extends Error {}

export interface LocalServer {
  url: string;
  stop(): Promise<void>;
}

interface ServerProcess {
  child: ChildProcess;
  /** The end of what it has said. */
  output(): string;
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/**
 * A server of its own process group, so that a Ctrl-C for us is not one for it, which gets `signal` when we are gone.
 */
export function spawnServer(
  command: string,
  args: string[],
  signal: 'INT' | 'TERM',
  user?: { uid: number; gid: number },
): ServerProcess {
  let output = '';
  const child = spawnDependent(command, args, {
    parentDeathSignal: signal,
    user,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    cwd: '/',
  });
  const keep = (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-4000);
  };
  child.stdout!.on('data', keep);
  child.stderr!.on('data', keep);
  child.on('error', (error) => {
    output += error.message;
  });
  return { child, output: () => output.trim() };
}

/** @throws LocalServiceError where the server ends, or does not answer in time */
export async function untilReady(
  name: string,
  { child, output }: ServerProcess,
  probe: () => Promise<void>,
): Promise<void> {
  for (const until = performance.now() + START_TIMEOUT_MS; ;) {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined)
      throw new LocalServiceError(`expected ${name} to start, it ended: ${output() || 'without a word'}`);
    try {
      return await probe();
    } catch (error) {
      if (performance.now() > until)
        throw new LocalServiceError(
          `expected ${name} to answer within ${START_TIMEOUT_MS / 1000} s: ${String(error)}; it said: ${output()}`,
        );
    }
    await delay(50);
  }
}

/** Ends a process by a signal, and by SIGKILL where it does not follow. */
export async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), END_TIMEOUT_MS);
  await gone;
  clearTimeout(timer);
}
