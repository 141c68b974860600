/** Samples of a source as arrays of one size, many at a time. */
import type { AudioShape, PrepareDataset, SampleShape } from '#libs/contracts';
import { availableParallelism } from 'node:os';
import { decodeSound, type SoundWindows } from './audio-file.js';
import type { LeftOut, Part, Payload, Source } from './containers.js';
import type { DarkImages } from './image-depth.js';
import { decodeImage } from './image-file.js';
import { decodeMask } from './mask-file.js';
import type { Report } from './report.js';

/** 100 megapixels: more than any camera takes, and 400 MB when decoded. */
const MAX_PIXELS = 100e6;
/** Decodings under way: enough to keep every core of the decoder's thread pool busy, and no more bytes than fit. */
const IN_FLIGHT = Math.max(32, 2 * availableParallelism());
const MAX_BYTES_IN_FLIGHT = 512 * 2 ** 20;

export interface DecodingContext {
  signal: AbortSignal;
  progress(done: number, total: number): void;
}

/** What was found while decoding, file by file. */
export interface Decoding {
  /** Whether each file of the source could be decoded. */
  usable: boolean[];
  /** How many sounds were cut or padded to the length asked for. */
  sounds: { cut: number; padded: number };
  /** Images with masks that their EXIF says to turn. */
  turned: string[];
  /** TIFFs of several images, of which the first was taken. */
  stacks: string[];
  dark: DarkImages;
}

/**
 * Decodes as the source reads, a bounded number at a time, and hands the arrays of each file to `keep`: one, or those
 * of a sound's windows.
 * @throws InvalidDataError where too many are damaged; what `keep` throws; whatever `signal` was aborted with.
 */
export async function decodeAll(
  source: Source,
  spec: PrepareDataset,
  sample: SampleShape,
  report: Report,
  { signal, progress }: DecodingContext,
  keep: (part: Part, index: number, arrays: Uint8Array[]) => Promise<void>,
): Promise<Decoding> {
  const parts = spec.masks ? 2 : 1;
  const { unread } = source;
  const total = source.files.length;
  const files = total + unread.length;
  if (unread.length) report.requireFew(unread, files);
  const whole = new Uint8Array(total);
  const corrupt = new Map<number, LeftOut>();
  const pending = new Set<Promise<void>>();
  const found: Found = {
    sounds: { cut: 0, padded: 0 },
    turned: new Set(),
    stacks: new Set(),
    deep: 0,
    dark: new Map(),
  };
  const decode = decoderOf(spec, sample, found);
  let bytesInFlight = 0;
  let fault: unknown;
  let done = 0;
  await source.read(async (index, payload, part) => {
    if (fault) throw fault;
    const bytes = bytesIn(payload);
    bytesInFlight += bytes;
    const work = (payload instanceof Error ? Promise.reject(payload) : decode(index, payload, part))
      .then(
        async (arrays) => {
          await keep(part, index, arrays);
          whole[index]!++;
        },
        (error: Error) => {
          const reason = `${part === 'mask' ? 'mask: ' : ''}${error.message.split('\n')[0]}`;
          corrupt.set(index, { name: source.files[index]!.name, reason });
        },
      )
      .catch((error: unknown) => {
        fault ??= error;
      })
      .finally(() => {
        pending.delete(work);
        bytesInFlight -= bytes;
        done++;
        if (done % 100 === 0 || done === total * parts) progress(Math.floor(done / parts), total);
      });
    pending.add(work);
    while (pending.size >= IN_FLIGHT || (pending.size > 0 && bytesInFlight > MAX_BYTES_IN_FLIGHT))
      await Promise.race(pending);
  }, signal);
  await Promise.all(pending);
  if (fault) throw fault;
  report.damaged([...corrupt.values(), ...unread], files);
  return {
    usable: Array.from(whole, (count) => count === parts),
    sounds: found.sounds,
    turned: namesOf(source, found.turned),
    stacks: namesOf(source, found.stacks),
    dark: {
      names: namesOf(source, new Set(found.dark.keys())),
      bits: Math.max(0, ...new Set(found.dark.values())),
      of: found.deep,
    },
  };
}

const namesOf = ({ files }: Source, places: ReadonlySet<number>): string[] =>
  [...places].map((index) => files[index]!.name).sort();

function bytesIn(payload: Payload): number {
  if (payload instanceof Error) return 0;
  return 'data' in payload ? payload.data.length : payload.length;
}

interface Found {
  sounds: Decoding['sounds'];
  turned: Set<number>;
  stacks: Set<number>;
  /** How many images have 16 bits, and of how many bits those seem to be that are dark. */
  deep: number;
  dark: Map<number, number>;
}

/** Decodes one part of a sample. An image and its mask have to be of one size, whichever comes first. */
function decoderOf(
  spec: PrepareDataset,
  sample: SampleShape,
  found: Found,
): (index: number, payload: Exclude<Payload, Error>, part: Part) => Promise<Uint8Array[]> {
  const { masks } = spec;
  if (sample.modality === 'audio') {
    const windows = windowsOf(spec, sample);
    return async (_, payload) => {
      const sound = await decodeSound(payload as Buffer, sample.sampleRate, windows);
      if (sound.fit !== 'whole') found.sounds[sound.fit]++;
      return sound.windows.map(({ buffer }) => new Uint8Array(buffer));
    };
  }
  const sizes = new Map<number, string>();
  const requireSize = (index: number, size: string): void => {
    if ((sizes.get(index) ?? size) !== size)
      throw new Error(`expected a mask of the size of its image, got ${[sizes.get(index), size].join(' and ')}`);
    sizes.set(index, size);
  };
  return async (index, payload, part) => {
    if (part === 'mask') {
      const { data, size } = await decodeMask(payload as Buffer, sample, masks!, MAX_PIXELS);
      requireSize(index, size);
      return [data];
    }
    const image = await decodeImage(payload, sample, MAX_PIXELS, masks !== undefined);
    const { data, size, isTurned, isStack, isDeep, darkAs } = image;
    if (isTurned) found.turned.add(index);
    if (isStack) found.stacks.add(index);
    if (isDeep) found.deep++;
    if (darkAs !== undefined) found.dark.set(index, darkAs);
    if (masks) requireSize(index, size);
    return [data];
  };
}

/** One window from the beginning on, where the spec wants no more of them. */
function windowsOf({ audio }: PrepareDataset, { length, sampleRate }: AudioShape): SoundWindows {
  const { hopSeconds, most = 1 } = audio?.windows ?? {};
  return { length, hop: hopSeconds === undefined ? length : Math.max(1, Math.round(hopSeconds * sampleRate)), most };
}
