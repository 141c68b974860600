/** Thumbnails of the samples that a map shows, many to a picture. */
import type { SampleShape } from '#libs/contracts';
import { gatherSamples, inputOf, inputShape, type SampleSplit } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import sharp from 'sharp';
import type { Pause } from '../evaluation.js';
import { pictureOf } from '../pictures.js';
import type { MapsFile } from './maps.js';

/** Size of a picture in pixels, and numbers of each pixel. */
interface Size {
  width: number;
  height: number;
  channels: 1 | 3;
}

/** Tiles of one file, and of all files: a page loads the files of the points that it shows. */
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
  const picture = pictureSize(split.sample);
  const factor = Math.min(1, TILE_SIDE / Math.max(picture.height, picture.width));
  const tile: Size = {
    ...picture,
    width: Math.max(1, Math.round(picture.width * factor)),
    height: Math.max(1, Math.round(picture.height * factor)),
  };
  const columns = Math.ceil(Math.sqrt(Math.min(ATLAS_TILES, count)));
  const files: string[] = [];
  for (let first = 0; first < count; first += ATLAS_TILES) {
    const own = points.slice(first, first + ATLAS_TILES).map((point) => rows[point]!);
    const atlas = { ...tile, width: columns * tile.width, height: Math.ceil(own.length / columns) * tile.height };
    const pixels = Buffer.alloc(atlas.width * atlas.height * atlas.channels);
    let place = 0;
    for await (const thumbnail of thumbnails(split, own, picture, tile, pause)) {
      paste(thumbnail, tile, pixels, atlas, Math.floor(place / columns), place % columns);
      place++;
    }
    files.push(files.length === 0 ? 'atlas.webp' : `atlas-${files.length}.webp`);
    await sharp(pixels, { raw: atlas })
      .webp({ quality: 85 })
      .toFile(fileOf(files.at(-1)!));
  }
  return { columns, tile: { width: tile.width, height: tile.height }, points, perFile: ATLAS_TILES, files };
}

/** Size of an image, or of a spectrogram with time to the right. */
function pictureSize(sample: SampleShape): Size {
  const [first, second, channels] = inputShape(sample) as [number, number, 1 | 3];
  // The first axis of a spectrogram is time.
  return sample.modality === 'image'
    ? { height: first, width: second, channels }
    : { height: second, width: first, channels };
}

/** Pictures of the samples in `rows`, one by one, shrunk to a tile: bytes [height, width, channels]. */
async function* thumbnails(
  split: SampleSplit,
  rows: readonly number[],
  { width, height, channels }: Size,
  tile: Size,
  pause: Pause,
): AsyncGenerator<Uint8Array> {
  const { sample } = split;
  const bytesEach = height * width * channels;
  const batch = Math.max(1, Math.min(256, Math.floor(2 ** 24 / bytesEach)));
  for (let start = 0; start < rows.length; start += batch) {
    await pause();
    const some = rows.slice(start, start + batch);
    const bytes = Uint8Array.from(
      tf.tidy(() => {
        const pictures = pictureOf(inputOf(sample, gatherSamples(split, some)), sample, 'spectrogram');
        return tf.round(tf.mul(tf.clipByValue(pictures, 0, 1), 255)).dataSync();
      }),
    );
    for (let i = 0; i < some.length; i++) {
      const image = bytes.subarray(i * bytesEach, (i + 1) * bytesEach);
      yield tile.width === width && tile.height === height
        ? image
        : await sharp(image, { raw: { width, height, channels } })
            .resize(tile.width, tile.height, { fit: 'fill' })
            .toColourspace(channels === 1 ? 'b-w' : 'srgb')
            .raw()
            .toBuffer();
    }
  }
}

/** Copies a tile into the atlas at its row and column of tiles. */
function paste(thumbnail: Uint8Array, tile: Size, pixels: Buffer, atlas: Size, row: number, column: number): void {
  const [top, left, bytesAcross] = [row * tile.height, column * tile.width, tile.width * tile.channels];
  for (let y = 0; y < tile.height; y++)
    pixels.set(
      thumbnail.subarray(y * bytesAcross, (y + 1) * bytesAcross),
      ((top + y) * atlas.width + left) * tile.channels,
    );
}
