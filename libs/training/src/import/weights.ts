/** An encoder with the weights of a file: all of them fit, or none is taken. */
import {
  Encoder,
  isOwnNetwork,
  SampleShape,
  TRANSFORMERS,
  transformerOf,
  type ImportModel,
  type Normalisation,
} from '#libs/contracts';
import { inputShape, InvalidDataError, named } from '#libs/data';
import { z } from 'zod';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { buildEncoder } from '../networks/encoder.js';
import { weightsOf } from '../networks/weights.js';
import { isBesideTimm, isBesideTorchvision, placeInOwn, placeInTimm, placeInTorchvision, type Place } from './names.js';
import { isBesideSimclr, isOfSimclr, placeInSimclr, simclrNetwork } from './simclr.js';
import type { TensorFile } from './tensor-file.js';

/** Of ImageNet, in RGB: what torchvision's and timm's weights were trained with. */
const IMAGENET: Normalisation = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
/** Sides of the images that networks of each stem were made for. */
const IMAGE_SIDE = { imagenet: 224, cifar: 32 } as const;
/** Sides of the first convolution's kernel, by which a stem is known. */
const STEM_KERNEL: Readonly<Record<number, keyof typeof IMAGE_SIDE>> = { 7: 'imagenet', 3: 'cifar' };
/** Tensors that do not fit and are named: those of a large ResNet. */
const MOST_LISTED = 1000;
/** What this program's own exports call their format. */
const OWN = 'latent-loom';

/** What a file has: a network, what it was made for, and where each weight lies. */
interface Described {
  architecture: Encoder;
  sample: SampleShape;
  /** Height and width at which it learnt from images, whatever size those were stored at. */
  size?: number;
  placeOf(key: string): Place;
  /** Tensors of the file that are left where they are. */
  isBeside(name: string): boolean;
}

/**
 * The caller owns the encoder.
 * @throws InvalidDataError for a file that says of no network what it is, and where tensors are missing, left over or
 *   of another shape, naming each
 */
export async function encoderFrom(
  file: TensorFile,
  spec: Pick<ImportModel, 'path' | 'as' | 'normalisation'>,
): Promise<Pick<Described, 'architecture' | 'sample' | 'size'> & { encoder: LayersModel; beside: string[] }> {
  const described = file.metadata['format'] === OWN ? describedByItself(file, spec) : describedAs(file, spec);
  const { architecture, sample, size } = described;
  const encoder = buildEncoder(architecture, inputShape(sample));
  try {
    return {
      encoder,
      architecture,
      sample,
      ...(size !== undefined && { size }),
      beside: await filled(encoder, file, described, spec.path),
    };
  } catch (error) {
    encoder.dispose();
    throw error;
  }
}

/** @throws InvalidDataError where none is given and none is known */
function normalisationFor(channels: number, given: Normalisation | undefined): Normalisation {
  const normalisation = given ?? (channels === 3 ? IMAGENET : undefined);
  if (!normalisation || ![1, channels].includes(normalisation.mean.length))
    throw new InvalidDataError(
      `expected a \`normalisation\` (--mean, --std) for ${channels} channels, got ` +
        `${normalisation ? `one for ${normalisation.mean.length}` : 'none'}`,
    );
  return normalisation;
}

/**
 * A file with timm's names of a vision transformer: width, squares and size are those of its first layer and its
 * positions. Without a token for the class its features are the mean over squares.
 */
function describedAsTransformer(
  { tensors }: TensorFile,
  { path, normalisation: given }: Pick<ImportModel, 'path' | 'normalisation'>,
  name: (typeof TRANSFORMERS)[number],
): Described {
  const shapeOf = (tensor: string, axes: number): readonly number[] => {
    const { shape } = tensors.get(tensor) ?? {};
    if (shape?.length !== axes)
      throw new InvalidDataError(
        `expected a tensor ${tensor} of ${axes} axes of ${name} in ${path}, ` +
          `${shape ? `got [${shape.join(', ')}]` : `found ${named([...tensors.keys()])}`}`,
      );
    return shape;
  };
  const [width = 0, channels = 0, patch = 0, other = 0] = shapeOf('patch_embed.proj.weight', 4);
  const [, places = 0] = shapeOf('pos_embed', 3);
  const pooling = tensors.has('cls_token') ? 'class' : 'mean';
  const side = Math.sqrt(places - (pooling === 'class' ? 1 : 0));
  const heads = transformerOf(Encoder.parse({ name }))!.heads;
  if (patch !== other || !Number.isInteger(side) || side === 0 || (channels !== 1 && channels !== 3))
    throw new InvalidDataError(
      `expected ${path} to be of square images of 1 or 3 channels, got squares of ${patch} x ${other}, ${channels} ` +
        `channels and ${places} positions`,
    );
  const normalisation = normalisationFor(channels, given);
  const parsed = Encoder.safeParse({ name, width: width / heads, patch, pooling, positions: 'learnt', normalisation });
  if (!parsed.success)
    throw new InvalidDataError(
      `expected patch_embed.proj.weight of ${name} to give ${heads} times 4 to 256 channels, and squares of 2 to 64, ` +
        `got [${[width, channels, patch, other].join(', ')}] in ${path}`,
    );
  const lastNorm = tensors.has('fc_norm.weight') ? 'fc_norm' : 'norm';
  return {
    architecture: parsed.data,
    sample: { modality: 'image', height: side * patch, width: side * patch, channels },
    placeOf: (key) => placeInTimm(key, lastNorm),
    isBeside: isBesideTimm,
  };
}

const transformerNamed = (name: string): (typeof TRANSFORMERS)[number] | undefined =>
  TRANSFORMERS.find((each) => each === name);

/** A file with torchvision's names: width, stem and channels are those of its first convolution. */
function describedAs(
  file: TensorFile,
  { path, as: name, normalisation: given }: Pick<ImportModel, 'path' | 'as' | 'normalisation'>,
): Described {
  if (name === undefined)
    throw new InvalidDataError(
      `expected \`as\` (--as) with ${path}, which says of itself no network: one of torchvision's, such as resnet50, ` +
        "or a vision transformer of timm's, such as vit-small",
    );
  const transformer = transformerNamed(name);
  if (transformer) return describedAsTransformer(file, { path, normalisation: given }, transformer);
  if (isOfSimclr(file)) {
    const { architecture, channels } = simclrNetwork(file, { path, as: name, normalisation: given });
    const side = IMAGE_SIDE[architecture.stem!];
    return {
      architecture,
      sample: { modality: 'image', height: side, width: side, channels: channels as 1 | 3 },
      placeOf: placeInSimclr(architecture),
      isBeside: isBesideSimclr,
    };
  }
  const { tensors } = file;
  const first = tensors.get('conv1.weight');
  if (!first)
    throw new InvalidDataError(
      `expected a tensor conv1.weight of ${name} in ${path}, found ${named([...tensors.keys()])}`,
    );
  const [width = 0, channels = 0, side = 0] = first.shape;
  const stem = STEM_KERNEL[side];
  if (first.shape.length !== 4 || !stem || (channels !== 1 && channels !== 3))
    throw new InvalidDataError(
      `expected conv1.weight of shape [width, 1 or 3, 7, 7], or with 3 x 3, got [${first.shape.join(', ')}]`,
    );
  const normalisation = normalisationFor(channels, given);
  const parsed = Encoder.safeParse({ name, width, stem, padding: 'symmetric', normalisation });
  if (!parsed.success)
    throw new InvalidDataError(`expected conv1.weight to give 4 to 256 channels, got ${width} in ${path}`);
  const architecture = parsed.data;
  return {
    architecture,
    sample: { modality: 'image', height: IMAGE_SIDE[stem], width: IMAGE_SIDE[stem], channels },
    placeOf: (key) => placeInTorchvision(key, architecture),
    isBeside: isBesideTorchvision,
  };
}

/** A file that a run of kind export wrote. */
function describedByItself({ metadata }: TensorFile, { path, as }: Pick<ImportModel, 'path' | 'as'>): Described {
  const { network, architecture, preprocessing } = metadata;
  const read = <T>(text: string | undefined): T | undefined => {
    try {
      return JSON.parse(text ?? '') as T;
    } catch {
      return undefined;
    }
  };
  const encoder = Encoder.safeParse(read<{ encoder?: unknown }>(architecture)?.encoder);
  const sample = SampleShape.safeParse(read<{ sample?: unknown }>(preprocessing)?.sample);
  if (encoder.success && isOwnNetwork(encoder.data))
    throw new InvalidDataError(
      `expected the encoder.model.json of the export beside its weights, got ${path}: it is of layers of a model, ` +
        'which are told there',
    );
  if (network !== 'encoder' || !encoder.success || !sample.success)
    throw new InvalidDataError(
      `expected ${path} to be the encoder.safetensors of an export, got its ${network ?? 'part without a name'}` +
        `${encoder.success && sample.success ? '' : ', which does not say what it is'}`,
    );
  if (as !== undefined && as !== encoder.data.name)
    throw new InvalidDataError(`expected ${path} to be of ${as}, it says that it is of ${encoder.data.name}`);
  const size = z.int().min(8).max(1024).safeParse(read<{ size?: unknown }>(preprocessing)?.size);
  return {
    architecture: encoder.data,
    sample: sample.data,
    ...(size.success && { size: size.data }),
    placeOf: placeInOwn,
    isBeside: () => false,
  };
}

/** Sets every weight from its tensor, after all of them have been found to fit. Returns what was left in the file. */
async function filled(
  encoder: LayersModel,
  file: TensorFile,
  { architecture, placeOf, isBeside }: Described,
  shown: string,
): Promise<string[]> {
  const own = weightsOf(encoder).map((weight) => ({ ...weight, key: weight.key.slice(encoder.name.length + 1) }));
  // What is done to the input is told beside the weights, unless they are our own.
  const wanted = own
    .filter(({ key }) => placeOf === placeInOwn || !key.startsWith('normalisation/'))
    .map((weight) => ({ ...weight, place: placeOf(weight.key) }));
  const known = new Set(wanted.map(({ place }) => place.name));
  const others = [...file.tensors.keys()].filter((name) => !known.has(name));
  requireFit({
    shown: `${shown} to have the weights of ${architecture.name}, ${architecture.width} wide`,
    missing: wanted.flatMap(({ place }) => (file.tensors.has(place.name) ? [] : [place.name])),
    leftOver: others.filter((name) => !isBeside(name)),
    misshapen: wanted.flatMap(({ variable, place }) => {
      const [expected, found] = [place.shape(variable.shape), file.tensors.get(place.name)?.shape];
      return !found || found.join() === expected.join()
        ? []
        : [`${place.name} [${found.join(', ')}] for [${expected.join(', ')}]`];
    }),
  });
  for (const { key, variable, place } of wanted) {
    const values = await file.floats(place.name);
    if (key.endsWith('/moving_variance') && values.some((value) => value < 0))
      throw new InvalidDataError(`expected variances of at least 0 in ${place.name}, found a negative one`);
    tf.tidy(() => {
      variable.assign(place.turned(tf.tensor(values, place.shape(variable.shape))));
    });
  }
  return others;
}

const listed = (names: readonly string[]): string =>
  names.slice(0, MOST_LISTED).join(', ') +
  (names.length > MOST_LISTED ? ` and ${names.length - MOST_LISTED} more` : '');

/** @throws InvalidDataError naming each tensor that is missing, left over or of another shape */
function requireFit({
  shown,
  missing,
  leftOver,
  misshapen,
}: Record<'missing' | 'leftOver' | 'misshapen', string[]> & { shown: string }): void {
  const faults = Object.entries({ missing, 'left over': leftOver, 'of another shape': misshapen }).flatMap(
    ([what, names]) => (names.length ? [`${what}: ${listed(names)}`] : []),
  );
  if (faults.length) throw new InvalidDataError(`expected ${shown}; ${faults.join('; ')}`);
}
