/** Sounds that a decoder made, as files to listen to. */
import type { AudioShape } from '#libs/contracts';
import { encodeWav, soundsOfLogMel, type Random } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Autoencoder } from './autoencoder.js';
import type { TrainContext } from './train-context.js';

/** Most sounds that a run stores of one kind. */
export const MOST_SOUNDS = 8;

/** Decoded sounds → waveforms [N, length] in [-1, 1]. `random` is for the phases, which spectrograms lack. */
export const soundsOf = (
  decoded: tf.Tensor4D,
  { domain }: Autoencoder,
  sample: AudioShape,
  random: Random,
): tf.Tensor2D =>
  domain === 'waveform' ? tf.reshape(decoded, [-1, sample.length]) : soundsOfLogMel(decoded, sample, random);

/** Stores one sound as a WAV file. */
export async function storeSound(
  name: string,
  samples: ArrayLike<number>,
  { sampleRate }: AudioShape,
  step: number | null,
  context: TrainContext,
): Promise<void> {
  const file = path.join(context.workDir, name);
  await writeFile(file, encodeWav(samples, sampleRate));
  await context.store({ name, kind: 'audio', mime: 'audio/wav', path: file, step });
}
