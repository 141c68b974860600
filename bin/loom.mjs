#!/usr/bin/env node
/** Starts the command line on the Node that the packages bring: the system's own may be older. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const node = path.join(root, 'node_modules', '.bin', 'node');
const main = path.join(root, 'dist', 'apps', 'cli', 'src', 'main.js');
if (!existsSync(node) || !existsSync(main)) {
  process.stderr.write('loom: this checkout is not set up yet: run `npm run setup` in it first.\n');
  process.exit(1);
}
const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: 'inherit' });
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
child.once('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 143)));
