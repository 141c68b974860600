/** A process of which many are started is put into one file: to find 2,400 modules was most of its start. */
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { rolldown } from 'rolldown';

/**
 * Replaces what the compiler made of a process, `main`, by a file that holds all that it imports. Modules that are
 * loaded as files of their own, from beside those that name them, are given in `beside`, by their names.
 */
export async function bundle(main, beside = {}) {
  const name = path.basename(main, '.js');
  const build = await rolldown({
    input: { [name]: main, ...beside },
    platform: 'node',
    // Addons are found from their packages' folders; tfjs has to be there once, for us and for its own packages.
    external: ['msgpackr-extract', /^@tensorflow\//],
    // What Nest loads only where somebody has installed it stays an import. The compiler has seen all of ours.
    logLevel: 'silent',
  });
  await build.write({
    dir: path.dirname(main),
    format: 'esm',
    // Nest, and errors, say what classes are called.
    keepNames: true,
    entryFileNames: '[name].js',
    chunkFileNames: `${name}-[name].js`,
  });
  await build.close();
  await rm(`${main}.map`);
}
