/** Samples of a source as arrays of one size, many at a time. */
import type { LogLevel, PrepareDataset, SampleShape } from '#libs/contracts';
import { decodeSound } from './audio-file.js';
import type { Part, Payload, Source } from './containers.js';
import { decodeImage } from './image-file.js';
import { InvalidDataError, named } from './invalid-data.js';
import { decodeMask } from './mask-file.js';

/** 100 megapixels: more than any camera takes, and 400 MB when decoded. */
const MAX_PIXELS = 100e6;
/** Decodings under way: enough to keep every core of the decoder's thread pool busy, and no more bytes than fit. */
const IN_FLIGHT = 32;
const MAX_BYTES_IN_FLIGHT = 512 * 2 ** 20;

export interface DecodingContext {
  signal: AbortSignal;
  progress(done: number, total: number): void;
  log(level: LogLevel, message: string): void;
}

/**
 * Decodes as the source reads, a bounded number at a time, and hands each array to `keep`. Tells for each file whether
 * it could be decoded.
 * @throws InvalidDataError where too many are damaged; what `keep` throws; whatever `signal` was aborted with.
 */
export async function decodeAll(
  source: Source,
  spec: PrepareDataset,
  sample: SampleShape,
  { signal, progress, log }: DecodingContext,
  keep: (part: Part, index: number, data: Uint8Array) => Promise<void>,
): Promise<boolean[]> {
  const parts = spec.masks ? 2 : 1;
  const { unread } = source;
  const total = source.files.length;
  const files = total + unread.length;
  if (unread.length) allowed(unread, files, spec.maxCorruptFraction);
  const whole = new Uint8Array(total);
  const corrupt = new Map<number, string>();
  const pending = new Set<Promise<void>>();
  const decode = decoderOf(spec, sample);
  let bytesInFlight = 0;
  let fault: unknown;
  let done = 0;
  await source.read(async (index, payload, part) => {
    if (fault) throw fault;
    const bytes = bytesIn(payload);
    bytesInFlight += bytes;
    const work = (payload instanceof Error ? Promise.reject(payload) : decode(index, payload, part))
      .then(
        async (data) => {
          await keep(part, index, data);
          whole[index]!++;
        },
        (error: Error) => {
          const what = `${part === 'mask' ? 'mask: ' : ''}${error.message.split('\n')[0]}`;
          corrupt.set(index, `${source.files[index]!.name} (${what})`);
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
  const lost = [...corrupt.values(), ...unread];
  if (lost.length) log('warn', `${allowed(lost, files, spec.maxCorruptFraction)}; they were left out`);
  return Array.from(whole, (count) => count === parts);
}

function bytesIn(payload: Payload): number {
  if (payload instanceof Error) return 0;
  return 'data' in payload ? payload.data.length : payload.length;
}

/** Decodes one part of a sample. An image and its mask have to be of one size, whichever comes first. */
function decoderOf(
  spec: PrepareDataset,
  sample: SampleShape,
): (index: number, payload: Exclude<Payload, Error>, part: Part) => Promise<Uint8Array> {
  const hasMasks = spec.masks !== undefined;
  const sizes = new Map<number, string>();
  return async (index, payload, part) => {
    if (sample.modality === 'audio')
      return new Uint8Array((await decodeSound(payload as Buffer, sample.sampleRate, sample.length)).buffer);
    const { data, size } =
      part === 'mask'
        ? await decodeMask(payload as Buffer, sample, spec.masks!, MAX_PIXELS)
        : await decodeImage(payload, sample, MAX_PIXELS, hasMasks);
    if (hasMasks && (sizes.get(index) ?? size) !== size)
      throw new Error(`expected a mask of the size of its image, got ${[sizes.get(index), size].join(' and ')}`);
    sizes.set(index, size);
    return data;
  };
}

/** Says which files are damaged. @throws InvalidDataError where they are more than this fraction of all. */
function allowed(corrupt: readonly string[], total: number, maxFraction: number): string {
  const message = `${corrupt.length} of ${total} files could not be decoded: ${named(corrupt.toSorted())}`;
  if (corrupt.length > maxFraction * total)
    throw new InvalidDataError(
      `expected at most ${maxFraction * 100} % of the files to be damaged (maxCorruptFraction), ${message}`,
    );
  return message;
}
