/** The binding of Node to TensorFlow. */
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rename } from 'node:fs/promises';
import path from 'node:path';
import { sharedCache } from './shared-cache.mjs';
import { hash, isDone, markDone, Missing, modules, onPath, platform, run, say, seconds } from './step.mjs';

/** tfjs-node-gpu's Node-API binding, compiled against that library and kept beside it. */
export async function compileBinding(tensorflow) {
  const folder = path.join(modules, '@tensorflow', 'tfjs-node-gpu');
  const sources = (await readdir(path.join(folder, 'binding'))).filter((name) => /\.(cc|h)$/.test(name)).sort();
  const key = hash(
    tensorflow,
    platform,
    ...(await Promise.all(sources.map((name) => readFile(path.join(folder, 'binding', name))))),
  );
  const cache = sharedCache();
  const compiled = path.join(cache, `binding-${key.slice(0, 16)}.node`);
  const target = path.join(folder, 'lib', 'napi-v8', 'tfjs_binding.node');
  if (existsSync(target) && (await isDone('binding', key))) return;
  if (!existsSync(compiled)) {
    const compiler = process.env.CXX || ['g++', 'c++', 'clang++'].find(onPath);
    if (!compiler)
      throw new Missing(
        'A C++ compiler is missing, which links TensorFlow to Node: install one (Debian and Ubuntu: `sudo apt-get ' +
          'install g++`) and run the command again.',
      );
    const started = performance.now();
    say('compiling the TensorFlow binding …');
    const draft = `${compiled}.${process.pid}`;
    await mkdir(cache, { recursive: true });
    await run(
      compiler,
      [
        '-O2',
        '-std=c++17',
        '-fPIC',
        '-shared',
        '-DNAPI_VERSION=8',
        '-I..',
        `-I${path.join(tensorflow, 'include')}`,
        '-I.',
        `-I${path.join(modules, 'node-api-headers', 'include')}`,
        'binding/tfjs_backend.cc',
        'binding/tfjs_binding.cc',
        '-o',
        draft,
        `-L${tensorflow}`,
        '-l:libtensorflow_cc.so.2',
        '-l:libtensorflow_framework.so.2',
        `-Wl,-rpath,${tensorflow}`,
      ],
      { cwd: folder, label: 'compiling' },
    );
    await rename(draft, compiled);
    say(`binding compiled in ${seconds(started)}`);
  }
  await mkdir(path.dirname(target), { recursive: true });
  await copyFile(compiled, `${target}.${process.pid}`);
  await rename(`${target}.${process.pid}`, target);
  await markDone('binding', key);
}
