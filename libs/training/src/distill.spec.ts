import type { RunSpec } from '#libs/contracts';
import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import type { z } from 'zod';
import { readTensors } from './checkpoint.js';
import { run, specs, useTinyDataset } from '../../../tests/support/training-runs.js';

useTinyDataset();

test('a student learns what its teacher knows, from samples without labels and with them', async () => {
  const teacher = await run({ ...specs['finetune'], steps: 100 } as z.input<typeof RunSpec>);
  const from = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';
  const parentModel = teacher.files.get('model')!;
  const spec = {
    kind: 'distill',
    dataset: 'tiny',
    from,
    encoder: { width: 4 },
    batchSize: 19,
    epochs: 20,
    optimizer: { name: 'adam', learningRate: 5e-3 },
  } as const;
  const student = await run(spec, { parentModel });
  expect(student.metrics['eval/teacher_accuracy']).toBeCloseTo(teacher.metrics['eval/accuracy']!, 5);
  expect(student.metrics['eval/agreement']).toBeGreaterThan(0.8);
  const report = JSON.parse(await readFile(student.files.get('report')!, 'utf8')) as { accuracy: number };
  expect(report.accuracy).toBe(student.metrics['eval/accuracy']);
  const mixed = await run({ ...spec, labelWeight: 0.5, labelFraction: 0.5, epochs: 4 }, { parentModel });
  expect(Object.keys(mixed.metrics)).toEqual(expect.arrayContaining(['train/distillation', 'train/cross_entropy']));
  const first = await run({ ...spec, labelWeight: 0.5, epochs: 4 }, { parentModel, stopAt: 11 });
  const [whole, resumed] = [
    await run({ ...spec, labelWeight: 0.5, epochs: 4 }, { parentModel }),
    await run({ ...spec, labelWeight: 0.5, epochs: 4 }, { parentModel, checkpoint: first.files.get('checkpoint')! }),
  ];
  expect((await readTensors(resumed.files.get('model')!)).tensors).toEqual(
    (await readTensors(whole.files.get('model')!)).tensors,
  );
}, 60_000);
