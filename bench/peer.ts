/**
 * What a bench compares with: a Python program in a virtual environment of its own, driven line by line, so that ours
 * and theirs alternate.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';

/** Sources lie in bench/, also when this runs from dist/bench/. */
const BENCH = [import.meta.dirname, path.resolve(import.meta.dirname, '..', '..', 'bench')].find((dir) =>
  existsSync(path.join(dir, 'requirements.txt')),
)!;

export interface BenchOptions {
  quick: boolean;
  profile: boolean;
  /** In which ours and theirs are measured in turns, where another number is wanted. */
  rounds?: number | undefined;
  /** The one part to measure, of a bench that has several. */
  only?: string | undefined;
  /** Ours without the peer, where a bench can: what takes the peer hours. */
  alone: boolean;
}

export interface BenchResult {
  name: string;
  ours: number;
  /** Null where ours alone was measured. */
  peer: number | null;
  unit: string;
  /** Ours over the peer's; above 1 is better, whatever the unit. */
  ratio: number | null;
  [detail: string]: unknown;
}

export const machine = () => ({
  cpu: cpus()[0]?.model ?? 'unknown',
  cores: availableParallelism(),
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  node: process.versions.node,
});

export const rounded = (x: number): number => Number(x.toPrecision(3));

export const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

/**
 * The Python that BENCH_PYTHON names, or that of the virtual environment for a file of requirements in bench/, made
 * once for each content.
 */
function environment(file: string): string {
  const own = process.env['BENCH_PYTHON'];
  if (own) return own;
  const script = path.join(BENCH, '..', 'scripts', 'setup', 'python.mjs');
  const { status, stdout } = spawnSync(process.execPath, [script, 'bench', path.join(BENCH, file), '--quiet'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
  });
  if (status !== 0)
    throw new Error(
      'The bench needs Python 3.10 or newer with venv and pip, and a package index: see the message above.',
    );
  return stdout.trim();
}

/** Those that run. One that is busy does not see that its input has ended. */
const started = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of started) child.kill();
});

/** A Python program that answers each JSON line with one. */
export class Peer {
  private readonly waiting: ((line: string) => void)[] = [];
  private constructor(private readonly child: ChildProcess) {
    createInterface({ input: child.stdout! }).on('line', (line) => {
      if (line.startsWith('{')) this.waiting.shift()?.(line);
    });
  }

  /**
   * `requirements`: the file in bench/ that names what the script imports; `more`: variables on top of
   * those that it inherits.
   */
  static start(
    script: string,
    threads: number,
    requirements = 'requirements.txt',
    more: Record<string, string> = {},
  ): Peer {
    const { GLIBC_TUNABLES: _ours, ...inherited } = process.env;
    const env = {
      ...inherited,
      OMP_NUM_THREADS: String(threads),
      MKL_NUM_THREADS: String(threads),
      ...more,
    };
    const child = spawn(environment(requirements), ['-u', path.join(BENCH, script)], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env,
    });
    started.add(child);
    child.once('exit', () => started.delete(child));
    return new Peer(child);
  }

  request<Answer>(message: object): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const ended = () => reject(new Error('the peer has ended: see its message above'));
      this.child.once('exit', ended);
      this.waiting.push((line) => {
        this.child.off('exit', ended);
        resolve(JSON.parse(line) as Answer);
      });
      this.child.stdin!.write(`${JSON.stringify(message)}\n`);
    });
  }

  stop(): void {
    this.child.removeAllListeners('exit');
    this.child.stdin!.end();
  }
}
