import { expect, test } from 'vitest';
import { faultsOfSettings, mediumOf, nameOf, specOf, USUAL, type Settings } from './source-settings.js';

const settings = (more: Partial<Settings> = {}): Settings => ({
  ...USUAL,
  name: 'pets',
  path: 'images/pets',
  medium: 'images',
  ...more,
});
const found = { images: 0, sounds: 0, masks: false, others: 0, all: true };

test('masks beside images are masks, and never a class', () => {
  expect(mediumOf({ ...found, images: 20, masks: true })).toBe('masks');
  expect(mediumOf({ ...found, images: 20, sounds: 2 })).toBe('images');
  expect(mediumOf({ ...found, sounds: 2 })).toBe('sounds');
});

test.each([
  ['images/pets', 'pets'],
  ['Pets & Co.tar.gz', 'Pets-Co'],
  ['_old/', 'old'],
  ['', ''],
])('%s is called %s', (path, name) => expect(nameOf(path)).toBe(name));

test('what is left as usual is not in the spec', () => {
  expect(specOf(settings())).toEqual({ kind: 'prepare-dataset', name: 'pets', path: 'images/pets' });
  expect(specOf(settings({ path: '', imageSize: '16', channels: '1', valFraction: '0' }))).toEqual({
    kind: 'prepare-dataset',
    name: 'pets',
    path: '.',
    imageSize: 16,
    channels: 1,
    valFraction: 0,
  });
  expect(specOf(settings({ medium: 'sounds', imageSize: '16', seconds: '0.5' }))).toEqual({
    kind: 'prepare-dataset',
    name: 'pets',
    path: 'images/pets',
    audio: { seconds: 0.5 },
  });
  expect(specOf(settings({ medium: 'masks', maskClasses: 'ground, square', unlabelled: '9' }))).toMatchObject({
    masks: { classes: ['ground', 'square'], unlabelled: 9 },
  });
});

test('faults are told at their fields', () => {
  expect([...faultsOfSettings(settings())]).toEqual([]);
  expect([...faultsOfSettings(settings({ name: '-', imageSize: '4' })).keys()]).toEqual(['name', 'imageSize']);
  expect(faultsOfSettings(settings({ name: '' })).get('name')).toMatch(/^expected 1 to 128 of .*, got ""$/);
  expect([...faultsOfSettings(settings({ medium: 'masks' })).keys()]).toEqual(['masks.classes']);
});
