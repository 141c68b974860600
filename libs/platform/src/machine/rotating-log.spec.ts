import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { RotatingLog } from './rotating-log.js';

let dir: string;
let file: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-log-'));
  file = path.join(dir, 'api.log');
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const numbered = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => `line ${String(from + i).padStart(6, '0')}\n`).join('');

test('a flood leaves files of bounded size and number, the newest lines in them, each whole', async () => {
  const log = new RotatingLog(file, 1000);
  const lines = numbered(0, 5000);
  // Pieces that end anywhere, as those of a pipe do.
  for (let at = 0; at < lines.length; at += 777) log.write(Buffer.from(lines.slice(at, at + 777)));
  const names = (await readdir(dir)).sort();
  expect(names).toEqual(['api.log', 'api.log.1', 'api.log.2', 'api.log.3']);
  for (const name of names) expect((await stat(path.join(dir, name))).size).toBeLessThanOrEqual(1000 + 12);
  const kept = (await Promise.all(names.toReversed().map((name) => readFile(path.join(dir, name), 'utf8')))).join('');
  expect(kept.length).toBeGreaterThan(3000);
  expect(lines.endsWith(kept)).toBe(true);
  expect(kept.startsWith('line ')).toBe(true);
});

test('one piece larger than all files is cut at its lines; a line without an end is bounded too', async () => {
  const log = new RotatingLog(file, 1000);
  log.write(Buffer.from(numbered(0, 1000)));
  expect((await stat(`${file}.1`)).size).toBeLessThanOrEqual(1000 + 12);
  for (let i = 0; i < 100; i++) log.write(Buffer.alloc(500, 'x'));
  for (const name of await readdir(dir)) expect((await stat(path.join(dir, name))).size).toBeLessThanOrEqual(2500);
});

test('what was there is gone on with, or put aside; a folder that is gone costs lines and ends nothing', async () => {
  new RotatingLog(file).write(Buffer.from('first\n'));
  const log = new RotatingLog(file);
  log.write(Buffer.from('second\n'));
  expect(await readFile(file, 'utf8')).toBe('first\nsecond\n');
  log.begin();
  log.write(Buffer.from('third\n'));
  expect(await readFile(file, 'utf8')).toBe('third\n');
  expect(await readFile(`${file}.1`, 'utf8')).toBe('first\nsecond\n');
  await rm(dir, { recursive: true });
  log.write(Buffer.from('lost\n'));
});
