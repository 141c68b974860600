/** `loom up` in many terminals at once: a folder has one stack, also where the last one was killed. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';

const LOCK = path.resolve(import.meta.dirname, '..', '..', 'dist', 'apps', 'cli', 'src', 'stack-lock.js');
const STARTERS = 8;
const ROUNDS = 10;
/** Takes the lock of the folder that it is told, says how that went, and holds it until it is told the next. */
const STARTER = `
  import { createInterface } from 'node:readline';
  import { takeLock } from ${JSON.stringify(pathToFileURL(LOCK).href)};
  let release = () => {};
  console.log('up');
  for await (const dir of createInterface({ input: process.stdin })) {
    release();
    release = () => {};
    try {
      release = await takeLock(dir);
      console.log('held');
    } catch (error) {
      console.log(error.name === 'Error' ? error.constructor.name : error.stack);
    }
  }
`;

function starter() {
  const child = spawn(process.execPath, ['--input-type=module', '-e', STARTER], { stdio: ['pipe', 'pipe', 'inherit'] });
  const answer = () =>
    new Promise<string>((resolve, reject) => {
      child.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString().trim()));
      child.once('exit', () => reject(new Error('the starter ended')));
    });
  return {
    child,
    up: answer(),
    take: (dir: string) => {
      child.stdin.write(`${dir}\n`);
      return answer();
    },
  };
}

test(`of ${STARTERS} starters over the folder of one that was killed exactly one holds it`, async () => {
  const root = await mkdtemp(path.join(tmpdir(), 'loom-starters-'));
  const starters = Array.from({ length: STARTERS }, starter);
  try {
    await Promise.all(starters.map(({ up }) => up));
    for (let round = 0; round < ROUNDS; round++) {
      const dir = await mkdtemp(path.join(root, 'stack-'));
      const last = starter();
      await last.up;
      expect(await last.take(dir)).toBe('held');
      const gone = new Promise((resolve) => last.child.once('exit', resolve));
      last.child.kill('SIGKILL');
      await gone;
      const answers = await Promise.all(starters.map(({ take }) => take(dir)));
      expect(answers.toSorted(), `round ${round}`).toEqual([
        ...Array<string>(STARTERS - 1).fill('StackRunningError'),
        'held',
      ]);
    }
  } finally {
    for (const { child } of starters) child.kill('SIGKILL');
    await rm(root, { recursive: true, force: true });
  }
}, 60_000);
