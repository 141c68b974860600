#!/usr/bin/env node
/** Sources → dist/, the dashboard → web-dist/. Type errors fail the build. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { bundle } from './bundle.mjs';
import { compressFiles } from './compress.mjs';

const root = path.resolve(import.meta.dirname, '..');
const module = (...parts) => path.join(root, 'node_modules', ...parts);
const run = (...args) => {
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
};

run(module('ts-native', 'bin', 'tsc'), '-p', 'tsconfig.build.json');
const built = (...parts) => path.join(root, 'dist', ...parts);
await bundle(built('apps', 'api', 'src', 'main.js'), {
  'random-forest-thread': built('libs', 'search', 'src', 'random-forest-thread.js'),
});
await bundle(built('apps', 'worker', 'src', 'main.js'));
await bundle(built('apps', 'worker', 'src', 'trainer.js'), {
  'parquet-thread': built('libs', 'data', 'src', 'parquet-thread.js'),
});
if (existsSync(path.join(root, 'apps', 'web', 'vite.config.ts'))) {
  run(module('vite', 'bin', 'vite.js'), 'build', '--config', 'apps/web/vite.config.ts', '--logLevel', 'warn');
  await compressFiles(path.join(root, 'web-dist'));
  // After that: it is put into files as it is.
  run(module('vite', 'bin', 'vite.js'), 'build', '--config', 'apps/web/vite.report.config.ts', '--logLevel', 'warn');
}
