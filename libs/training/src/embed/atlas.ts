/** Thumbnails of the samples that a map shows, many to a picture. */
import { gatherSamples, inputOf, inputShape, type SampleSplit } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import sharp from 'sharp';
import type { Pause } from '../evaluation.js';
import { pictureOf } from '../pictures.js';
import type { MapsFile } from './maps.js';

/** Of one file, and of all of them: a page loads the files of what it shows. */
const ATLAS_TILES = 5000;
const MOST_TILES = 50_000;
const TILE_SIDE = 32;

/**
 * Thumbnails of the samples, sounds as spectrograms, of at most `MOST_TILES` spread evenly, with the longer side at
 * most `TILE_SIDE`; files of the run by their names.
 */
export async function writeAtlas(
  fileOf: (name: string) => string,
  split: SampleSplit,
  rows: Int32Array,
  pause: Pause,
): Promise<MapsFile['atlas'] & { files: string[] }> {
  const count = Math.min(MOST_TILES, rows.length);
  const points = Array.from({ length: count }, (_, tile) => Math.floor((tile * rows.length) / count));
  const { sample } = split;
  const [high, wide, channels] = inputShape(sample) as [number, number, 1 | 3];
  // Of a spectrogram, time is the first axis.
  const [height, width] = sample.modality === 'image' ? [high, wide] : [wide, high];
  const factor = Math.min(1, TILE_SIDE / Math.max(height, width));
  const tile = { width: Math.max(1, Math.round(width * factor)), height: Math.max(1, Math.round(height * factor)) };
  const columns = Math.ceil(Math.sqrt(Math.min(ATLAS_TILES, count)));
  const batch = Math.max(1, Math.min(256, Math.floor(2 ** 24 / (height * width * channels))));
  const files: string[] = [];
  for (let first = 0; first < count; first += ATLAS_TILES) {
    const own = points.slice(first, first + ATLAS_TILES);
    const atlas = { width: columns * tile.width, height: Math.ceil(own.length / columns) * tile.height, channels };
    const pixels = Buffer.alloc(atlas.width * atlas.height * channels);
    for (let start = 0; start < own.length; start += batch) {
      await pause();
      const some = own.slice(start, start + batch);
      const bytes = Uint8Array.from(
        tf.tidy(() => {
          const pictures = pictureOf(
            inputOf(
              sample,
              gatherSamples(
                split,
                some.map((point) => rows[point]!),
              ),
            ),
            sample,
            'spectrogram',
          );
          return tf.round(tf.mul(tf.clipByValue(pictures, 0, 1), 255)).dataSync();
        }),
      );
      for (let i = 0; i < some.length; i++) {
        const image = bytes.subarray(i * height * width * channels, (i + 1) * height * width * channels);
        const small =
          factor === 1
            ? image
            : await sharp(image, { raw: { width, height, channels } })
                .resize(tile.width, tile.height, { fit: 'fill' })
                .toColourspace(channels === 1 ? 'b-w' : 'srgb')
                .raw()
                .toBuffer();
        const [top, left] = [Math.floor((start + i) / columns) * tile.height, ((start + i) % columns) * tile.width];
        for (let y = 0; y < tile.height; y++)
          pixels.set(
            small.subarray(y * tile.width * channels, (y + 1) * tile.width * channels),
            ((top + y) * atlas.width + left) * channels,
          );
      }
    }
    files.push(files.length === 0 ? 'atlas.webp' : `atlas-${files.length}.webp`);
    await sharp(pixels, { raw: atlas })
      .webp({ quality: 85 })
      .toFile(fileOf(files.at(-1)!));
  }
  return { columns, tile, points, perFile: ATLAS_TILES, files };
}
