/** The bindings of Node to TensorFlow: tfjs-node's, and ours to sessions (libs/tensorflow/native). */
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rename } from 'node:fs/promises';
import path from 'node:path';
import { sharedCache } from './shared-cache.mjs';
import { hash, isDone, markDone, Missing, modules, onPath, platform, root, run, say, seconds } from './step.mjs';

const native = path.join(root, 'libs', 'tensorflow', 'native');

/** By the name of each binding, its sources. */
const sourcesOf = (folder) => ({
  tfjs_binding: ['tfjs_backend.cc', 'tfjs_binding.cc'].map((name) => path.join(folder, 'binding', name)),
  loom_session: [
    ...['graph', 'session', 'operations', 'threads'],
    ...['winograd', 'filtering-avx2', 'filtering-avx512'],
  ].map((name) => path.join(native, `${name}.cc`)),
});

const headersIn = async (folder) =>
  (await readdir(folder))
    .filter((name) => name.endsWith('.h'))
    .sort()
    .map((name) => path.join(folder, name));

/** Node-API bindings, compiled against that library and kept beside it. */
export async function compileBinding(tensorflow) {
  const folder = path.join(modules, '@tensorflow', 'tfjs-node-gpu');
  const headers = (await Promise.all([path.join(folder, 'binding'), native].map(headersIn))).flat();
  const bindings = sourcesOf(folder);
  const read = [...headers, ...Object.values(bindings).flat()];
  const key = hash(tensorflow, platform, ...(await Promise.all(read.map((file) => readFile(file)))));
  const cache = sharedCache();
  const targetOf = (name) => path.join(folder, 'lib', 'napi-v8', `${name}.node`);
  const isThere = Object.keys(bindings).every((name) => existsSync(targetOf(name)));
  if (isThere && (await isDone('binding', key))) return;
  // Side by side: a compiler has one core.
  await Promise.all(
    Object.entries(bindings).map(async ([name, sources]) => {
      const compiled = path.join(cache, `${name}-${key.slice(0, 16)}.node`);
      if (!existsSync(compiled)) {
        const started = performance.now();
        say(`compiling ${name} …`);
        const draft = `${compiled}.${process.pid}`;
        await mkdir(cache, { recursive: true });
        await compile(tensorflow, folder, sources, draft);
        await rename(draft, compiled);
        say(`${name} compiled in ${seconds(started)}`);
      }
      const target = targetOf(name);
      await mkdir(path.dirname(target), { recursive: true });
      await copyFile(compiled, `${target}.${process.pid}`);
      await rename(`${target}.${process.pid}`, target);
    }),
  );
  await markDone('binding', key);
}

/** @throws Missing where there is no compiler */
async function compile(tensorflow, folder, sources, output) {
  const compiler = process.env.CXX || ['g++', 'c++', 'clang++'].find(onPath);
  if (!compiler)
    throw new Missing(
      'A C++ compiler is missing, which links TensorFlow to Node: install one (Debian and Ubuntu: `sudo apt-get ' +
        'install g++`) and run the command again.',
    );
  await run(
    compiler,
    [
      // Loops over registers are unrolled: GCC leaves them as they are for less.
      '-O3',
      '-std=c++17',
      '-fPIC',
      '-shared',
      '-DNAPI_VERSION=8',
      '-I..',
      `-I${path.join(tensorflow, 'include')}`,
      '-I.',
      `-I${path.join(modules, 'node-api-headers', 'include')}`,
      ...sources,
      '-o',
      output,
      `-L${tensorflow}`,
      '-l:libtensorflow_cc.so.2',
      '-l:libtensorflow_framework.so.2',
      `-Wl,-rpath,${tensorflow}`,
    ],
    { cwd: folder, label: 'compiling' },
  );
}
