/**
 * The built command line as people and scripts use it: in a pseudo-terminal whose screen can be read, or through pipes.
 */
import pty from '@lydell/node-pty';
import xterm from '@xterm/headless';
import { spawn } from 'node:child_process';
import path from 'node:path';

export const LOOM = path.resolve(import.meta.dirname, '..', '..', 'bin', 'loom.mjs');
interface Options {
  cwd: string;
  env?: Record<string, string>;
}

/** Without what would say where an API is, or how to draw. */
function environment({ cwd, env = {} }: Options): Record<string, string> {
  const kept = Object.entries(process.env).filter(
    ([key, value]) => value !== undefined && !/^(LOOM_|NO_COLOR|FORCE_COLOR|CI$|DATABASE_URL|REDIS_URL)/.test(key),
  ) as [string, string][];
  return { ...Object.fromEntries(kept), XDG_CONFIG_HOME: path.join(cwd, 'config'), TERM: 'xterm-256color', ...env };
}

/** `loom` in a terminal of so many columns and rows. */
export function terminal(
  args: readonly string[],
  { columns = 100, rows = 24, ...options }: Options & { columns?: number; rows?: number },
) {
  const emulator = new xterm.Terminal({ cols: columns, rows, scrollback: 1000, allowProposedApi: true });
  const child = pty.spawn(process.execPath, [LOOM, ...args], {
    name: 'xterm-256color',
    cols: columns,
    rows,
    cwd: options.cwd,
    env: environment(options),
  });
  let raw = '';
  child.onData((data) => {
    raw += data;
    emulator.write(data);
  });
  const exit = new Promise<number>((resolve) => child.onExit(({ exitCode }) => resolve(exitCode)));
  return {
    exit,
    /** Everything that was written, escape sequences included. */
    raw: () => raw,
    cursorShown: () => raw.lastIndexOf('\u001b[?25h') >= raw.lastIndexOf('\u001b[?25l'),
    /** What stands on the screen and what was scrolled out of it at the top, without blank lines at the end. */
    lines: async (): Promise<string[]> => {
      await new Promise<void>((resolve) => emulator.write('', resolve));
      const { active } = emulator.buffer;
      const lines = Array.from({ length: active.length }, (_, i) => active.getLine(i)!.translateToString(true));
      return lines.slice(0, lines.findLastIndex((line) => line !== '') + 1);
    },
    resize: (to: number) => {
      emulator.resize(to, rows);
      child.resize(to, rows);
    },
    type: (text: string) => child.write(text),
    /** Of a test that failed before the program had ended. */
    close: () => {
      child.kill('SIGKILL');
      emulator.dispose();
    },
  };
}

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** `loom` without a terminal. */
export function piped(args: readonly string[], { input = '', ...options }: Options & { input?: string }) {
  const child = spawn(process.execPath, [LOOM, ...args], {
    cwd: options.cwd,
    env: environment(options),
    stdio: 'pipe',
  });
  const soFar: Ended = { code: null, stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => {
    soFar.stdout += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    soFar.stderr += chunk.toString();
  });
  child.stdin.end(input);
  const ended = new Promise<Ended>((resolve, reject) =>
    child.once('error', reject).once('close', (code) => resolve({ ...soFar, code })),
  );
  return { child, soFar, ended };
}
