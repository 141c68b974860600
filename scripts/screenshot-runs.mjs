/**
 * What pictures of the dashboard show: small pictures, sounds and scenes that are made here, and short runs of every
 * kind on them.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import { drawnResNet, writeTensorsTo } from '../tests/support/safetensors.ts';

/** Numbers in [0, 1) that are the same each time (Park and Miller 1988). */
function drawn(seed) {
  let state = seed;
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
}

const SIDE = 32;
const SHAPES = {
  circle: '<circle r="9"/>',
  cross: '<path d="M-3-9h6v6h6v6h-6v6h-6v-6h-6v-6h6z"/>',
  ring: '<circle r="7" fill="none" stroke-width="4"/>',
  square: '<rect x="-8" y="-8" width="16" height="16"/>',
  star: '<path d="M0-10 2.9-3.1 10-3.1 4.4 1.3 6.2 8.6 0 4.2-6.2 8.6-4.4 1.3-10-3.1-2.9-3.1z"/>',
  triangle: '<path d="M0-10 9 7H-9z"/>',
};

async function writeShapes(folder) {
  const random = drawn(7);
  for (const [name, shape] of Object.entries(SHAPES)) {
    await mkdir(path.join(folder, name), { recursive: true });
    for (let n = 0; n < 80; n++) {
      const hue = 360 * random();
      const colour = `hsl(${(hue + 120 + 120 * random()).toFixed(0)} 75% ${(45 + 25 * random()).toFixed(0)}%)`;
      const place = `translate(${12 + 8 * random()} ${12 + 8 * random()}) rotate(${360 * random()}) scale(${0.7 + 0.5 * random()})`;
      const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${SIDE}" height="${SIDE}">
        <rect width="100%" height="100%" fill="hsl(${hue.toFixed(0)} 35% 22%)"/>
        <g transform="${place}" fill="${colour}" stroke="${colour}" stroke-width="0">${shape}</g></svg>`;
      const file = path.join(folder, name, `${name}-${String(n).padStart(2, '0')}.png`);
      await sharp(Buffer.from(svg)).removeAlpha().png().toFile(file);
    }
  }
}

const RATE = 4000;

/** Half a second of a tone with overtones, louder and softer, in some noise: `LABEL_SPEAKER_N.wav`. */
async function writeTones(folder) {
  const random = drawn(11);
  await mkdir(folder, { recursive: true });
  for (const [label, hertz] of Object.entries({ low: 300, middle: 700, high: 1400 }))
    for (let speaker = 0; speaker < 4; speaker++)
      for (let n = 0; n < 8; n++) {
        const [pitch, phase] = [hertz * (0.95 + 0.1 * random()), 6.28 * random()];
        const samples = Int16Array.from({ length: RATE / 2 }, (_, i) => {
          const [turn, envelope] = [(2 * Math.PI * pitch * i) / RATE + phase, Math.sin((Math.PI * i) / (RATE / 2))];
          return 9000 * envelope * (Math.sin(turn) + 0.4 * Math.sin((1 + speaker / 4) * turn)) + 900 * (random() - 0.5);
        });
        const head = Buffer.alloc(44);
        head.write('RIFF', 0);
        head.writeUInt32LE(36 + samples.byteLength, 4);
        head.write('WAVEfmt ', 8);
        head.writeUInt32LE(16, 16);
        for (const [at, value] of Object.entries({ 20: 1, 22: 1, 32: 2, 34: 16 }))
          head.writeUInt16LE(value, Number(at));
        head.writeUInt32LE(RATE, 24);
        head.writeUInt32LE(2 * RATE, 28);
        head.write('data', 36);
        head.writeUInt32LE(samples.byteLength, 40);
        const file = path.join(folder, `${label}_s${speaker}_${n}.wav`);
        await writeFile(file, Buffer.concat([head, Buffer.from(samples.buffer)]));
      }
}

/** Discs and squares on a noisy ground, with masks that say which pixels are which. */
async function writeScenes(folder) {
  const random = drawn(13);
  const [width, height] = [48, 32];
  for (const part of ['images', 'masks']) await mkdir(path.join(folder, part), { recursive: true });
  for (let n = 0; n < 60; n++) {
    const disc = `cx="${10 + 12 * random()}" cy="${9 + 14 * random()}" r="${5 + 4 * random()}"`;
    const square = `x="${26 + 8 * random()}" y="${3 + 14 * random()}" width="12" height="12"`;
    const layer = (ground, first, second) =>
      Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" shape-rendering="crispEdges">
        <rect width="100%" height="100%" fill="${ground}"/><circle ${disc} fill="${first}"/>
        <rect ${square} fill="${second}"/></svg>`);
    const hue = 360 * random();
    const colours = [`hsl(${hue} 30% 30%)`, `hsl(${hue + 120} 60% 60%)`, `hsl(${hue + 220} 60% 55%)`];
    const name = `${String(n).padStart(2, '0')}.png`;
    await sharp(layer(...colours))
      .removeAlpha()
      .png()
      .toFile(path.join(folder, 'images', name));
    const { data } = await sharp(layer('#000000', '#010101', '#020202'))
      .removeAlpha()
      .extractChannel(0)
      .raw()
      .toBuffer({ resolveWithObject: true });
    await sharp(data, { raw: { width, height, channels: 1 } })
      .toColourspace('b-w')
      .png()
      .toFile(path.join(folder, 'masks', name));
  }
}

const network = { encoder: { name: 'small-resnet', width: 16 }, batchSize: 64 };
const learning = { optimizer: { name: 'adam', learningRate: 0.004 }, temperature: 0.1 };

/** Writes the data into the data root of the API at `url`, and has it trained on; resolves when all but one has ended. */
export async function makeRuns(url, dataRoot) {
  const ask = async (address, body, method = body ? 'POST' : 'GET') => {
    const answer = await fetch(new URL(address, url), {
      method,
      ...(body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    });
    if (!answer.ok) throw new Error(`expected ${address} to be answered, got ${answer.status}: ${await answer.text()}`);
    return answer.json();
  };
  const submit = async (name, spec, more = {}) => (await ask('/v1/runs', { name, spec, ...more })).id;
  const sweep = async (spec) => (await ask('/v1/sweeps', { spec, tags: ['views'] })).id;
  const ended = async () => {
    for (;;) {
      const { counts } = await ask('/v1/runs/counts?status=pending,queued,running,retrying,pausing,paused');
      if (Object.keys(counts).length === 0) break;
      process.stdout.write(`${JSON.stringify(counts)}\n`);
      await new Promise((resolve) => setTimeout(resolve, 3000));
    }
    const { items } = await ask('/v1/runs?status=failed&limit=1');
    if (items.length > 0)
      throw new Error(
        `expected all runs to succeed, ${items[0].name ?? items[0].kind} failed: ${items[0].statusDetail}`,
      );
  };
  await writeShapes(path.join(dataRoot, 'shapes'));
  await writeTones(path.join(dataRoot, 'tones'));
  await writeScenes(path.join(dataRoot, 'scenes'));
  await submit('shapes', { kind: 'prepare-dataset', name: 'shapes', path: 'shapes', imageSize: SIDE });
  await submit('tones', {
    kind: 'prepare-dataset',
    name: 'tones',
    path: 'tones',
    audio: { sampleRate: RATE, seconds: 0.5 },
    fileName: '{label}_{group}_{}',
    holdOut: { val: ['s3'] },
    testFraction: 0,
  });
  await submit('scenes', {
    kind: 'prepare-dataset',
    name: 'scenes',
    path: 'scenes',
    imageSize: { height: 32, width: 48 },
    masks: { classes: ['ground', 'disc', 'square'] },
  });
  const weights = 'resnet18-narrow.safetensors';
  await writeTensorsTo(path.join(dataRoot, weights), drawnResNet([2, 2, 2, 2], false, [8, 3, 3, 3]));
  await submit('weights', { kind: 'import-model', name: 'resnet18-narrow', path: weights, as: 'resnet18' });
  await ended();

  const dataset = 'shapes';
  const pretrain = { kind: 'pretrain', dataset, ...network, ...learning };
  const first = await submit(
    'simclr-crop-jitter',
    { ...pretrain, epochs: 12, augmentation: { crop: {}, flip: {}, colorJitter: {}, grayscale: {} } },
    { tags: ['baseline'] },
  );
  const second = await submit('simclr-crop', { ...pretrain, epochs: 12, augmentation: { crop: {} } });
  const third = await submit('byol-crop-jitter', {
    ...pretrain,
    method: 'byol',
    epochs: 12,
    augmentation: { crop: {}, flip: {}, colorJitter: {}, grayscale: {} },
  });
  const autoencoder = await submit('autoencoder', {
    kind: 'autoencode',
    dataset,
    ...network,
    latent: 16,
    epochs: 14,
    optimizer: learning.optimizer,
  });
  const tuned = await submit('tuned-on-a-tenth', {
    kind: 'finetune',
    dataset,
    from: first,
    labelFraction: 0.1,
    steps: 60,
    batchSize: 16,
  });
  const map = { kind: 'embed', dataset, split: 'train', maxSamples: 480, maps: ['pca', 'umap'] };
  const aligned = await submit('map-of-simclr', { ...map, from: first });
  await submit('map-of-crop', { ...map, from: second, alignTo: aligned });
  await submit('map-of-tuned', { ...map, from: tuned });
  await submit('walk', { kind: 'interpolate', dataset, from: autoencoder, points: 9, samples: 8 });
  await submit('voices', {
    kind: 'autoencode',
    dataset: 'tones',
    encoder: { width: 8 },
    latent: 8,
    batchSize: 24,
    epochs: 20,
  });
  await submit('discs-and-squares', {
    kind: 'finetune',
    task: 'segmentation',
    dataset: 'scenes',
    from: null,
    encoder: { width: 8 },
    batchSize: 8,
    steps: 120,
  });
  await submit('weights-as-they-are', { kind: 'evaluate', dataset, from: 'model resnet18-narrow' });
  const views = await sweep({
    name: 'which-views',
    stages: {
      pretrain: { ...pretrain, epochs: 4 },
      finetune: { kind: 'finetune', dataset, from: 'pretrain', steps: 30, batchSize: 16 },
    },
    augmentations: { pairs: { of: ['crop', 'colorJitter', 'grayscale', 'rotate'] } },
    label_fractions: [0.05, 0.25],
    controls: ['scratch'],
    metric: { name: 'eval/accuracy', goal: 'maximize' },
  });
  await sweep({
    name: 'learning-rates',
    method: 'random',
    run_cap: 9,
    stages: { pretrain: { ...pretrain, epochs: 4 } },
    parameters: {
      'pretrain.optimizer.learningRate': { distribution: 'log_uniform_values', min: 0.0003, max: 0.03 },
      'pretrain.temperature': { distribution: 'uniform', min: 0.05, max: 0.5 },
    },
    metric: { name: 'eval/knn', goal: 'maximize' },
    early_terminate: { type: 'asha', grace_period: 1, reduction_factor: 3 },
  });
  await ended();
  await ask('/v1/reports', {
    title: 'Which views go together',
    blocks: [
      { type: 'text', markdown: '**Three pretrainings** of the same images, and a sweep over their views in pairs.' },
      { type: 'chart', title: 'Nearest neighbours', metric: 'eval/knn', runs: [first, second, third] },
      { type: 'sweep', sweep: views, figure: 'label-efficiency' },
      { type: 'map', run: aligned },
    ],
  });
  // One that goes on while pictures are taken, and what waits for it.
  for (const [name, seed] of Object.entries({ long: 1, 'long-too': 2, 'long-again': 3 }))
    await submit(name, { ...pretrain, epochs: 400, seed });
  await new Promise((resolve) => setTimeout(resolve, 20_000));
}
