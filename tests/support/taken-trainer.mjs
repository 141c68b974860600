/**
 * A trainer that was taken over by the data that it decodes. What it tries is the name of its run's dataset; what came
 * of it are its last words.
 */
import { spawn } from 'node:child_process';
import {
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';

const tried = (act) => {
  try {
    act();
    return 'done';
  } catch (error) {
    return error.code ?? error.message;
  }
};
const worker = process.ppid;

/** Reads a page of the worker's memory, where it says that there is one. */
function readMemory() {
  const [, start] = /^([0-9a-f]+)-[0-9a-f]+ r/m.exec(readFileSync(`/proc/${worker}/maps`, 'utf8'));
  readSync(openSync(`/proc/${worker}/mem`, 'r'), Buffer.alloc(16), 0, 16, Number.parseInt(start, 16));
}

const acts = {
  look: ({ workDir }) => {
    const store = path.resolve(workDir, '../../..');
    return {
      uid: process.getuid(),
      environment: tried(() => readFileSync(`/proc/${worker}/environ`)),
      memory: tried(readMemory),
      descriptors: tried(() => readdirSync(`/proc/${worker}/fd`)),
      inherited: tried(() => openSync(`/proc/${worker}/fd/0`, 'r')),
      signal: tried(() => process.kill(worker, 0)),
      // Opened and left as it is: other runs need it.
      store: tried(() => openSync(path.join(store, 'store-id'), 'r+')),
      artifacts: tried(() => mkdirSync(path.join(store, 'sha256', 'zz'), { recursive: true })),
      others: tried(() => mkdirSync(path.join(workDir, '..', 'another'))),
      code: tried(() => writeFileSync(path.join(process.env.NODE_COMPILE_CACHE, 'x'), 'x')),
      own: tried(() => writeFileSync(path.join(workDir, 'x'), 'x')),
    };
  },
  // Out of the process group, and no child of anybody here.
  daemon: () => ({ pid: spawn('setsid', ['--fork', 'sh', '-c', 'sleep 600 & sleep 600'], { stdio: 'ignore' }).pid }),
};
/** Has the worker store what it could read and the trainer could not. */
const thefts = {
  path: () => process.env.TEST_SECRET,
  link: ({ workDir }) => {
    symlinkSync(path.dirname(process.env.TEST_SECRET), path.join(workDir, 'folder'));
    return path.join(workDir, 'folder', path.basename(process.env.TEST_SECRET));
  },
  hardlink: ({ workDir }) => {
    linkSync(process.env.TEST_SECRET, path.join(workDir, 'hard'));
    return path.join(workDir, 'hard');
  },
};

process.on('message', (command) => {
  if (command.type !== 'start') return;
  const name = command.spec.name;
  if (thefts[name]) {
    const artifact = { id: 1, name: 'loot', kind: 'report', mime: 'text/plain', step: null };
    let file = '/nonexistent';
    const came = tried(() => (file = thefts[name](command)));
    if (came !== 'done') return process.send({ type: 'failed', reason: 'invalid_data', message: came });
    return process.send({ type: 'artifact', ...artifact, path: file });
  }
  const found = acts[name](command);
  if (process.env.TEST_STAYS) return;
  // What it has started is under way.
  setTimeout(
    () =>
      process.send({ type: 'failed', reason: 'invalid_data', message: JSON.stringify(found) }, () => process.exit(0)),
    300,
  );
});
process.on('disconnect', () => process.exit(0));
// As drivers might that know nothing of namespaces.
if (process.env.TEST_NEEDS_USER && readFileSync('/proc/self/uid_map', 'utf8') === '') process.exit(1);
process.send({ type: 'ready', device: 'cpu' });
