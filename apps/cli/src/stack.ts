/** The whole product on one machine: Postgres, Redis, the API and workers as processes that end with this one. */
import { LoomClient } from '#libs/contracts';
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, unlinkSync } from 'node:fs';
import { mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const DIST = path.resolve(import.meta.dirname, '..', '..', '..');
const ROOT = path.basename(DIST) === 'dist' ? path.dirname(DIST) : DIST;
const DEFAULT_PORT = 3000;
const START_TIMEOUT_MS = 60_000;
/** A worker writes a checkpoint before it goes, so that the next start goes on from there. */
const STOP_GRACE_MS = 20_000;
const RESTARTS = 5;
const SETPRIV = ['/usr/bin/setpriv', '/bin/setpriv'].find((file) => process.platform === 'linux' && existsSync(file));

export interface StackState {
  url: string;
  port: number;
  host: string;
  workers: number;
  dataRoot: string;
  /** Of the process that holds the stack together; null once it was stopped. */
  pid: number | null;
  processes: { name: string; pid: number }[];
  databaseUrl: string;
  redisUrl: string;
  startedAt: string;
}

export interface StackOptions {
  /** Holds everything: databases, artifacts, logs, state. What is there is brought up again. */
  dir: string;
  /** A port that must be free; without it the one of last time, 3000 or any free one. */
  port?: number | undefined;
  host?: string | undefined;
  workers?: number | undefined;
  /** The only folder from which datasets may be prepared. */
  dataRoot?: string | undefined;
  databaseUrl?: string | undefined;
  redisUrl?: string | undefined;
  /** Inherited by the API and the workers. */
  environment: NodeJS.ProcessEnv;
  signal?: AbortSignal | undefined;
  log(line: string): void;
}

/** The stack can't be brought up; the message says what to do. */
export class StackError extends Error {}

/** Another process holds the stack of this folder. */
export class StackRunningError extends StackError {
  constructor(
    readonly dir: string,
    readonly pid: number,
  ) {
    super(`expected nothing to run in ${dir}, but process ${pid} does: use it, or end it with \`loom down\``);
  }
}

const stateFile = (dir: string): string => path.join(dir, 'state.json');

/** What was brought up in `dir` last; undefined when nothing ever was. */
export async function readState(dir: string): Promise<StackState | undefined> {
  const text = await readFile(stateFile(dir), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as StackState;
  } catch {
    throw new StackError(`expected JSON in ${stateFile(dir)}: remove the file and run \`loom up\` again`);
  }
}

/** The process that holds the stack of `dir`, while it lives. */
export const runningPid = (dir: string): number | undefined => holder(path.join(dir, 'lock'));

/** Ends the stack of `dir`, whoever holds it; false when none runs. */
export async function stopStack(dir: string, timeoutMs = STOP_GRACE_MS + 30_000): Promise<boolean> {
  const pid = runningPid(dir);
  if (pid === undefined) return false;
  process.kill(pid, 'SIGTERM');
  for (const until = performance.now() + timeoutMs; runningPid(dir) === pid; await delay(100)) {
    if (performance.now() > until)
      throw new StackError(
        `expected process ${pid} to end within ${timeoutMs / 1000} s: end it with \`kill -9 ${pid}\``,
      );
  }
  return true;
}

interface Service {
  name: string;
  child: ChildProcess;
  startedAt: number;
  restarts: number;
  restart(): Service;
}

export class Stack {
  readonly client: LoomClient;
  private readonly services = new Map<string, Service>();
  private stopping: Promise<void> | undefined;
  private readonly cleanups: (() => Promise<void> | void)[] = [];
  private failed: (error: Error) => void = () => undefined;
  /** Rejects when a process of the stack ends again and again; never resolves. */
  readonly failure = new Promise<never>((_resolve, reject) => {
    this.failed = reject;
  });

  private constructor(
    private readonly options: StackOptions,
    readonly state: StackState,
  ) {
    this.client = new LoomClient({ url: state.url });
    this.failure.catch(() => undefined);
  }

  get url(): string {
    return this.state.url;
  }
  get dir(): string {
    return this.options.dir;
  }

  /**
   * Brings everything up and returns when the API is ready and every worker has registered.
   * @throws StackRunningError, StackError, the signal's reason
   */
  static async start(given: StackOptions): Promise<Stack> {
    const options = { ...given, dir: path.resolve(given.dir) };
    const { dir, log, signal } = options;
    await mkdir(path.join(dir, 'logs'), { recursive: true });
    const release = await takeLock(dir);
    const last = await readState(dir).catch(() => undefined);
    const host = options.host ?? '127.0.0.1';
    let stack: Stack | undefined;
    try {
      const port = await choosePort(host, options.port, last?.port);
      const dataRoot = path.resolve(options.dataRoot ?? last?.dataRoot ?? path.join(dir, 'data'));
      await mkdir(dataRoot, { recursive: true });
      stack = new Stack(options, {
        url: `http://${/^(0\.0\.0\.0|::)$/.test(host) ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host}:${port}`,
        port,
        host,
        workers: options.workers ?? 1,
        dataRoot,
        pid: process.pid,
        processes: [],
        databaseUrl: '',
        redisUrl: '',
        startedAt: new Date().toISOString(),
      });
      await stack.bringUp();
      signal?.throwIfAborted();
      return stack;
    } catch (error) {
      await stack?.stop();
      throw signal?.aborted ? signal.reason : error;
    } finally {
      if (stack && !stack.stopping) stack.cleanups.push(release);
      else release();
      void log;
    }
  }

  private async bringUp(): Promise<void> {
    const { dir, log, signal, environment } = this.options;
    const killAll = () => {
      for (const { child } of this.services.values()) child.kill('SIGKILL');
    };
    process.once('exit', killAll);
    this.cleanups.push(() => {
      process.off('exit', killAll);
    });

    log('starting Postgres and Redis');
    // Loaded here, so that commands which start nothing answer three times as fast.
    const { LocalServiceError, migrate, startLocalServices } = await import('#libs/platform');
    const services = await startLocalServices({
      dir,
      log,
      databaseUrl: this.options.databaseUrl,
      redisUrl: this.options.redisUrl,
    }).catch((error: unknown) => {
      throw error instanceof LocalServiceError ? new StackError(error.message) : error;
    });
    this.cleanups.push(() => services.stop());
    signal?.throwIfAborted();
    Object.assign(this.state, { databaseUrl: services.databaseUrl, redisUrl: services.redisUrl });
    await migrate(services.databaseUrl);
    signal?.throwIfAborted();

    log(`starting the API and ${this.state.workers} worker${this.state.workers === 1 ? '' : 's'}`);
    const env = {
      ...environment,
      DATABASE_URL: services.databaseUrl,
      REDIS_URL: services.redisUrl,
      LOOM_HOST: this.state.host,
      LOOM_PORT: String(this.state.port),
      LOOM_ARTIFACTS_DIR: path.join(dir, 'artifacts'),
      LOOM_DATA_ROOT: this.state.dataRoot,
      LOOM_WEB_DIR: path.join(ROOT, 'web-dist'),
    };
    this.launch('api', path.join(DIST, 'apps', 'api', 'src', 'main.js'), env);
    await this.until('the API to be ready', () => this.client.ready());
    for (let i = 1; i <= this.state.workers; i++)
      this.launch(`worker-${i}`, path.join(DIST, 'apps', 'worker', 'src', 'main.js'), env);
    await this.until('the workers to register', async () => {
      const registered = new Set(
        (await this.client.workers())
          .filter((worker) => worker.alive && worker.state === 'running')
          .map(({ pid }) => pid),
      );
      return [...this.services.values()].every(({ name, child }) => name === 'api' || registered.has(child.pid!));
    });
    await this.writeState();
  }

  /** Waits; a process that ends meanwhile ends the wait with what it said. */
  private async until(what: string, probe: () => Promise<boolean>): Promise<void> {
    for (const end = performance.now() + START_TIMEOUT_MS; !(await probe()); await delay(50)) {
      this.options.signal?.throwIfAborted();
      for (const { name, child } of this.services.values()) {
        if (child.exitCode !== null || child.signalCode !== null)
          throw new StackError(
            `${name} ended while it started. The end of ${this.logFile(name)}:\n${tail(this.logFile(name))}`,
          );
      }
      if (performance.now() > end)
        throw new StackError(
          `expected ${what} within ${START_TIMEOUT_MS / 1000} s: see ${path.join(this.dir, 'logs')}`,
        );
    }
  }

  private logFile(name: string): string {
    return path.join(this.dir, 'logs', `${name}.log`);
  }

  private launch(name: string, main: string, env: NodeJS.ProcessEnv, restarts = 0): void {
    if (!existsSync(main))
      throw new StackError(`expected ${path.relative(ROOT, main)} to be built: run \`npm run setup\``);
    const file = openSync(this.logFile(name), restarts ? 'a' : 'w');
    // In a group of its own a Ctrl-C reaches us alone, and we end the processes in order. If we are killed there is no
    // order to keep: the databases go with us, and the lease brings the run back at the next start.
    const command = SETPRIV ? [SETPRIV, '--pdeathsig', 'KILL', process.execPath, main] : [process.execPath, main];
    const child = spawn(command[0]!, command.slice(1), {
      cwd: this.dir,
      env,
      stdio: ['ignore', file, file],
      detached: true,
    });
    closeSync(file);
    const service: Service = {
      name,
      child,
      startedAt: performance.now(),
      restarts,
      restart: () => {
        this.launch(name, main, env, service.restarts + 1);
        return this.services.get(name)!;
      },
    };
    this.services.set(name, service);
    child.once('error', (error) => this.failed(new StackError(`${name} can't be started: ${error.message}`)));
    child.once('exit', (code, signal) => {
      if (this.stopping || !this.state.processes.length) return;
      // A worker that ends well was told to drain.
      if (code === 0 && name !== 'api') void this.drained(name);
      else void this.revive(service, signal ?? `exit code ${code}`);
    });
  }

  private async drained(name: string): Promise<void> {
    this.options.log(`${name} has drained`);
    this.services.delete(name);
    await this.writeState().catch((error: unknown) => this.failed(error as Error));
  }

  /** A process that ends by itself is started again, unless it keeps ending. */
  private async revive(service: Service, how: string): Promise<void> {
    if (performance.now() - service.startedAt > 60_000) service.restarts = 0;
    if (service.restarts >= RESTARTS) {
      this.failed(
        new StackError(
          `${service.name} ended ${RESTARTS + 1} times in a row (${how}). The end of ` +
            `${this.logFile(service.name)}:\n${tail(this.logFile(service.name))}`,
        ),
      );
      return;
    }
    this.options.log(`${service.name} ended (${how}): starting it again`);
    await delay(250 * 2 ** service.restarts);
    if (this.stopping) return;
    try {
      service.restart();
      await this.writeState();
    } catch (error) {
      this.failed(error as Error);
    }
  }

  private async writeState(): Promise<void> {
    this.state.processes = [...this.services.values()].map(({ name, child }) => ({ name, pid: child.pid! }));
    const draft = `${stateFile(this.dir)}.${process.pid}`;
    // The database's password is in it.
    await writeFile(draft, `${JSON.stringify(this.state, null, 2)}\n`, { mode: 0o600 });
    await rename(draft, stateFile(this.dir));
  }

  /** Workers first, so that they can still say where they stopped; then the API, then the databases. */
  stop(): Promise<void> {
    this.stopping ??= (async () => {
      const all = [...this.services.values()];
      await Promise.all(all.filter(({ name }) => name !== 'api').map(({ child }) => end(child)));
      await Promise.all(all.filter(({ name }) => name === 'api').map(({ child }) => end(child)));
      if (this.state.processes.length) {
        this.services.clear();
        this.state.pid = null;
        await this.writeState();
      }
      for (const cleanup of this.cleanups.reverse()) await cleanup();
    })();
    return this.stopping;
  }

  /** Without waiting for checkpoints. */
  kill(): void {
    for (const { child } of this.services.values()) child.kill('SIGKILL');
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_GRACE_MS);
  await gone;
  clearTimeout(timer);
}

function tail(file: string): string {
  const lines = readFileSync(file, 'utf8').trim().split('\n').slice(-15).join('\n');
  return lines || '(nothing)';
}

/** A process id alone would be mistaken for another process that got the same one later. */
function identity(pid: number): string {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Field 22 is the start time; the second, the name, may hold spaces.
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}

function holder(lock: string): number | undefined {
  let text: string;
  try {
    text = readFileSync(lock, 'utf8');
  } catch {
    return undefined;
  }
  const [pid = 0, started = ''] = text
    .trim()
    .split(' ')
    .map((part, i) => (i === 0 ? Number(part) : part)) as [number?, string?];
  if (!pid) return undefined;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return undefined;
  }
  return started === '' || identity(pid) === started ? pid : undefined;
}

async function takeLock(dir: string): Promise<() => void> {
  const lock = path.join(dir, 'lock');
  for (;;) {
    try {
      const file = await open(lock, 'wx');
      await file.writeFile(`${process.pid} ${identity(process.pid)}\n`);
      await file.close();
      return () => {
        try {
          unlinkSync(lock);
        } catch {
          /* Somebody removed the folder. */
        }
      };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST')
        throw new StackError(`expected to be able to write in ${dir}: ${(error as Error).message}`);
      const pid = holder(lock);
      if (pid !== undefined) throw new StackRunningError(dir, pid);
      await rm(lock, { force: true });
    }
  }
}

async function choosePort(host: string, wanted: number | undefined, last: number | undefined): Promise<number> {
  if (wanted !== undefined && wanted !== 0) {
    if (await listens(host, wanted)) return wanted;
    throw new StackError(`expected port ${wanted} to be free: choose another with --port`);
  }
  for (const port of wanted === 0 ? [] : [last, DEFAULT_PORT])
    if (port !== undefined && (await listens(host, port))) return port;
  return (await listens(host, 0))!;
}

/** The port, if a server could listen on it. */
async function listens(host: string, port: number): Promise<number | undefined> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(undefined));
    server.listen(port, host, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : undefined));
    });
  });
}
