/** Servers that run as long as this process: started, waited for and ended. */
import type { ChildProcess } from 'node:child_process';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { spawnDependent } from './child-process.js';
import type { RotatingLog } from './rotating-log.js';

const START_TIMEOUT_MS = 30_000;
/** Whoever else may listen on the port, and not answer. */
export const PROBE_TIMEOUT_MS = 2000;
const END_TIMEOUT_MS = 10_000;

/** A server can't be started here; the message says what to do. */
export class LocalServiceError extends Error {}

export interface LocalServer {
  url: string;
  stop(): Promise<void>;
  /** Resolves when its process ends, with how it did. */
  ended: Promise<string>;
}

interface ServerProcess {
  child: ChildProcess;
  ended: Promise<string>;
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

/** Whom a server runs as where that is somebody else. */
export interface ServerUser {
  uid: number;
  gid: number;
}

interface ServerSettings {
  /** What it gets when this process is gone. */
  signal: 'INT' | 'TERM';
  /** Where what it says is written. */
  log: RotatingLog;
  user?: ServerUser | undefined;
  /** What it reads at its start that others on this machine must not see, as they see its arguments. */
  input?: string;
}

/** A server of its own process group, so that a Ctrl-C for us is not one for it. */
export function spawnServer(
  command: string,
  args: string[],
  { signal, log, user, input }: ServerSettings,
): ServerProcess {
  let output = '';
  const child = spawnDependent(command, args, {
    parentDeathSignal: signal,
    user,
    stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    detached: true,
    cwd: '/',
  });
  // One that ends before it has read all says why by itself.
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(input);
  const keep = (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-4000);
  };
  for (const stream of [child.stdout, child.stderr]) {
    // One that could not be started has neither.
    if (!stream) continue;
    stream.on('data', keep);
    log.follow(stream);
  }
  child.on('error', (error) => {
    output += error.message;
  });
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, by) => resolve(by ?? `exit code ${code}`));
  });
  return { child, ended, output: () => output.trim() };
}

/** How often in a row a process that ends by itself is started again. */
export const RESTARTS = 5;
/** What has run for so long has not ended "in a row" with what went before. */
export const STEADY_MS = 60_000;
/** Pause before a process that has been started again `restarts` times is so once more. */
export const restartPause = (restarts: number): number => 250 * 2 ** restarts;

/**
 * Keeps a server up until it is stopped: one that ends by itself is started again, with what it had, on its port.
 * `failure` rejects with a LocalServiceError where it keeps ending, and never resolves.
 */
export async function keptUp(
  name: string,
  start: (port?: number) => Promise<LocalServer>,
  log: (line: string) => void,
): Promise<LocalServer & { failure: Promise<never> }> {
  const first = await start();
  const port = Number(new URL(first.url).port);
  let running: Promise<LocalServer> = Promise.resolve(first);
  let stopping = false;
  const ended = (async () => {
    let how = await first.ended;
    let since = performance.now();
    for (let restarts = 0; !stopping; restarts++) {
      if (performance.now() - since > STEADY_MS) restarts = 0;
      if (restarts === RESTARTS) return `${name} ended ${RESTARTS + 1} times in a row: ${how}`;
      log(`${name} ended (${how}): starting it again`);
      await delay(restartPause(restarts));
      if (stopping) break;
      running = start(port);
      since = performance.now();
      how = await running.then(
        (server) => server.ended,
        (error: unknown) => (error as Error).message,
      );
    }
    return 'it was stopped';
  })();
  const failure = ended.then((how) => {
    if (stopping) return new Promise<never>(() => undefined);
    throw new LocalServiceError(how);
  });
  failure.catch(() => undefined);
  const stop = async () => {
    stopping = true;
    await running.then(
      (server) => server.stop(),
      () => undefined,
    );
  };
  return { url: first.url, stop, ended, failure };
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
