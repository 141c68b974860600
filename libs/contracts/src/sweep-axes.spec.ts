import { describe, expect, test } from 'vitest';
import { expandSweep } from './sweep-expansion.js';
import { SweepSpec } from './sweep.js';

describe('sweeps', () => {
  const stages = {
    pretrain: { kind: 'pretrain', dataset: 'x' },
    finetune: { kind: 'finetune', dataset: 'x', from: 'pretrain' },
  };
  const parse = (more: object) => SweepSpec.parse({ name: 's', stages, ...more });

  describe('by random search', () => {
    const random = (parameters: object, more: object = {}) =>
      expandSweep(
        parse({
          method: 'random',
          run_cap: 400,
          stages: { ...stages, pretrain: { ...stages.pretrain, optimizer: { name: 'adam' } } },
          parameters,
          ...more,
        }),
      ).map((trial) => trial.parameters);
    const values = (parameter: object, path = 'pretrain.optimizer.learningRate') =>
      random({ [path]: parameter }).map((each) => each[path] as number);
    const mean = (numbers: number[]) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;

    test('repeat for a seed and differ for another', () => {
      const draw = (seed: number) =>
        random({ 'pretrain.temperature': { min: 0.05, max: 1.0, distribution: 'uniform' } }, { seed, run_cap: 5 });
      expect(draw(1)).toEqual(draw(1));
      expect(draw(1)).not.toEqual(draw(2));
    });

    test('follow their distributions', () => {
      const uniform = values({ min: 0.1, max: 0.3 });
      expect(Math.min(...uniform)).toBeGreaterThanOrEqual(0.1);
      expect(mean(uniform)).toBeCloseTo(0.2, 1);
      const log = values({ min: 1e-4, max: 1, distribution: 'log_uniform_values' });
      expect(mean(log.map(Math.log10))).toBeCloseTo(-2, 0);
      expect(values({ min: -9, max: 0, distribution: 'log_uniform' }).every((x) => x >= Math.exp(-9) && x <= 1)).toBe(
        true,
      );
      expect(values({ min: 0.1, max: 0.5, q: 0.1, distribution: 'q_uniform' }).toSorted()).toEqual([
        0.1, 0.2, 0.3, 0.4, 0.5,
      ]);
      expect(values({ min: 4, max: 9 }, 'pretrain.encoder.width').toSorted((a, b) => a - b)).toEqual([
        4, 5, 6, 7, 8, 9,
      ]);
      const often = random({
        'pretrain.temperature': { values: [0.1, 0.2], probabilities: [9, 1] },
        'pretrain.optimizer.learningRate': { min: 1e-4, max: 1e-2 },
      }).map((each) => each['pretrain.temperature']);
      expect(often.filter((each) => each === 0.1).length / often.length).toBeCloseTo(0.9, 1);
    });

    test('end where a finite space has no more, and try shared axes in full for each draw', () => {
      expect(random({ 'pretrain.temperature': { values: [0.1, 0.2, 0.5] } })).toHaveLength(3);
      expect(
        random(
          { 'pretrain.temperature': { min: 0.05, max: 1.0, distribution: 'uniform' } },
          { run_cap: 9, label_fractions: [0.01, 0.1] },
        ),
      ).toHaveLength(8);
    });
  });
});
