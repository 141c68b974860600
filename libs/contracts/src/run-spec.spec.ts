import { describe, expect, test } from 'vitest';
import { Augmentation, augmentationName } from './augmentation.js';
import { canonicalJson } from './canonical-json.js';
import { labelsPerClass } from './dataset.js';
import { modelNamedBy } from './run-settings.js';
import { RunSpec, withoutUnread } from './run-spec.js';

describe('specs', () => {
  test('are equal in canonical form whatever was written of their defaults, in whatever order', () => {
    const short = RunSpec.parse({ kind: 'pretrain', dataset: 'x', augmentation: { flip: {}, crop: {} } });
    const long = RunSpec.parse({
      seed: 0,
      augmentation: { crop: { p: 1, minArea: 0.08 }, flip: { p: 0.5 } },
      epochs: 8,
      dataset: 'x',
      kind: 'pretrain',
    });
    expect(canonicalJson(long)).toBe(canonicalJson(short));
    expect(canonicalJson({ b: [1, { d: 0.1, c: 'é' }], a: undefined, e: null })).toBe(
      '{"b":[1,{"c":"é","d":0.1}],"e":null}',
    );
    expect(() => canonicalJson({ a: Number.NaN })).toThrow('expected a finite number');
  });

  test('are equal where only settings differ that their method does not read', () => {
    const read = (spec: object) => canonicalJson(withoutUnread(RunSpec.parse({ dataset: 'x', ...spec })));
    expect(read({ kind: 'pretrain', method: 'byol', temperature: 0.5 })).toBe(
      read({ kind: 'pretrain', method: 'byol' }),
    );
    expect(read({ kind: 'pretrain', method: 'simclr', temperature: 0.5 })).not.toBe(
      read({ kind: 'pretrain', method: 'simclr' }),
    );
    expect(read({ kind: 'pretrain', queueSize: 64 })).toBe(read({ kind: 'pretrain' }));
    expect(read({ kind: 'pretrain', method: 'nnclr', queueSize: 64 })).not.toBe(
      read({ kind: 'pretrain', method: 'nnclr' }),
    );
    expect(read({ kind: 'pretrain', method: 'moco-v2' })).not.toContain('queueSize');
    expect(read({ kind: 'pretrain', method: 'swav', dino: {} })).toBe(read({ kind: 'pretrain', method: 'swav' }));
    expect(read({ kind: 'pretrain', prototypes: 64, swav: {} })).toBe(read({ kind: 'pretrain' }));
    expect(read({ kind: 'autoencode', beta: 4 })).toBe(read({ kind: 'autoencode' }));
    const from = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';
    expect(read({ kind: 'embed', from, maps: ['pca'], umap: { neighbors: 5 } })).toBe(
      read({ kind: 'embed', from, maps: ['pca'] }),
    );
    expect(read({ kind: 'embed', from, maps: ['umap'], umap: { neighbors: 5 } })).not.toBe(
      read({ kind: 'embed', from, maps: ['umap'] }),
    );
  });

  test('of before have none of the fields that came with models, and so the digests that they had', () => {
    const spec = RunSpec.parse({ kind: 'pretrain', dataset: 'x' });
    expect(spec).not.toHaveProperty('from');
    expect(spec).toHaveProperty('encoder', { name: 'small-resnet', width: 32 });
  });

  test('begin with a run or a model, and with nothing else', () => {
    const from = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';
    const begins = (start: string) => RunSpec.safeParse({ kind: 'evaluate', dataset: 'x', from: start });
    for (const start of [from, 'model resnet18', 'model resnet18@0123456789ab'])
      expect(begins(start).success).toBe(true);
    for (const start of ['resnet18', 'model', 'model ', 'model a b', 'model a@0123', `${from}0`, 'model ../a'])
      expect(begins(start).error?.issues, start).toMatchObject([{ path: ['from'] }]);
    expect(modelNamedBy('model resnet18@0123456789ab')).toBe('resnet18@0123456789ab');
    expect(modelNamedBy(from)).toBeUndefined();
  });

  test('name a combination of views in their order', () => {
    expect(augmentationName(Augmentation.parse({ blur: {}, crop: {} }))).toBe('crop+blur');
    expect(augmentationName({})).toBe('none');
  });

  test('of a finetuning take an encoder only without a parent', () => {
    const from = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';
    expect(RunSpec.safeParse({ kind: 'finetune', dataset: 'x', from, encoder: {} }).success).toBe(false);
    expect(RunSpec.safeParse({ kind: 'finetune', dataset: 'x', from: null, encoder: {} }).success).toBe(true);
    expect(RunSpec.safeParse({ kind: 'finetune', dataset: 'x' }).success).toBe(false);
    expect(RunSpec.parse({ kind: 'finetune', dataset: 'x', from, backbone: {} })).toMatchObject({
      backbone: { rate: 0.1, statistics: 'parent' },
    });
    expect(
      RunSpec.safeParse({ kind: 'finetune', dataset: 'x', from: null, encoder: {}, backbone: {} }).error?.issues,
    ).toMatchObject([{ path: ['backbone'] }]);
  });

  test('have averages, rates of layers and frozen blocks only where these are given', () => {
    const from = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';
    for (const given of [
      { kind: 'pretrain' },
      { kind: 'finetune', from },
      { kind: 'distill', from },
      { kind: 'autoencode' },
    ])
      expect(canonicalJson(RunSpec.parse({ dataset: 'x', ...given }))).not.toMatch(/ema|layerDecay|fineTuneAfterBlock/);
    expect(RunSpec.parse({ kind: 'finetune', dataset: 'x', from, ema: {}, fineTuneAfterBlock: 0 })).toMatchObject({
      ema: { decay: 0.999 },
      fineTuneAfterBlock: 0,
    });
    expect(
      RunSpec.safeParse({ kind: 'finetune', dataset: 'x', from: null, encoder: {}, fineTuneAfterBlock: 1 }).error
        ?.issues,
    ).toMatchObject([{ path: ['fineTuneAfterBlock'] }]);
  });

  test('are those of before without a precision and with float32, and others in bfloat16', () => {
    const from = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';
    const read = (spec: object) => canonicalJson(withoutUnread(RunSpec.parse({ dataset: 'x', ...spec })));
    for (const kind of [
      { kind: 'pretrain' },
      { kind: 'finetune', from },
      { kind: 'distill', from },
      { kind: 'autoencode' },
    ]) {
      expect(read(kind)).not.toContain('precision');
      expect(read({ ...kind, precision: 'float32' })).toBe(read(kind));
      expect(read({ ...kind, precision: 'bfloat16' })).toContain('"precision":"bfloat16"');
      expect(RunSpec.safeParse({ dataset: 'x', ...kind, precision: 'float16' }).error?.issues).toMatchObject([
        { path: ['precision'] },
      ]);
    }
    // What only judges is in float32.
    expect(RunSpec.safeParse({ kind: 'evaluate', dataset: 'x', from, precision: 'bfloat16' }).success).toBe(false);
  });

  test('of an evaluation name a checkpoint only of a run', () => {
    const from = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';
    expect(RunSpec.safeParse({ kind: 'evaluate', dataset: 'x', from, checkpoint: 5 }).success).toBe(true);
    expect(
      RunSpec.safeParse({ kind: 'evaluate', dataset: 'x', from: null, checkpoint: 5 }).error?.issues,
    ).toMatchObject([{ path: ['checkpoint'] }]);
  });

  test('round label counts class by class', () => expect(labelsPerClass([100, 149, 49], 0.01)).toEqual([1, 1, 0]));
});
