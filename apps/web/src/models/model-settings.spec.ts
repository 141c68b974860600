import { expect, test } from 'vitest';
import { faultsOfSettings, nameOfFile, specOf } from './model-settings.js';

const EMPTY = { name: 'net', path: 'net.safetensors', as: '', mean: '', std: '' };

test('a file names its model', () => {
  expect(nameOfFile('weights/My net (1).safetensors')).toBe('My-net-1-');
  expect(nameOfFile('')).toBe('');
});

test('what is left empty is left to the file, and to ImageNet', () => {
  expect(specOf(EMPTY)).toEqual({ kind: 'import-model', name: 'net', path: 'net.safetensors' });
  expect(specOf({ ...EMPTY, as: 'resnet50' })).toMatchObject({ as: 'resnet50' });
  expect(specOf({ ...EMPTY, as: 'resnet50', mean: '0.5, .25', std: '1,1' })).toMatchObject({
    normalisation: { mean: [0.5, 0.25], std: [1, 1] },
  });
});

test('each fault is told at its field', () => {
  const fields = (change: object) => [...faultsOfSettings({ ...EMPTY, ...change }).keys()];
  expect(fields({})).toEqual([]);
  expect(fields({ name: '', path: '' })).toEqual(['name', 'path']);
  expect(fields({ as: 'resnet50', mean: '0.5,,x', std: '1,1,1' })).toEqual(['normalisation.mean']);
  expect(fields({ as: 'resnet50', mean: '0.5' })).toEqual(['normalisation.std']);
  expect(fields({ mean: '0.5', std: '1' })).toEqual(['normalisation']);
});
