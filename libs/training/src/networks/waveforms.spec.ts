import { Random } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { buildAutoencoder } from '../autoencoder.js';
import { encode } from './encoder.js';
import { buildWaveformBottleneck, buildWaveformDecoder, buildWaveformEncoder } from './waveforms.js';
import { forward, initialise } from './weights.js';
import { loadTensorFlow } from '#libs/tensorflow';

// One thread: with more, sums may be taken in another order.
beforeAll(() => loadTensorFlow({ threads: 1 }));

describe('networks of waveforms', () => {
  test.each([1, 7, 64, 65, 8000])('cope with %i samples', (length) => {
    const encoder = buildWaveformEncoder(4, length);
    expect(encoder.outputs.map(({ shape }) => shape)).toEqual([
      [null, 1, Math.ceil(length / 64), 16],
      [null, 16],
    ]);
    const decoder = buildWaveformDecoder(encoder, 3, 4);
    expect(decoder.outputs[0]!.shape).toEqual([null, 1, length, 1]);
    const before = tf.memory().numTensors;
    tf.tidy(() => {
      const sounds = decoder.apply(tf.mul(tf.ones([2, 3]), 100)) as tf.Tensor;
      expect(sounds.shape).toEqual([2, 1, length, 1]);
      expect((encoder.apply(sounds) as tf.Tensor[])[1]!.shape).toEqual([2, 16]);
    });
    expect(tf.memory().numTensors).toBe(before);
    for (const model of [encoder, decoder]) model.dispose();
  });

  test.each([
    [2, 2],
    [7, 7],
    [64, 8],
    [500, 500 / 50],
    [4096, 4096 / 64],
  ])('a code may have %i numbers, and each stretch of time %i of them', (latent, first) => {
    const encoder = buildWaveformEncoder(4, 8000);
    const [bottleneck, decoder] = [
      buildWaveformBottleneck(encoder, latent, 2),
      buildWaveformDecoder(encoder, latent, 4),
    ];
    expect(bottleneck.outputs[0]!.shape).toEqual([null, 2 * latent]);
    expect(decoder.outputs[0]!.shape).toEqual([null, 1, 8000, 1]);
    initialise([encoder, bottleneck, decoder], Random.seeded(0));
    // What sounds only at the beginning changes only the first numbers of both codes.
    const changed = tf.tidy(() => {
      const code = (x: tf.Tensor4D) => forward<tf.Tensor2D>(bottleneck, encode(encoder, x, false).map, false);
      const silence = tf.zeros<tf.Rank.R4>([1, 1, 8000, 1]);
      return [
        ...tf
          .abs(
            tf.sub(
              code(
                tf.add<tf.Tensor4D>(
                  silence,
                  tf.pad4d(tf.ones([1, 1, 10, 1]), [
                    [0, 0],
                    [0, 0],
                    [0, 7990],
                    [0, 0],
                  ]),
                ),
              ),
              code(silence),
            ),
          )
          .dataSync(),
      ].map((x) => x > 0);
    });
    for (const half of [changed.slice(0, latent), changed.slice(latent)]) {
      expect(half.slice(0, first).every(Boolean)).toBe(true);
      expect(half.slice(2 * first).some(Boolean)).toBe(false);
    }
    for (const model of [encoder, bottleneck, decoder]) model.dispose();
  });

  test('are of sounds', () => {
    const architecture = {
      encoder: { name: 'small-resnet' as const, width: 4 },
      latent: 4,
      variant: 'plain' as const,
      domain: 'waveform' as const,
    };
    expect(() => buildAutoencoder(architecture, { modality: 'image', height: 8, width: 8, channels: 1 })).toThrow(
      'got one of images',
    );
  });
});
