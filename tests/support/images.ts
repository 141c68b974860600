import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import { Random } from '#libs/data';

/**
 * A folder of real JPEGs in class folders that a small network can tell apart: each class has a colour and a direction of
 * stripes, with noise on both.
 */
export async function writeImageFolder(folder: string, { classes, perClass, size = 16, seed = 0 }: { classes: number; perClass: number; size?: number; seed?: number }): Promise<void> {
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
          for (let c = 0; c < 3; c++) pixels[(y * size + x) * 3 + c] = Math.min(255, Math.max(0, 200 * wave * (c === label % 3 ? 1 : 0.5) + random.normal(20, 15)));
        }
      }
      await writeFile(path.join(dir, `${String(n).padStart(4, '0')}.jpg`), await sharp(pixels, { raw: { width: size, height: size, channels: 3 } }).jpeg({ quality: 92 }).toBuffer());
    }
  }
}
