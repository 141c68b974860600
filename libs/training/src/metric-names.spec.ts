import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { reportedBy, RunSpec } from '#libs/contracts';

/** Metrics that the source of a trainer names in full; the terms of its loss get their `train/` from the session. */
const named = (file: string): string[] =>
  [...readFileSync(new URL(file, import.meta.url), 'utf8').matchAll(/'((?:eval|train|interpolate)\/[a-z0-9_]+)'/g)].map(
    ([, name]) => name!,
  );

test('what trainers report by name is what a sweep of their kind may be ranked by', () => {
  const kinds = RunSpec.options.map((option) => option.shape.kind.value);
  const files = readdirSync(new URL('.', import.meta.url));
  const trainers = kinds.filter((kind) => files.includes(`${kind}.ts`) && reportedBy([kind]).length > 0);
  expect(trainers).toEqual(expect.arrayContaining(['pretrain', 'finetune', 'distill', 'autoencode', 'evaluate']));
  for (const kind of trainers) {
    const reported = named(`./${kind}.ts`);
    expect(reportedBy([kind]), kind).toEqual(expect.arrayContaining(reported));
    const evaluated = reportedBy([kind]).filter((name) => !name.startsWith('train/'));
    expect([...new Set(reported)].filter((name) => !name.startsWith('train/')).toSorted(), kind).toEqual(
      evaluated.toSorted(),
    );
  }
});
