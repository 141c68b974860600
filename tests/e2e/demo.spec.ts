/** The demo as a user runs it: from nothing to the table, and up again with all that was in it. */
import { LoomClient, type Run, type SweepTable } from '#libs/contracts';
import { spawn } from 'node:child_process';
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { othersMayRead } from '../support/other-users.js';
import { writeImageFolder } from '../support/images.js';
import { freePort, isRunning } from '../support/processes.js';

const CLI = path.resolve(import.meta.dirname, '..', '..', 'dist', 'apps', 'cli', 'src', 'main.js');
let dir: string;
const { DATABASE_URL: _database, REDIS_URL: _redis, LOOM_URL: _url, ...environment } = process.env;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-demo-'));
  await chmod(dir, 0o711);
});
afterAll(() => rm(dir, { recursive: true, force: true }));

function loom(...args: string[]) {
  const child = spawn(process.execPath, [CLI, '--dir', path.join(dir, 'state'), ...args], {
    cwd: dir,
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  const exit = new Promise<number | null>((resolve) => child.once('exit', resolve));
  return { child, exit, output: () => output };
}

/** Processes of this state folder: their command line or working folder names it. */
async function processesLeft(): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const left: number[] = [];
  for (const pid of pids) {
    const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    const variables = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
    if (
      pid !== process.pid &&
      (commandLine.includes(dir) || variables.includes(`LOOM_ARTIFACTS_DIR=${dir}`)) &&
      (await isRunning(pid))
    )
      left.push(pid);
  }
  return left;
}

interface Report {
  sweepId: string;
  runs: Run[];
  table: {
    combo: string;
    knn: number;
    accuracy: Record<string, number>;
    scratch: Record<string, number>;
    gain: Record<string, number>;
  }[];
}

test('images → sweep → table; then up again, with the same numbers, and Ctrl-C leaves nothing behind', async () => {
  // 1 % of 100 images of a class is one label.
  await writeImageFolder(path.join(dir, 'images', 'stripes'), { classes: 4, perClass: 150, size: 16 });
  const out = path.join(dir, 'r.json');
  const first = loom('demo', '--quick', '--dataset', path.join(dir, 'images', 'stripes'), '--out', out);
  expect(await first.exit, first.output()).toBe(0);
  const report = JSON.parse(await readFile(out, 'utf8')) as Report;
  expect(report.runs).toHaveLength(1 + 3 + 8 + 1);
  expect(report.runs.every(({ status }) => status === 'succeeded')).toBe(true);
  expect(report.table.map(({ combo }) => combo)).toEqual([
    'crop+flip',
    'crop+flip+colorJitter+grayscale',
    'flip+colorJitter+grayscale',
  ]);
  for (const row of report.table)
    for (const field of ['accuracy', 'scratch', 'gain'] as const)
      expect(Object.keys(row[field])).toEqual(['0.01', '0.1']);
  // Also where it is root that started all this.
  if (othersMayRead(import.meta.filename))
    expect(await readFile(path.join(dir, 'state', 'logs', 'worker-1.log'), 'utf8')).not.toContain(
      'trainers run as the user',
    );
  expect(first.output()).toMatch(/combination +kNN +accuracy 1 % +accuracy 10 %/);
  if (process.platform === 'linux') expect(await processesLeft()).toEqual([]);

  const port = await freePort();
  const second = loom('up', '--port', String(port));
  const client = new LoomClient({ url: `http://127.0.0.1:${port}` });
  await eventually(
    async () => {
      if (!(await client.ready())) throw new Error(second.output());
    },
    { timeoutMs: 60_000 },
  );
  const table: SweepTable = await client.sweepResults(report.sweepId);
  expect(table.rows.map(({ combo, knn, accuracy }) => [combo, knn!.mean, accuracy['0.01']!.mean])).toEqual(
    report.table.map(({ combo, knn, accuracy }) => [combo, knn, accuracy['0.01']]),
  );
  for (const { id, result } of report.runs) expect((await client.run(id)).result).toEqual(result);
  await eventually(() => {
    expect(second.output()).toContain('is up at');
  });
  second.child.kill('SIGINT');
  expect(await second.exit).toBe(0);
  if (process.platform === 'linux') expect(await processesLeft()).toEqual([]);
}, 240_000);
