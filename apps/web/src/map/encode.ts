/** Features of a file that is not in the dataset, by an encoder that a run has exported: computed in the page. */
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { loadLayersModel, type LayersModel } from '@tensorflow/tfjs-layers';
import { logMel } from '../../../../libs/data/src/sound.js';
import type { SampleShape } from '#libs/contracts';

/** What an export says of its encoder, beside its layers and weights. */
interface Exported extends tf.io.ModelJSON {
  userDefinedMetadata: { preprocessing: { sample: SampleShape; input?: 'waveform' | 'log-mel spectrogram' } };
}
type Sound = Extract<SampleShape, { modality: 'audio' }>;
type Picture = Extract<SampleShape, { modality: 'image' }>;

const models = new Map<string, Promise<{ model: LayersModel; about: Exported['userDefinedMetadata'] }>>();

async function load(topology: string, weights: string) {
  await tf.setBackend('cpu');
  const stored = (await (await fetch(topology)).json()) as Exported;
  const model = await loadLayersModel({
    load: () =>
      tf.io.getModelArtifactsForJSON(stored, async ([group]) => [
        group!.weights,
        await (await fetch(weights)).arrayBuffer(),
      ]),
  });
  return { model, about: stored.userDefinedMetadata };
}

/**
 * Features of a picture or a sound. `topology`, `weights`: addresses of the two files of the encoder.
 * @throws where the file is none that the browser decodes
 */
export async function featuresOfFile(
  file: Blob,
  { topology, weights }: { topology: string; weights: string },
): Promise<Float32Array> {
  let known = models.get(topology);
  if (!known) models.set(topology, (known = load(topology, weights)));
  const { model, about } = await known.catch((error: unknown) => {
    models.delete(topology);
    throw error;
  });
  const { sample, input } = about.preprocessing;
  const values = sample.modality === 'image' ? await pixelsOf(file, sample) : await samplesOf(file, sample);
  return tf.tidy(() => {
    const x = inputOf(values, sample, input === 'waveform');
    const [features] = [model.predict(x)].flat();
    return features!.dataSync<'float32'>();
  });
}

/** values → [1, height, width, channels], [1, frames, bands, 1] or [1, length, 1, 1]. */
function inputOf(values: Float32Array, sample: SampleShape, isWaveform: boolean): tf.Tensor {
  if (sample.modality === 'image') return tf.tensor4d(values, [1, sample.height, sample.width, sample.channels]);
  return isWaveform
    ? tf.tensor4d(values, [1, sample.length, 1, 1])
    : logMel(tf.tensor2d(values, [1, sample.length]), sample.sampleRate);
}

/** Scaled to cover the size and cut around the centre, on black; gray as BT.601 has it. In [0, 1]. */
async function pixelsOf(file: Blob, { height, width, channels }: Picture): Promise<Float32Array> {
  const picture = await createImageBitmap(file).catch(() => {
    throw new Error('expected a picture that this browser shows, got something else');
  });
  const scale = Math.max(width / picture.width, height / picture.height);
  const [w, h] = [picture.width * scale, picture.height * scale];
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const context = canvas.getContext('2d', { willReadFrequently: true })!;
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = 'high';
  context.drawImage(picture, (width - w) / 2, (height - h) / 2, w, h);
  const { data } = context.getImageData(0, 0, width, height);
  return Float32Array.from({ length: height * width * channels }, (_, i) => {
    const at = 4 * Math.floor(i / channels);
    if (channels === 1) return (0.299 * data[at]! + 0.587 * data[at + 1]! + 0.114 * data[at + 2]!) / 255;
    return data[at + (i % channels)]! / 255;
  });
}

/** Mono at the rate of the dataset, cut or filled with silence. */
async function samplesOf(file: Blob, { sampleRate, length }: Sound): Promise<Float32Array> {
  const context = new OfflineAudioContext(1, length, sampleRate);
  const sound = await context.decodeAudioData(await file.arrayBuffer()).catch(() => {
    throw new Error('expected a sound that this browser plays, got something else');
  });
  const channels = Array.from({ length: sound.numberOfChannels }, (_, i) => sound.getChannelData(i));
  return Float32Array.from(
    { length },
    (_, n) => channels.reduce((sum, channel) => sum + (channel[n] ?? 0), 0) / channels.length,
  );
}
