import type { TrainerMessage } from '#libs/contracts';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TrainerProcess } from './trainer-process.js';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-trainer-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** Waits so long after it was told to begin, says its last word, and leaves as soon as that is handed over. */
const leavingAfter = (ms: number): string => `
const say = (message) => new Promise((resolve) => process.send(message, undefined, {}, resolve));
const leave = () => say({ type: 'succeeded', result: { metrics: {} } }).then(() => process.exit(0));
process.on('message', () => setTimeout(leave, ${ms}));
await say({ type: 'ready', device: 'cpu' });
`;
const busyFor = (ms: number): void => {
  for (const begun = performance.now(); performance.now() - begun < ms;);
};

test('what a process said before it left is heard before it counts as gone, also where others end too', async () => {
  const start = async (name: string, ms: number) => {
    const program = path.join(dir, `${name}.mjs`);
    await writeFile(program, leavingAfter(ms));
    const trainer = new TrainerProcess({ PATH: process.env['PATH'] }, { program });
    await trainer.ready;
    const heard: TrainerMessage['type'][] = [];
    trainer.onMessage(({ type }) => heard.push(type));
    return { trainer, heard };
  };
  const [first, late] = [await start('first', 0), await start('late', 700)];
  // The first's last word comes together with its end; while that is heard the other speaks and leaves.
  first.trainer.onMessage(({ type }) => {
    first.heard.push(type);
    busyFor(900);
  });
  for (const { trainer } of [first, late]) trainer.send({ type: 'stop', reason: 'drain' });
  await new Promise(setImmediate);
  busyFor(500);
  await Promise.all(
    [first, late].map(async ({ trainer, heard }) => {
      expect(await trainer.exited).toEqual({ code: 0, signal: null });
      expect(heard).toEqual(['succeeded']);
    }),
  );
});

test('files are decoded by as many threads as a trainer may use, at least four, or as many as it is told', async () => {
  const program = path.join(dir, 'pool.mjs');
  await writeFile(
    program,
    `process.send({ type: 'log', level: 'info', message: process.env.UV_THREADPOOL_SIZE });
process.send({ type: 'ready', device: 'cpu' }, undefined, {}, () => process.exit(0));`,
  );
  const poolOf = async (environment: NodeJS.ProcessEnv) => {
    const trainer = new TrainerProcess({ PATH: process.env['PATH'], ...environment }, { program });
    const said: string[] = [];
    trainer.onMessage((message) => said.push(...(message.type === 'log' ? [message.message] : [])));
    await trainer.exited;
    return said;
  };
  expect(await poolOf({ LOOM_TRAINER_THREADS: '9' })).toEqual(['9']);
  expect(await poolOf({ LOOM_TRAINER_THREADS: '1' })).toEqual(['4']);
  expect(await poolOf({ LOOM_TRAINER_THREADS: '9', UV_THREADPOOL_SIZE: '6' })).toEqual(['6']);
});
