/** The whole product on one machine: Postgres, Redis, the API and workers as processes that end with this one. */
import { LoomClient } from '#libs/contracts';
import type { ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, rmdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
// Past the lib's index, which brings Prisma and is loaded where databases are brought up.
import { spawnDependent } from '../../../libs/platform/src/machine/child-process.js';
import { restartPause, RESTARTS, STEADY_MS } from '../../../libs/platform/src/machine/local-server.js';
import { RotatingLog } from '../../../libs/platform/src/machine/rotating-log.js';
import { temporaryFolder } from '../../../libs/platform/src/machine/temporary-folder.js';
import { choosePort, urlOf } from './listening.js';
import { StackError, STOP_GRACE_MS, takeLock } from './stack-lock.js';
import { readState, writeState, type StackState } from './stack-state.js';

const DIST = path.resolve(import.meta.dirname, '..', '..', '..');
const ROOT = path.basename(DIST) === 'dist' ? path.dirname(DIST) : DIST;
const START_TIMEOUT_MS = 60_000;

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
  /** Of the same database, past a pooler by transaction. */
  databaseDirectUrl?: string | undefined;
  redisUrl?: string | undefined;
  /** Inherited by the API and the workers. */
  environment: NodeJS.ProcessEnv;
  signal?: AbortSignal | undefined;
  log(line: string): void;
}

interface Service {
  name: string;
  child: ChildProcess;
  startedAt: number;
  /** It has ended, and what it said is in its log. */
  closed: boolean;
  restarts: number;
  restart(): Service;
}

export class Stack {
  readonly client: LoomClient;
  private readonly services = new Map<string, Service>();
  private readonly logs = new Map<string, RotatingLog>();
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
    const { dir, signal } = options;
    await mkdir(path.join(dir, 'logs'), { recursive: true });
    await requireTemporaryFiles();
    const release = await takeLock(dir);
    const last = await readState(dir).catch(() => undefined);
    const host = options.host ?? '127.0.0.1';
    let stack: Stack | undefined;
    try {
      const port = await choosePort(host, options.port, last?.port);
      const dataRoot = path.resolve(options.dataRoot ?? last?.dataRoot ?? path.join(dir, 'data'));
      await mkdir(dataRoot, { recursive: true });
      stack = new Stack(options, {
        url: urlOf(host, port),
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
    services.failure.catch((error: unknown) => this.failed(new StackError((error as Error).message)));
    signal?.throwIfAborted();
    Object.assign(this.state, { databaseUrl: services.databaseUrl, redisUrl: services.redisUrl });
    const databaseDirectUrl = this.options.databaseUrl && this.options.databaseDirectUrl;
    await migrate(databaseDirectUrl || services.databaseUrl);
    signal?.throwIfAborted();

    log(`starting the API and ${this.state.workers} worker${this.state.workers === 1 ? '' : 's'}`);
    const env = {
      ...environment,
      DATABASE_URL: services.databaseUrl,
      DATABASE_DIRECT_URL: databaseDirectUrl,
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
      for (const { name, closed } of this.services.values()) {
        if (closed)
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

  /** The log of a process: a new file at each start of the stack. */
  private logOf(name: string): RotatingLog {
    const known = this.logs.get(name);
    if (known) return known;
    const log = new RotatingLog(this.logFile(name));
    log.begin();
    this.logs.set(name, log);
    return log;
  }

  private launch(name: string, main: string, env: NodeJS.ProcessEnv, restarts = 0): void {
    if (!existsSync(main))
      throw new StackError(`expected ${path.relative(ROOT, main)} to be built: run \`npm run setup\``);
    // In a group of its own a Ctrl-C reaches us alone, and we end the processes in order. If we are killed there is no
    // order to keep: the databases go with us, and the lease brings the run back at the next start.
    const child = spawnDependent(process.execPath, [main], {
      parentDeathSignal: 'KILL',
      cwd: this.dir,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    const log = this.logOf(name);
    for (const stream of [child.stdout, child.stderr]) if (stream) log.follow(stream);
    const service: Service = {
      name,
      child,
      startedAt: performance.now(),
      closed: false,
      restarts,
      restart: () => {
        this.launch(name, main, env, service.restarts + 1);
        return this.services.get(name)!;
      },
    };
    this.services.set(name, service);
    child.once('error', (error) => this.failed(new StackError(`${name} can't be started: ${error.message}`)));
    // 'close' comes when all that the process wrote has arrived, 'exit' may come before.
    child.once('close', (code, signal) => {
      service.closed = true;
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
    if (performance.now() - service.startedAt > STEADY_MS) service.restarts = 0;
    if (service.restarts >= RESTARTS) {
      this.failed(
        new StackError(
          `${service.name} ended ${RESTARTS + 1} times in a row (${how}). ` +
            `The end of ${this.logFile(service.name)}:\n${tail(this.logFile(service.name))}`,
        ),
      );
      return;
    }
    this.options.log(`${service.name} ended (${how}): starting it again`);
    await delay(restartPause(service.restarts));
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
    await writeState(this.dir, this.state);
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

/** What is started here makes files for itself. @throws StackError where it could not */
async function requireTemporaryFiles(): Promise<void> {
  try {
    await rmdir(await temporaryFolder('loom-'));
  } catch (error) {
    throw new StackError((error as Error).message);
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
  const text = existsSync(file) ? readFileSync(file, 'utf8') : '';
  const lines = text.trim().split('\n').slice(-15).join('\n');
  return lines || '(nothing)';
}
