/** A process of which many are started is put into one file: to find 2,400 modules was most of its start. */
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { rolldown } from 'rolldown';

/**
 * Replaces what the compiler made of a process's `main.js` by a file that holds all that it imports. Modules that are
 * loaded as files of their own, from beside those that name them, are given in `beside`, by their names.
 */
export async function bundle(main, beside = {}) {
  const build = await rolldown({
    input: { main, ...beside },
    platform: 'node',
    // An addon is found from its package's folder.
    external: ['msgpackr-extract'],
    // What Nest loads only where somebody has installed it stays an import. The compiler has seen all of ours.
    logLevel: 'silent',
  });
  await build.write({
    dir: path.dirname(main),
    format: 'esm',
    // Nest, and errors, say what classes are called.
    keepNames: true,
    entryFileNames: '[name].js',
    chunkFileNames: 'main-[name].js',
  });
  await build.close();
  await rm(`${main}.map`);
}
