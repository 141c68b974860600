/** What is made from the sources: the Prisma client and the build. */
import { existsSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { hash, isDone, markDone, modules, node, read, root, run, say, seconds } from './step.mjs';

export async function generatePrismaClient() {
  const key = hash(
    await read(path.join(root, 'prisma', 'schema.prisma')),
    await read(path.join(modules, 'prisma', 'package.json')),
  );
  if (existsSync(path.join(root, 'libs', 'platform', 'src', 'generated', 'client.ts')) && (await isDone('prisma', key)))
    return;
  await run(node(), [path.join(modules, 'prisma', 'build', 'index.js'), 'generate'], { label: 'prisma generate' });
  await markDone('prisma', key);
}

async function sourcesKey(folder, skip = new Set(['node_modules', 'generated'])) {
  const lines = [];
  const visit = async (dir) => {
    for (const entry of (await readdir(dir, { withFileTypes: true }).catch(() => [])).sort((a, b) =>
      a.name < b.name ? -1 : 1,
    )) {
      const file = path.join(dir, entry.name);
      if (entry.isDirectory()) {
        if (!skip.has(entry.name)) await visit(file);
      } else {
        const { mtimeMs, size } = await stat(file);
        lines.push(`${file} ${mtimeMs} ${size}`);
      }
    }
  };
  await visit(path.join(root, folder));
  return lines.join('\n');
}

export async function build() {
  const folders = ['apps', 'libs', 'bench', 'tests/learning'];
  const key = hash(
    ...(await Promise.all(folders.map((folder) => sourcesKey(folder)))),
    await read(path.join(root, 'scripts', 'build.mjs')),
    await read(path.join(root, 'scripts', 'bundle.mjs')),
    await read(path.join(root, 'tsconfig.build.json')),
    await read(path.join(root, 'tsconfig.json')),
    await read(path.join(root, 'prisma', 'schema.prisma')),
  );
  if (existsSync(path.join(root, 'dist', 'apps')) && (await isDone('build', key))) return;
  const started = performance.now();
  await run(node(), [path.join(root, 'scripts', 'build.mjs')], { label: 'building' });
  await markDone('build', key);
  say(`built in ${seconds(started)}`);
}
