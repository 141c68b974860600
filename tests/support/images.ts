import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import { Random } from '#libs/data';
import { wavOf } from './sources.js';

/**
 * A folder of real JPEGs in class folders that a small network can tell apart: each class has a colour and a direction
 * of stripes, with noise on both.
 */
export async function writeImageFolder(
  folder: string,
  { classes, perClass, size = 16, seed = 0 }: { classes: number; perClass: number; size?: number; seed?: number },
): Promise<void> {
  const random = Random.seeded(seed, 'images');
  for (let label = 0; label < classes; label++) {
    const dir = path.join(folder, `class${label}`);
    await mkdir(dir, { recursive: true });
    const angle = (Math.PI * label) / classes;
    for (let n = 0; n < perClass; n++) {
      const phase = random.uniform(0, 2 * Math.PI);
      const pixels = Buffer.alloc(size * size * 3);
      for (let y = 0; y < size; y++) {
        for (let x = 0; x < size; x++) {
          const wave = 0.5 + 0.5 * Math.sin(phase + x * Math.cos(angle) + y * Math.sin(angle));
          for (let c = 0; c < 3; c++)
            pixels[(y * size + x) * 3 + c] = Math.min(
              255,
              Math.max(0, 200 * wave * (c === label % 3 ? 1 : 0.5) + random.normal(20, 15)),
            );
        }
      }
      await writeFile(
        path.join(dir, `${String(n).padStart(4, '0')}.jpg`),
        await sharp(pixels, { raw: { width: size, height: size, channels: 3 } })
          .jpeg({ quality: 92 })
          .toBuffer(),
      );
    }
  }
}

/**
 * Half-second tones of three pitches by four "speakers" of their own loudness, as WAV files
 * `<pitch>_<speaker>_<n>.wav`.
 */
export async function writeTones(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const random = Random.seeded(1, 'tones');
  const rate = 4000;
  for (const [label, hertz] of [
    ['low', 300],
    ['middle', 700],
    ['high', 1400],
  ] as const) {
    for (let speaker = 0; speaker < 4; speaker++) {
      for (let n = 0; n < 8; n++) {
        const samples = Int16Array.from(
          { length: rate / 2 },
          (_, i) => 6000 * (1 + speaker) * Math.sin((2 * Math.PI * hertz * i) / rate + n) + random.normal(0, 300),
        );
        await writeFile(path.join(folder, `${label}_s${speaker}_${n}.wav`), wavOf(samples, rate));
      }
    }
  }
}

/**
 * A bright square on a dark ground: images/ as JPEG, masks/ as grey PNG of 0 (ground), 1 (square) and 9 (its edge: no
 * class).
 */
export async function writeScenes(folder: string): Promise<void> {
  const random = Random.seeded(2, 'scenes');
  const [height, width] = [24, 32];
  for (const sub of ['images', 'masks']) await mkdir(path.join(folder, sub), { recursive: true });
  for (let n = 0; n < 60; n++) {
    const [top, left, side] = [random.integer(1, 10), random.integer(1, 18), random.integer(6, 12)];
    const inside = (y: number, x: number, border: number) =>
      y >= top - border && y < top + side + border && x >= left - border && x < left + side + border;
    const mask = Buffer.from(
      Uint8Array.from({ length: height * width }, (_, i) => {
        const [y, x] = [Math.floor(i / width), i % width];
        if (inside(y, x, -1)) return 1;
        return inside(y, x, 1) ? 9 : 0;
      }),
    );
    const pixels = Buffer.from(
      Uint8Array.from({ length: height * width * 3 }, (_, i) => {
        const place = Math.floor(i / 3);
        return Math.min(
          255,
          Math.max(0, (inside(Math.floor(place / width), place % width, 0) ? 190 : 70) + random.normal(0, 20)),
        );
      }),
    );
    const name = String(n).padStart(3, '0');
    await writeFile(
      path.join(folder, 'images', `${name}.jpg`),
      await sharp(pixels, { raw: { width, height, channels: 3 } })
        .jpeg({ quality: 95 })
        .toBuffer(),
    );
    await writeFile(
      path.join(folder, 'masks', `${name}.png`),
      await sharp(mask, { raw: { width, height, channels: 1 } })
        .png()
        .toColourspace('b-w')
        .toBuffer(),
    );
  }
}
