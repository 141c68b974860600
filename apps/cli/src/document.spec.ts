import { readdirSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { SubmissionFile } from './document.js';

const EXAMPLES = path.resolve(import.meta.dirname, '..', '..', '..', 'examples');

describe('a submitted file', () => {
  test.each(readdirSync(EXAMPLES))('examples/%s is valid', async (name) => {
    expect((await SubmissionFile.read(path.join(EXAMPLES, name))).submission.type).toBe(['sweep.yaml', 'pairs.yaml', 'methods.yaml', 'search.yaml'].includes(name) ? 'sweep' : 'run');
  });

  test.each<[string, string, RegExp]>([
    ['a field out of range, at its line', 'kind: pretrain\ndataset: x\nepochs: 0\n', /^f\.yaml:3:9: epochs: .*>=1/],
    ['an unknown field, at its line', 'kind: pretrain\ndataset: x\n\nepoch: 3\n', /^f\.yaml:4:8: epoch: unknown field/],
    ['text that is no YAML', 'kind: [', /^f\.yaml:1:\d+: expected YAML or JSON/],
    ['something else', 'a: 1', /^f\.yaml:1:1: expected `kind`/],
    ['an empty file', '', /an empty file/],
    ['a sweep\'s value that makes a spec invalid', 'name: s\nstages:\n  p: {kind: pretrain, dataset: x}\nparameters:\n  p.temperature: {values: [0.1, -1]}\n', /^f\.yaml:5:18: parameters\.p\.temperature: p\.temperature: /],
    ['a condition on what is no parameter, at its line', 'stages:\n  p: {kind: pretrain, dataset: x}\nname: s\nparameters:\n  p.temperature:\n    values: [0.1]\n    when:\n      p.methd: simclr\n', /^f\.yaml:8:16: parameters\.p\.temperature\.when\.p\.methd: expected another parameter/],
  ])('%s is told', (_, text, expected) => {
    expect(() => SubmissionFile.parse(text, 'f.yaml')).toThrow(expected);
  });
});
