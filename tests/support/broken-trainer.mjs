/** A trainer that breaks its protocol, each run in the way that its name in TEST_BREAKS says of its seed. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';

const ways = JSON.parse(process.env.TEST_BREAKS);
const say = (message) => process.send(message);
const end = (metrics = {}) => process.send({ type: 'succeeded', result: { metrics } }, () => process.exit(0));

process.on('disconnect', () => process.exit(1));
process.on('message', ({ type, spec, workDir }) => {
  if (type === 'stored') end();
  if (type !== 'start') return;
  say({ type: 'progress', step: 1, totalSteps: 2 });
  const artifact = (file) =>
    say({ type: 'artifact', id: 1, name: 'model', kind: 'model', mime: 'text/plain', path: file, step: 1 });
  const acts = {
    null: () => say(null),
    // A length that nobody sends, as the one format reads it, and no JSON, as the other does.
    garbage: () => writeSync(3, Buffer.from('\0\0\0\u0004{"n\n\n', 'latin1')),
    stopped: () => process.send({ type: 'stopped', reason: 'drain', step: 1 }, () => process.exit(0)),
    fifo: () => {
      const file = path.join(workDir, 'model');
      spawnSync('mkfifo', [file]);
      artifact(file);
    },
    nan: () => end({ 'test/loss': Number.NaN, 'test/accuracy': 0.5 }),
    child: () => {
      const child = spawn('sleep', ['600'], { stdio: 'ignore' });
      writeFileSync(process.env.TEST_CHILD, String(child.pid));
      end();
    },
    surrogate: () => {
      say({ type: 'log', level: 'info', message: 'a lone \ud83d half, and a \0' });
      say({ type: 'log', level: 'info', message: 'a title \u001b]0;owned\u0007 and a \u009b2J' });
      process.send({ type: 'failed', reason: 'invalid_data', message: 'last words with a \udc00 half' }, () =>
        process.exit(0),
      );
    },
    // When it is told to, by a file.
    stores: () => {
      const timer = setInterval(() => {
        if (!existsSync(process.env.TEST_STORES)) return;
        clearInterval(timer);
        writeFileSync(path.join(workDir, 'model'), 'a model');
        artifact(path.join(workDir, 'model'));
      }, 20);
    },
    waits: () => setInterval(() => undefined, 1000),
    ends: () => end(),
  };
  acts[ways[spec.seed] ?? 'ends']();
});
say({ type: 'ready', device: 'cpu' });
