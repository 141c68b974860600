import { describe, expect, test } from 'vitest';
import { augmentationName } from './augmentation.js';
import { canonicalJson } from './canonical-json.js';
import { RunSpec } from './run-spec.js';
import { expandSweep } from './sweep-expansion.js';
import { type InvalidSweepError, SweepSpec } from './sweep.js';
import type { Pretrain } from './training-spec.js';

describe('sweeps', () => {
  const stages = {
    pretrain: { kind: 'pretrain', dataset: 'x' },
    finetune: { kind: 'finetune', dataset: 'x', from: 'pretrain' },
  };
  const parse = (more: object) => SweepSpec.parse({ name: 's', stages, ...more });
  const faults = (more: object) => {
    try {
      expandSweep(parse(more));
    } catch (error) {
      return (error as InvalidSweepError).faults.map(({ path, message }) => `${path.join('|')}: ${message}`);
    }
    return [];
  };

  test('have stages that begin with a model: it is no stage', () => {
    const given = { evaluate: { kind: 'evaluate', dataset: 'x', from: 'model resnet18' } };
    const [trial] = expandSweep(parse({ stages: given, controls: ['random_init_probe'] }));
    expect(trial!.runs).toMatchObject([{ stage: 'evaluate', parentStage: null, spec: { from: 'model resnet18' } }]);
  });

  test('are every combination, the last parameter fastest, parents before children', () => {
    const trials = expandSweep(
      parse({
        parameters: {
          'pretrain.temperature': { values: [0.1, 0.2] },
          'finetune.labelSeed': { values: [1, 2, 3] },
          'pretrain.encoder.width': { value: 8 },
        },
        controls: ['scratch'],
      }),
    );
    expect(
      trials.map(({ parameters }) => [parameters['pretrain.temperature'], parameters['finetune.labelSeed']]),
    ).toEqual([
      [0.1, 1],
      [0.1, 2],
      [0.1, 3],
      [0.2, 1],
      [0.2, 2],
      [0.2, 3],
    ]);
    expect(trials[4]!.runs.map(({ stage, control, parentStage }) => [stage, control, parentStage])).toEqual([
      ['pretrain', null, null],
      ['finetune', null, 'pretrain'],
      ['finetune', 'scratch', null],
    ]);
    expect((trials[4]!.runs[0]!.spec as Pretrain).encoder.width).toBe(8);
    expect(trials[4]!.runs[2]!.spec).toMatchObject({ from: null, labelSeed: 2, encoder: { width: 8 } });
  });

  test('are one trial without parameters', () => expect(expandSweep(parse({}))).toHaveLength(1));

  const combos = (more: object) =>
    expandSweep(parse(more)).map(({ runs }) => augmentationName((runs[0]!.spec as Pretrain).augmentation!));

  test('combine augmentations: subsets, pairs and each alone, all but one, strengths, and what is always there', () => {
    expect(combos({ augmentations: { subsets: { of: ['flip', 'crop', 'blur'], size: 2 } } })).toEqual([
      'crop+flip',
      'crop+blur',
      'flip+blur',
    ]);
    expect(combos({ augmentations: { subsets: { of: ['flip', 'crop'], size: [0, 2] } } })).toEqual([
      'none',
      'crop',
      'flip',
      'crop+flip',
    ]);
    expect(combos({ augmentations: { pairs: { of: { crop: { minArea: 0.2 }, flip: {}, grayscale: {} } } } })).toEqual([
      'crop',
      'flip',
      'grayscale',
      'crop+flip',
      'crop+grayscale',
      'flip+grayscale',
    ]);
    expect(combos({ augmentations: { leave_one_out: { of: ['crop', 'flip', 'blur'] }, always: ['cutout'] } })).toEqual([
      'crop+flip+blur+cutout',
      'flip+blur+cutout',
      'crop+blur+cutout',
      'crop+flip+cutout',
    ]);
    const strengths = expandSweep(
      parse({
        augmentations: { pairs: { of: ['crop', 'flip'] }, strengths: { crop: [{ minArea: 0.1 }, { minArea: 0.5 }] } },
      }),
    );
    expect(strengths.map(({ runs }) => (runs[0]!.spec as Pretrain).augmentation!.crop?.minArea)).toEqual([
      0.1,
      0.5,
      undefined,
      0.1,
      0.5,
    ]);
    expect(faults({ augmentations: { pairs: { of: ['crop'] }, strengths: { crop: [{ minArea: 7 }] } } })[0]).toMatch(
      /^augmentations: pretrain\.augmentation\.crop\.minArea: expected at most 1, got 7 /,
    );
    expect(
      faults({ stages: { a: { kind: 'autoencode', dataset: 'x' } }, augmentations: { pairs: { of: ['crop'] } } }),
    ).toEqual(['augmentations: expected a stage of kind pretrain for it to set, there is none']);
  });

  test('the control from scratch has no layers of a parent to tune slowly', () => {
    const trials = expandSweep(
      parse({ parameters: { 'finetune.backbone.rate': { values: [0, 0.1] } }, controls: ['scratch'] }),
    );
    expect(
      trials.map(({ runs }) => runs.map(({ spec }) => (spec.kind === 'finetune' ? spec.backbone?.rate : null))),
    ).toEqual([
      [null, 0, undefined],
      [null, 0.1, undefined],
    ]);
    expect(trials.every(({ runs }) => RunSpec.safeParse(runs[2]!.spec).success)).toBe(true);
  });

  test('six augmentations in pairs, two fractions and four seeds: 21 pretrainings, each shared by 8 finetunes', () => {
    const trials = expandSweep(
      parse({
        augmentations: { pairs: { of: ['crop', 'flip', 'colorJitter', 'grayscale', 'blur', 'rotate'] } },
        label_fractions: [0.01, 0.1],
        seeds: 4,
        controls: ['scratch'],
      }),
    );
    expect(trials).toHaveLength(21 * 8);
    const distinct = (kind: string, control: string | null) =>
      new Set(
        trials.flatMap(({ runs }) =>
          runs
            .filter((run) => run.spec.kind === kind && run.control === control)
            .map(({ spec }) => canonicalJson(spec)),
        ),
      ).size;
    // From scratch, views of pretraining make no difference.
    expect([distinct('pretrain', null), distinct('finetune', 'scratch')]).toEqual([21, 8]);
    expect(trials[1]!.parameters).toMatchObject({
      'finetune.labelFraction': 0.01,
      'finetune.labelSeed': 2,
      'finetune.seed': 2,
    });
  });

  test('evaluate a random encoder beside a trained one', () => {
    const [trial] = expandSweep(
      parse({
        stages: { ...stages, probe: { kind: 'evaluate', dataset: 'x', from: 'pretrain' } },
        controls: ['random_init_probe', 'scratch'],
      }),
    );
    expect(trial!.runs.map(({ stage, control }) => `${stage} ${control}`)).toEqual([
      'pretrain null',
      'finetune null',
      'finetune scratch',
      'probe null',
      'probe random_init_probe',
    ]);
    expect(trial!.runs.at(-1)!.spec).toMatchObject({ kind: 'evaluate', from: null, encoder: { width: 32 } });
  });

  describe('with parameters that depend on others', () => {
    const conditional = {
      'pretrain.targetMomentum': { values: [0.9, 0.99], when: { 'pretrain.method': 'byol' } },
      'pretrain.method': { values: ['simclr', 'byol', 'simsiam'] },
      'pretrain.predictorHidden': { values: [64, 128], when: { 'pretrain.method': ['byol', 'simsiam'] } },
      'pretrain.seed': { values: [7, 8], when: { 'pretrain.targetMomentum': 0.9, 'pretrain.predictorHidden': 64 } },
    };
    const reduced = (parameters: Record<string, unknown>) =>
      Object.entries(parameters)
        .map(([path, value]) => `${path.split('.')[1]}=${String(value)}`)
        .join(' ');

    test('a grid has each combination of what applies once, and sets nothing else', () => {
      const trials = expandSweep(parse({ parameters: conditional }));
      expect(trials.map(({ parameters }) => reduced(parameters))).toEqual([
        'method=simclr',
        'method=byol predictorHidden=64 targetMomentum=0.9 seed=7',
        'method=byol predictorHidden=64 targetMomentum=0.9 seed=8',
        'method=byol predictorHidden=64 targetMomentum=0.99',
        'method=byol predictorHidden=128 targetMomentum=0.9',
        'method=byol predictorHidden=128 targetMomentum=0.99',
        'method=simsiam predictorHidden=64',
        'method=simsiam predictorHidden=128',
      ]);
      // Those that do not apply have the value of the stage.
      expect(trials[0]!.runs[0]!.spec).toMatchObject({
        method: 'simclr',
        predictorHidden: 128,
        targetMomentum: 0.99,
        seed: 0,
      });
      expect(
        expandSweep(parse({ parameters: conditional, seeds: 2, run_cap: 16, order_by: ['pretrain.seed'] })),
      ).toHaveLength(16);
      expect(faults({ parameters: conditional, run_cap: 7 })[0]).toMatch(
        /^run_cap: expected a grid of at most 7 trials, got up to 24/,
      );
      expect(faults({ parameters: conditional, seeds: 2, run_cap: 15 })[0]).toMatch(
        /^run_cap: expected a grid of at most 15 trials, got 16/,
      );
    });

    test('a random search draws each of them once, and the same whatever the order of the keys', () => {
      const all = (parameters: object) =>
        expandSweep(parse({ method: 'random', run_cap: 100, parameters })).map((trial) =>
          canonicalJson(trial.parameters),
        );
      const drawn = all(conditional);
      expect(drawn.toSorted()).toEqual(
        expandSweep(parse({ parameters: conditional }))
          .map(({ parameters }) => canonicalJson(parameters))
          .toSorted(),
      );
      expect(all(Object.fromEntries(Object.entries(conditional).reverse()))).toEqual(drawn);
    });

    test.each<[string, object, string]>([
      [
        'another parameter that is not there',
        { 'pretrain.seed': { value: 1, when: { 'pretrain.epochs': 1 } } },
        'parameters|pretrain.seed|when|pretrain.epochs: expected another parameter of this sweep (there is none), ' +
          'got pretrain.epochs',
      ],
      [
        'a value that the other never has',
        {
          'pretrain.method': { values: ['byol'] },
          'pretrain.seed': { value: 1, when: { 'pretrain.method': ['byol', 'moco'] } },
        },
        'parameters|pretrain.seed|when|pretrain.method: expected "byol", what pretrain.method may be, got "moco"',
      ],
      [
        'a circle',
        {
          'pretrain.seed': { value: 1, when: { 'pretrain.epochs': 1 } },
          'pretrain.epochs': { value: 1, when: { 'pretrain.seed': 1 } },
        },
        'parameters|pretrain.seed|when|pretrain.epochs: expected parameters that do not depend on themselves',
      ],
    ])('refuse %s', (_, parameters, expected) =>
      expect(faults({ parameters })[0]!.startsWith(expected), faults({ parameters })[0]).toBe(true),
    );
  });

  test.each<[string, object, string]>([
    [
      'a random search without an end',
      { method: 'random', parameters: { 'pretrain.seed': { values: [1] } } },
      'run_cap: expected a number of trials for method random',
    ],
    [
      'a range in a grid',
      { parameters: { 'pretrain.temperature': { min: 0.1, max: 1 } } },
      'parameters|pretrain.temperature: expected value or values for method grid',
    ],
    [
      'an unknown stage',
      { parameters: { 'train.epochs': { value: 1 } } },
      'parameters|train.epochs: expected <stage>.<field> with a stage of pretrain, finetune',
    ],
    ['a stage alone', { parameters: { pretrain: { value: 1 } } }, 'parameters|pretrain: expected <stage>.<field>'],
    [
      'a parent as a parameter',
      { parameters: { 'finetune.from': { value: null } } },
      'parameters|finetune.from: expected the path of a field other than',
    ],
    [
      'a key that reaches behind objects',
      { parameters: { 'pretrain.__proto__.x': { value: 1 } } },
      'parameters|pretrain.__proto__.x: expected the path',
    ],
    [
      'a value out of range',
      { parameters: { 'pretrain.temperature': { values: [0.1, 50] } } },
      'parameters|pretrain.temperature: pretrain.temperature: expected at most 10, got 50 (trial 1: 50)',
    ],
    [
      'a field that is none',
      { parameters: { 'pretrain.epoch': { value: 3 } } },
      'parameters|pretrain.epoch: pretrain.epoch: expected no such field: it is unknown (trial 0: 3)',
    ],
    [
      'a field of a stage that is none',
      {
        stages: { ...stages, pretrain: { ...stages.pretrain, epoch: 3 } },
        parameters: { 'pretrain.epochs': { value: 3 } },
      },
      'stages|pretrain|epoch: expected no such field',
    ],
    [
      'a grid over the cap',
      { run_cap: 3, parameters: { 'pretrain.seed': { values: [1, 2, 3, 4] } } },
      'run_cap: expected a grid of at most 3 trials, got 4',
    ],
    [
      'the same trial twice',
      { parameters: { 'pretrain.seed': { values: [1, 1] } } },
      'parameters: expected trials that differ',
    ],
    [
      'a cycle',
      {
        stages: { a: { kind: 'finetune', dataset: 'x', from: 'b' }, b: { kind: 'finetune', dataset: 'x', from: 'a' } },
      },
      'stages|a|from: expected stages without a cycle, got a → b → a',
    ],
    [
      'a parent that trains nothing',
      {
        stages: {
          a: { kind: 'prepare-dataset', name: 'x', path: 'x' },
          b: { kind: 'finetune', dataset: 'x', from: 'a' },
        },
      },
      'stages|b|from: expected a stage of kind pretrain, finetune, distill, autoencode',
    ],
  ])('refuse %s', (_, more, expected) => {
    const found = faults(more);
    expect(
      found.some((fault) => fault.startsWith(expected)),
      found.join('\n'),
    ).toBe(true);
  });
});
