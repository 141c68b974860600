/** Dense networks on an encoder's features: projection head, predictor, classifier. */
import type { Projection } from '#libs/contracts';
import * as layers from '@tensorflow/tfjs-layers';
import { batchNorm, dense, normaliseAndRectify, type Symbolic } from './layers.js';

/**
 * h [N, F] → z [N, output]: dense layers with batch normalisation, ReLU on all but the last, whose normalisation has no
 * offset (SimCLRv2, `projection_head` in tf2/model.py). `through`: only the first so many layers, for finetuning from
 * the middle. `affineEnd: false` leaves out the last factor too (SimSiam, builder.py).
 */
export function buildProjectionHead(
  inputWidth: number,
  { layers: depth, hidden, output }: Projection,
  { through = depth, affineEnd = true, name = 'projection' } = {},
): layers.LayersModel {
  const features = layers.input({ shape: [inputWidth], name: 'features' });
  let x: Symbolic = features;
  for (let layer = 1; layer <= through; layer++) {
    const isLast = layer === depth;
    x = dense(x, `dense${layer}`, isLast ? output : hidden, false);
    x = isLast
      ? batchNorm(x, `bn${layer}`, { center: false, scale: affineEnd })
      : normaliseAndRectify(x, `bn${layer}`, `relu${layer}`);
  }
  return layers.model({ inputs: features, outputs: x, name });
}

/** z [N, D] → p [N, D]: the predictor of BYOL and SimSiam. */
export function buildPredictor(width: number, hidden: number): layers.LayersModel {
  const z = layers.input({ shape: [width], name: 'projected' });
  const inner = normaliseAndRectify(dense(z, 'dense1', hidden, false), 'bn1', 'relu1');
  return layers.model({ inputs: z, outputs: dense(inner, 'dense2', width), name: 'predictor' });
}

/** z [N, D] → how much of each prototype is in it [N, count]: SwAV's and DINO's last layer. */
export function buildPrototypes(width: number, count: number): layers.LayersModel {
  const z = layers.input({ shape: [width], name: 'projected' });
  return layers.model({ inputs: z, outputs: dense(z, 'prototypes', count, false), name: 'prototypes' });
}

/** h [N, F] → logits [N, classes] */
export function buildClassifier(inputWidth: number, classes: number): layers.LayersModel {
  const features = layers.input({ shape: [inputWidth], name: 'features' });
  return layers.model({ inputs: features, outputs: dense(features, 'logits', classes), name: 'classifier' });
}
