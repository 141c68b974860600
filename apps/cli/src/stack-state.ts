/** What is noted of a stack in its folder, for the next start and for the commands that use it. */
import { readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { StackError } from './stack-lock.js';

export interface StackState {
  url: string;
  port: number;
  host: string;
  workers: number;
  dataRoot: string;
  /** Id of the process that holds the stack together; null once it was stopped. */
  pid: number | null;
  processes: { name: string; pid: number }[];
  databaseUrl: string;
  redisUrl: string;
  startedAt: string;
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

export async function writeState(dir: string, state: StackState): Promise<void> {
  const draft = `${stateFile(dir)}.${process.pid}`;
  // The database's password is in it.
  await writeFile(draft, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 });
  await rename(draft, stateFile(dir));
}
