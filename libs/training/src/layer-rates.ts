/** Which layers of an encoder a finetuning leaves as they are, and how much slower its lower ones learn. */
import { depthOf, groupsOfBlocks, isOwnNetwork, type Encoder } from '#libs/contracts';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { LAST_NORM } from './networks/transformer.js';
import type { NamedWeight } from './networks/weights.js';
import { TrainingError } from './train-context.js';

/** Number of a layer's block, counted from 1; 0 of what comes before the blocks. */
const blockOf = (layer: string): number => Number(/^block(\d+)_/.exec(layer)?.[1] ?? 0);

/** @throws TrainingError for a model of its users' own, of whose layers none is known to be a block. */
function requireBlocks(encoder: Encoder, field: string): void {
  if (isOwnNetwork(encoder))
    throw new TrainingError(
      'invalid_spec',
      `expected no ${field} for layers of a model, which have no blocks: set \`trainable\` of its layers, or ` +
        '`backbone.rate`',
    );
}

/**
 * The factor of a weight's learning rate: `decay` for each layer that stands above its own, which are the blocks of the
 * encoder, those of the projection head, and what is new on top (BEiT, Bao et al. 2022; timm's `layer_decay` by block).
 * What comes before the blocks is the lowest.
 */
export function layerFactor(encoder: Encoder, headLayers: number, decay: number): (weight: NamedWeight) => number {
  if (decay === 1) return () => 1;
  requireBlocks(encoder, 'layerDecay');
  const blocks = depthOf(encoder);
  const top = blocks + headLayers + 1;
  return ({ key }) => {
    const [network, layer] = key.split('/') as [string, string];
    if (network === 'encoder') return decay ** (top - (layer === LAST_NORM ? blocks : blockOf(layer)));
    const ofHead = network === 'projection' ? Number(/^\D+(\d+)$/.exec(layer)![1]) : undefined;
    return ofHead === undefined ? 1 : decay ** (top - blocks - ofHead);
  };
}

/**
 * The encoder's layers up to the end of a group of blocks, which are those of one width, or of a transformer every
 * three, neither learn nor go by the batch in their normalisation (SimCLRv2, `fine_tune_after_block`): of group 0 only
 * what comes before the blocks.
 * @throws TrainingError where the encoder has fewer groups.
 */
export function freezeThrough(encoder: LayersModel, architecture: Encoder, group: number): void {
  requireBlocks(architecture, 'fineTuneAfterBlock');
  const ends = groupsOfBlocks(architecture);
  if (group > ends.length)
    throw new TrainingError(
      'invalid_spec',
      `expected fineTuneAfterBlock of at most ${ends.length}, the groups of blocks of the encoder, got ${group}`,
    );
  const last = group === 0 ? 0 : ends[group - 1]!;
  for (const layer of encoder.layers)
    if (layer.name !== LAST_NORM && blockOf(layer.name) <= last) layer.trainable = false;
}
