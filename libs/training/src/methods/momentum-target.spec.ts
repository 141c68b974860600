import { Pretrain, type SampleShape } from '#libs/contracts';
import { loadTensorFlow } from '#libs/tensorflow';
import { beforeAll, expect, test } from 'vitest';
import { weightsOf } from '../networks/weights.js';
import { newEncoder } from '../run-inputs.js';
import { newHead } from './method.js';
import { momentumTarget } from './momentum-target.js';

beforeAll(() => loadTensorFlow({ threads: 1 }));

test('a target begins as a copy of an encoder whose weights are a model’s, and shares none of them', () => {
  const spec = Pretrain.parse({ kind: 'pretrain', method: 'byol', dataset: 'x', encoder: { width: 4 }, seed: 1 });
  const sample: SampleShape = { modality: 'image', height: 8, width: 8, channels: 3 };
  // Not as the run's seed draws it.
  const encoder = newEncoder(spec.encoder, sample, 2);
  const head = newHead(spec, encoder);
  const { followers } = momentumTarget({ spec, sample, shapes: [], encoder, head, totalSteps: 10 });
  const [own, copied] = [encoder, followers[0]!].map((each) => weightsOf(each).map(({ variable }) => variable));
  expect(copied!.map((variable) => [...variable.dataSync()])).toEqual(own!.map((variable) => [...variable.dataSync()]));
  for (const variable of own!) expect(copied!.every(({ dataId }) => dataId !== variable.dataId)).toBe(true);
});
