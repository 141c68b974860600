/** The TensorFlow library, from wheels that are checked: kept once for all checkouts. */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, statfs } from 'node:fs/promises';
import path from 'node:path';
import { driverAnswers } from './nvidia.mjs';
import { adopt, sharedCache } from './shared-cache.mjs';
import { answers, Missing, platform, run, say, seconds } from './step.mjs';

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

async function sha256Of(file) {
  const h = createHash('sha256');
  for await (const chunk of createReadStream(file)) h.update(chunk);
  return h.digest('hex');
}

/** Which of the runtimes: CUDA's where a driver answers, unless LOOM_TENSORFLOW says. */
function wantedRuntime() {
  const kind = process.env.LOOM_TENSORFLOW || (driverAnswers() ? 'cuda' : 'cpu');
  if (kind !== 'cpu' && kind !== 'cuda')
    throw new Missing(`LOOM_TENSORFLOW is ${kind}: set it to cpu or cuda, or unset it.`);
  return `${kind}-${platform}`;
}

/** The folder that LIBTENSORFLOW_DIR names. */
function ownLibrary() {
  const own = path.resolve(process.env.LIBTENSORFLOW_DIR);
  const isLibrary =
    existsSync(path.join(own, 'libtensorflow_cc.so.2')) && existsSync(path.join(own, 'include', 'tensorflow', 'c'));
  if (isLibrary) return own;
  throw new Missing(
    `LIBTENSORFLOW_DIR (${own}) does not hold libtensorflow_cc.so.2 and include/tensorflow/c: name the ` +
      '`tensorflow` folder of an unpacked wheel, or unset it.',
  );
}

/** The folder with libtensorflow and its headers. */
export async function installTensorFlow() {
  if (process.env.LIBTENSORFLOW_DIR) return ownLibrary();
  const kind = wantedRuntime();
  const runtime = RUNTIMES[kind];
  if (!runtime)
    throw new Missing(
      `There is no TensorFlow wheel pinned for ${kind}: set LIBTENSORFLOW_DIR to the \`tensorflow\` folder of an ` +
        `installed TensorFlow ${TENSORFLOW}.`,
    );
  const cache = sharedCache();
  const target = path.join(cache, `tensorflow-${TENSORFLOW}-${kind}`);
  const library = path.join(target, 'tensorflow');
  await adopt(target);
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
keep = (
    'tensorflow/libtensorflow_cc.so.2', 'tensorflow/libtensorflow_framework.so.2', 'tensorflow/include/tensorflow/c/',
    'tensorflow/include/tensorflow/core/platform/', 'tensorflow/include/xla/tsl/', 'tensorflow/include/tsl/')
with zipfile.ZipFile(sys.argv[1]) as wheel:
    wanted = lambda name: name.startswith(keep) or name.startswith('nvidia/') and '.so' in name
    wheel.extractall(sys.argv[2], [name for name in wheel.namelist() if wanted(name)])
`;
