import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { SubmissionFile } from './document.js';
import { worded } from './wording.js';

beforeAll(() => {
  z.config({ customError: worded });
});

test('what a schema refuses is said in this program’s words, each at its line', () => {
  const text =
    'kind: pretrain\ndataset: x\nmethod: foo\nencoder:\n  name: resnet18\n  width: 3\nepochs: many\n' +
    'batchSize: 1.5\ntemperature: 99\ntags: 3\n';
  const told = (() => {
    try {
      return SubmissionFile.parse(text, 'f.yaml').file;
    } catch (error) {
      return (error as Error).message.split('\n').sort();
    }
  })();
  expect(told).toEqual([
    'f.yaml:10:7: tags: expected a list, got 3',
    'f.yaml:3:9: method: expected one of simclr, byol, simsiam, barlow-twins, vicreg, dcl, supcon, moco-v2, ' +
      'moco-v3, nnclr, swav, dino, emp-ssl, got "foo"',
    'f.yaml:6:10: encoder.width: expected at least 4, got 3',
    'f.yaml:7:9: epochs: expected a number, got "many"',
    'f.yaml:8:12: batchSize: expected a whole number, got 1.5',
    'f.yaml:9:14: temperature: expected at most 10, got 99',
  ]);
});

test('numbers that are none, or too large for one, are said as they are', () => {
  for (const [written, read] of [
    ['1e400', 'Infinity'],
    ['-.inf', '-Infinity'],
    ['.nan', 'NaN'],
  ])
    expect(() => SubmissionFile.parse(`kind: pretrain\ndataset: x\ntemperature: ${written}\n`, 'f.yaml')).toThrow(
      `f.yaml:3:14: temperature: expected a number, got ${read}`,
    );
});

test('a field that stands below its key is told at the key, and several documents in a sentence', () => {
  const sweep =
    'name: s\nmethod: random\nrun_cap: 3\nmetric: {name: eval/knn}\nstages:\n  p:\n    kind: pretrain\n' +
    '    dataset: x\nparameters:\n  p.epochs:\n    values:\n      - 0\n';
  expect(() => SubmissionFile.parse(sweep, 'f.yaml')).toThrow(/^f\.yaml:10:3: parameters\.p\.epochs: /);
  expect(() => SubmissionFile.parse('kind: pretrain\n---\nkind: pretrain\n', 'f.yaml')).toThrow(
    /^f\.yaml:2:1: expected one document, got several/,
  );
  expect(() => SubmissionFile.parse('method: grid\nparameters: {}\n', 'f.yaml')).toThrow(/add --stage and --dataset/);
});
