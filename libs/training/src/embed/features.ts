/** Outputs of a parent's network for samples: the points that are mapped, and the classes that they are taken for. */
import { sampleText, type Autoencode, type Embed, type TrainerInputs } from '#libs/contracts';
import { seenAt, type SampleSplit } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { storedAutoencoder } from '../autoencoder.js';
import { CompiledMap } from '../compiled-map.js';
import { collect, representation, type Pause } from '../evaluation.js';
import type { Neighbours } from '../manifold/neighbours.js';
import type { Points } from '../manifold/points.js';
import { encode } from '../networks/encoder.js';
import { forward } from '../networks/weights.js';
import { readParent, startingEncoder, storedTop, type ParentModel } from '../run-inputs.js';
import { TrainingError } from '../train-context.js';

/** Neighbours that vote for a sample's class where no classifier was trained. */
export const VOTERS = 15;

/**
 * The class that most of a point's `VOTERS` nearest neighbours have; of classes with as many votes, the one whose first
 * voter is nearest. labels: [N] → [N]
 */
export function votes({ k, places }: Neighbours, labels: Int32Array, classCount: number): Int32Array {
  const voters = Math.min(k, VOTERS);
  const counts = new Int32Array(classCount);
  return Int32Array.from(labels, (_, point) => {
    counts.fill(0);
    const cast = Array.from({ length: voters }, (_unused, n) => labels[places[point * k + n]!]!);
    for (const label of cast) counts[label]!++;
    return cast.reduce((best, label) => (counts[label]! > counts[best]! ? label : best));
  });
}

/** How samples become points. `models` are the caller's to dispose of. */
interface Representation {
  models: LayersModel[];
  /** x: the encoder's inputs → [N, width], and beside it the logits [N, classes]. */
  represent(x: tf.Tensor4D): tf.Tensor2D;
  /** How sounds are given to an autoencoder. */
  domain: Autoencode['domain'] | undefined;
  /** Classes of the parent's classifier; 0 where it has none. */
  classes: number;
}

/**
 * The parent's latent codes where it is an autoencoder that has them, else its encoder's features; and what its
 * classifier says, where it has one of these classes. Leaves no tensor.
 */
export async function featuresOf(
  spec: Embed,
  inputs: TrainerInputs,
  split: SampleSplit,
  rows: Int32Array,
  pause: Pause,
): Promise<{ points: Points; classified: Int32Array | undefined }> {
  const parent = await readParent(inputs, spec);
  const { models, represent, domain, classes } =
    parent.state.kind === 'autoencode' && parent.state.variant !== 'masked'
      ? codesOf(parent, split)
      : await outputsOf(spec, inputs, parent, split);
  const map = new CompiledMap(represent, models);
  try {
    const collected = await collect(seenAt(split, parent.state.size), rows, map, pause, domain);
    const width = collected.shape[1] - classes;
    const [values, classified] = tf.tidy(
      () =>
        [
          tf.slice2d(collected, [0, 0], [-1, width]).dataSync<'float32'>(),
          classes > 0
            ? Int32Array.from(tf.argMax(tf.slice2d(collected, [0, width], [-1, classes]), 1).dataSync())
            : undefined,
        ] as const,
    );
    collected.dispose();
    const wrong = values.findIndex((value) => !Number.isFinite(value));
    if (wrong >= 0)
      throw new TrainingError(
        'nan_loss',
        `expected finite features, got ${values[wrong]} for row ${rows[Math.floor(wrong / width)]}: the run in ` +
          'from has no usable weights',
      );
    return { points: { values, width }, classified };
  } finally {
    map.dispose();
    for (const model of models) model.dispose();
  }
}

/** @throws TrainingError for samples of another shape than the autoencoder's */
function codesOf(parent: ParentModel, { sample }: SampleSplit): Representation {
  const [own, theirs] = [sampleText(sample), sampleText(parent.state.sample)];
  if (own !== theirs)
    throw new TrainingError(
      'invalid_spec',
      `expected samples of ${theirs}, of which the autoencoder knows the latent code, got ${own}`,
    );
  const autoencoder = storedAutoencoder(parent, sample);
  return {
    models: autoencoder.models,
    represent: (x) => autoencoder.code(x, false).mean,
    domain: autoencoder.domain,
    classes: 0,
  };
}

/** The encoder's features, and the logits of the classifier where it has the classes of `split`. */
async function outputsOf(
  spec: Embed,
  inputs: TrainerInputs,
  parent: ParentModel,
  split: SampleSplit,
): Promise<Representation> {
  const { encoder } = await startingEncoder(spec, inputs, split.sample);
  const { head, classifier } = topOf(encoder, parent, split);
  const models = [encoder, head, classifier].filter((model) => model !== undefined);
  if (!classifier) return { models, represent: representation(encoder), domain: undefined, classes: 0 };
  return {
    models,
    represent: (x) => {
      const { features } = encode(encoder, x, false);
      return tf.concat2d(
        [features, forward<tf.Tensor2D>(classifier, head ? forward(head, features, false) : features, false)],
        1,
      );
    },
    domain: undefined,
    classes: split.classes.length,
  };
}

/** What stands on the encoder, where the parent has the classes of `split`. Disposes of the encoder where it throws. */
function topOf(
  encoder: LayersModel,
  parent: ParentModel,
  { classes }: SampleSplit,
): Partial<ReturnType<typeof storedTop>> {
  try {
    return parent.state.classes.join('\n') === classes.join('\n') ? storedTop(encoder, parent) : {};
  } catch (error) {
    encoder.dispose();
    throw error;
  }
}
