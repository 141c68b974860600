import { readdirSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { SubmissionFile } from './document.js';

const EXAMPLES = path.resolve(import.meta.dirname, '..', '..', '..', 'examples');

describe('a submitted file', () => {
  test.each(readdirSync(EXAMPLES))('examples/%s is valid', async (name) => {
    expect((await SubmissionFile.read(path.join(EXAMPLES, name))).submission.type).toBe(
      ['sweep.yaml', 'pairs.yaml', 'methods.yaml', 'search.yaml'].includes(name) ? 'sweep' : 'run',
    );
  });

  test.each<[string, string, RegExp]>([
    [
      'a field out of range, at its line',
      'kind: pretrain\ndataset: x\nepochs: 0\n',
      /^f\.yaml:3:9: epochs: expected at least 1, got 0$/,
    ],
    [
      'an unknown field, at its line',
      'kind: pretrain\ndataset: x\n\nepoch: 3\n',
      /^f\.yaml:4:8: epoch: unknown field: did you mean epochs\?$/,
    ],
    ['an unknown field far from all', 'kind: pretrain\ndataset: x\nzebra: 3\n', /zebra: unknown field$/],
    ['an unknown kind', 'kind: pretain\ndataset: x\n', /^f\.yaml:1:7: kind: .*: did you mean pretrain\?$/],
    [
      'an unknown word further in',
      'kind: pretrain\ndataset: x\nencoder: {name: resnet-18}\n',
      /encoder\.name: .*: did you mean resnet18\?$/,
    ],
    [
      'an unknown field of one of several',
      'kind: pretrain\ndataset: x\noptimizer: {name: adam, learningrate: 1}\n',
      /optimizer\.learningrate: unknown field: did you mean learningRate\?$/,
    ],
    [
      'an unknown field of a request',
      'spec: {kind: pretrain, dataset: x}\npriorty: 3\n',
      /priorty: unknown field: did you mean priority\?$/,
    ],
    [
      'an unknown field of a sweep',
      'name: s\nstages:\n  p: {kind: pretrain, dataset: x}\nparameter: {}\n',
      /^f\.yaml:4:12: parameter: unknown field: did you mean parameters\?$/,
    ],
    [
      'an unknown field of a stage',
      'name: s\nstages:\n  p: {kind: pretrain, dataset: x, metod: byol}\n',
      /^f\.yaml:3:42: stages\.p\.metod: .*: did you mean method\?$/,
    ],
    [
      'an unknown method of a stage',
      'name: s\nstages:\n  p: {kind: pretrain, dataset: x, method: bylo}\n',
      /stages\.p\.method: .*: did you mean byol\?$/,
    ],
    [
      'an unknown field as a parameter',
      'name: s\nstages:\n  p: {kind: pretrain, dataset: x}\nparameters:\n  p.schedule.warmupStep: {values: [1, 2]}\n',
      /parameters\.p\.schedule\.warmupStep: .*: did you mean warmupSteps\?$/,
    ],
    [
      'an augmentation',
      'kind: pretrain\ndataset: x\naugmentation: {colourJitter: {}}\n',
      /augmentation\.colourJitter: unknown field: did you mean colorJitter\?$/,
    ],
    [
      'a name that JavaScript has for itself',
      'kind: pretrain\ndataset: x\n__proto__: {epochs: 3}\n',
      /^f\.yaml:3:1: expected another name, got __proto__$/,
    ],
    [
      'a sweep with such a name',
      'name: s\nstages:\n  p: {kind: pretrain, dataset: x}\n  __proto__: {kind: pretrain, dataset: x}\n',
      /^f\.yaml:4:3: expected another name, got __proto__$/,
    ],
    [
      'more lists in each other than anything has',
      `kind: pretrain\ndataset: ${'['.repeat(30_000)}x${']'.repeat(30_000)}\n`,
      /^f\.yaml:2:\d+: expected fewer lists and mappings in each other$/,
    ],
    ['text that is no YAML', 'kind: [', /^f\.yaml:1:\d+: expected YAML or JSON/],
    ['something else', 'a: 1', /^f\.yaml:1:1: expected `kind`/],
    ['an empty file', '', /an empty file/],
    [
      "a sweep's value that makes a spec invalid",
      'name: s\nstages:\n  p: {kind: pretrain, dataset: x}\nparameters:\n  p.temperature: {values: [0.1, -1]}\n',
      /^f\.yaml:5:18: parameters\.p\.temperature: p\.temperature: /,
    ],
    [
      'a metric that no stage reports, at its line',
      'name: s\nmetric: {name: val_loss, goal: minimize}\nstages:\n  p: {kind: pretrain, dataset: x}\n',
      /^f\.yaml:2:16: metric\.name: .*, got val_loss: did you mean train\/loss\?$/,
    ],
    [
      'a metric that does not say which way it is better',
      'name: s\nmetric:\n  name: eval/uniformity\nstages:\n  p: {kind: pretrain, dataset: x}\n',
      /^f\.yaml:2:1: metric\.goal: expected maximize or minimize: eval\/uniformity does not say/,
    ],
    [
      'an optimizer that is none',
      'kind: pretrain\ndataset: x\noptimizer: {name: adm}\n',
      /^f\.yaml:3:19: optimizer\.name: expected one of adam, lars, sgd, got "adm": did you mean adam\?$/,
    ],
    [
      'one of several, in words of our own',
      'name: s\nseeds: few\nstages:\n  p: {kind: pretrain, dataset: x}\n',
      /^f\.yaml:2:8: seeds: expected a number or a list, got "few"$/,
    ],
    [
      'a parent that is none',
      'kind: distill\ndataset: x\nfrom: pp\n',
      /^f\.yaml:3:7: from: expected the id of a run, got "pp"$/,
    ],
    [
      'a parent of a stage that is none',
      'name: s\nstages:\n  p: {kind: pretrain, dataset: x}\n  f:\n    kind: finetune\n    dataset: x\n    from: pp\n',
      /^f\.yaml:7:11: stages\.f\.from: .*, got "pp"; of this sweep's stages it could be p$/,
    ],
    [
      'a condition on what is no parameter, at its line',
      'stages:\n  p: {kind: pretrain, dataset: x}\nname: s\nparameters:\n  p.temperature:\n    values: [0.1]\n    ' +
        'when:\n      p.methd: simclr\n',
      /^f\.yaml:8:16: parameters\.p\.temperature\.when\.p\.methd: expected another parameter/,
    ],
  ])('%s is told', (_, text, expected) => {
    expect(() => SubmissionFile.parse(text, 'f.yaml')).toThrow(expected);
  });
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
