/** A few samples of each class of a source that is only looked at, as files that people can see and hear. */
import { UNLABELLED, type DatasetPreview, type PrepareDataset, type SampleShape } from '#libs/contracts';
import sharp from 'sharp';
import { CLASS_COLOURS, overlayColour } from './class-colours.js';
import type { Part, Source } from './containers.js';
import { encodeWav } from './wav.js';

const MOST_CLASSES = { images: 50, sounds: 20 };
const EACH = { images: 8, sounds: 2 };
/** Longest side of a picture's tile, in pixels, and what lies between two. */
const TILE = 96;
const GAP = 2;
const MOST_SECONDS = 10;
/** Of a mask's colour over its image. */
const OPACITY = 0.6;

export interface PreviewFile {
  name: string;
  kind: 'image' | 'audio' | 'report';
  mime: string;
  bytes: Buffer;
}

interface Tile {
  data: Buffer;
  width: number;
  height: number;
}

/** Samples that are spread over the files of each class, in the order of their names. */
export class Preview {
  private readonly groups: { name: string; files: number[] }[];
  private readonly wanted: ReadonlySet<number>;
  private readonly pictures = new Map<string, Tile>();
  private readonly sounds = new Map<number, Buffer>();

  constructor(
    { files }: Source,
    private readonly classes: readonly string[],
    private readonly spec: PrepareDataset,
    private readonly sample: SampleShape,
  ) {
    const medium = sample.modality === 'audio' ? 'sounds' : 'images';
    const ofClass = Map.groupBy(files.keys(), (index) => files[index]!.className);
    this.groups = (spec.masks || classes.length === 0 ? [''] : classes).slice(0, MOST_CLASSES[medium]).map((name) => ({
      name,
      files: spread(name === '' ? [...files.keys()] : (ofClass.get(name) ?? []), EACH[medium]),
    }));
    this.wanted = new Set(this.groups.flatMap((group) => group.files));
  }

  /** Keeps what was decoded of a file, where it is one of those that are shown. */
  async keep(part: Part, index: number, arrays: readonly Uint8Array[]): Promise<void> {
    const [first] = arrays;
    if (!this.wanted.has(index) || !first) return;
    if (this.sample.modality === 'audio') {
      const samples = new Int16Array(first.buffer, first.byteOffset, first.length / 2);
      const shown = samples.subarray(0, MOST_SECONDS * this.sample.sampleRate);
      this.sounds.set(
        index,
        encodeWav(
          Float32Array.from(shown, (value) => value / 32768),
          this.sample.sampleRate,
        ),
      );
    } else this.pictures.set(`${part} ${index}`, await this.tileOf(part, first));
  }

  private async tileOf(part: Part, pixels: Uint8Array): Promise<Tile> {
    const { height, width, channels } = this.sample as Extract<SampleShape, { modality: 'image' }>;
    const isMask = part === 'mask';
    const shrunk = sharp(pixels, { raw: { height, width, channels: isMask ? 1 : channels } }).resize(TILE, TILE, {
      fit: 'inside',
      withoutEnlargement: true,
      // A value between those of two classes is that of a third.
      ...(isMask && { kernel: 'nearest' }),
    });
    const { data, info } = await shrunk
      .toColourspace(isMask ? 'b-w' : 'srgb')
      .raw()
      .toBuffer({ resolveWithObject: true });
    return { data, width: info.width, height: info.height };
  }

  /** A picture of each class, or its sounds, and `preview.json`, which says what is what. */
  async files(): Promise<PreviewFile[]> {
    const made: PreviewFile[] = [];
    const groups: DatasetPreview['groups'] = [];
    for (const [at, { name, files }] of this.groups.entries()) {
      const shown = this.sample.modality === 'audio' ? this.soundsOf(at, files) : await this.pictureOf(at, files);
      if (shown.length === 0) continue;
      made.push(...shown);
      groups.push({ name, files: shown.map((file) => file.name) });
    }
    const masks = this.spec.masks && this.classes.map((name, label) => ({ name, colour: overlayColour(label) }));
    const preview: DatasetPreview = { groups, ...(masks && { masks }) };
    const bytes = Buffer.from(JSON.stringify(preview));
    return [...made, { name: 'preview.json', kind: 'report', mime: 'application/json', bytes }];
  }

  private soundsOf(at: number, files: readonly number[]): PreviewFile[] {
    const sounds = files.flatMap((index) => this.sounds.get(index) ?? []);
    return sounds.map((bytes, i) => ({ name: `preview-${at}-${i}.wav`, kind: 'audio', mime: 'audio/wav', bytes }));
  }

  /** The samples side by side, and below each of those that have a mask the same under the colours of its classes. */
  private async pictureOf(at: number, files: readonly number[]): Promise<PreviewFile[]> {
    const rows = files.flatMap((index): Tile[][] => {
      const image = this.pictures.get(`sample ${index}`);
      const mask = this.pictures.get(`mask ${index}`);
      if (!image || (this.spec.masks && !mask)) return [];
      return [mask ? [image, overlaid(image, mask)] : [image]];
    });
    const [first] = rows;
    if (!first) return [];
    const { width, height } = first[0]!;
    const bytes = await sharp({
      create: {
        width: rows.length * (width + GAP) - GAP,
        height: first.length * (height + GAP) - GAP,
        channels: 4,
        background: { r: 0, g: 0, b: 0, alpha: 0 },
      },
    })
      .composite(
        rows.flatMap((column, x) =>
          column.map(({ data, ...size }, y) => ({
            input: data,
            raw: { ...size, channels: channelsOf({ data, ...size }) },
            left: x * (width + GAP),
            top: y * (height + GAP),
          })),
        ),
      )
      .png()
      .toBuffer();
    return [{ name: `preview-${at}.png`, kind: 'image', mime: 'image/png', bytes }];
  }
}

/** So many of a list, from its beginning to its end. */
const spread = (list: readonly number[], count: number): number[] =>
  list.length <= count
    ? [...list]
    : Array.from({ length: count }, (_, i) => list[Math.floor((i * list.length) / count)]!);

const channelsOf = ({ data, width, height }: Tile) => (data.length / (width * height)) as 1 | 2 | 3 | 4;

function overlaid(image: Tile, mask: Tile): Tile {
  const channels = channelsOf(image);
  const data = Buffer.alloc(mask.data.length * 3);
  for (const [pixel, label] of mask.data.entries()) {
    const colour = CLASS_COLOURS[label % CLASS_COLOURS.length]!;
    for (const part of [0, 1, 2]) {
      const below = image.data[pixel * channels + (channels === 1 ? 0 : part)]!;
      const above = (colour >> (16 - 8 * part)) & 255;
      data[pixel * 3 + part] = label === UNLABELLED ? below : Math.round(below * (1 - OPACITY) + above * OPACITY);
    }
  }
  return { ...mask, data };
}
