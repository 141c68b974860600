import { RUN_KINDS } from '#libs/contracts';
import { expect, test } from 'vitest';
import { fieldsOf, type Field } from './spec-fields.js';

const field = (kind: string, ...names: string[]): Field => names.reduce<{ fields: Field[]; found?: Field }>(({ fields }, name) => {
  const found = fields.find((each) => each.name === name)!;
  return { found, fields: 'fields' in found.input ? found.input.fields : [] };
}, { fields: fieldsOf(kind)! }).found!;

test('every kind has a form, made from its schema', () => {
  for (const kind of RUN_KINDS) expect(fieldsOf(kind)!.length, kind).toBeGreaterThan(0);
  expect(fieldsOf('none')).toBeUndefined();
  expect(field('pretrain', 'dataset')).toMatchObject({ required: true, input: { type: 'string' } });
  expect(field('pretrain', 'method')).toMatchObject({ required: false, usual: '"simclr"', input: { type: 'choice', options: ['simclr', 'byol', 'simsiam', 'barlow-twins', 'vicreg'] } });
  expect(field('pretrain', 'epochs')).toMatchObject({ usual: '8', input: { type: 'number', whole: true, min: 1, max: 10_000 } });
  expect(field('pretrain', 'encoder', 'width')).toMatchObject({ usual: '32', input: { type: 'number', whole: true } });
  expect(field('pretrain', 'augmentation')).toMatchObject({ input: { type: 'switch' } });
  expect(field('pretrain', 'augmentation', 'crop')).toMatchObject({ input: { type: 'switch' } });
  expect(field('pretrain', 'augmentation', 'crop', 'minArea')).toMatchObject({ usual: '0.08', input: { type: 'number', whole: false } });
  expect(field('embed', 'maps')).toMatchObject({ input: { type: 'several', options: ['pca', 'tsne', 'umap'] } });
  // A reference or nothing is a reference.
  expect(field('finetune', 'from')).toMatchObject({ required: true, input: { type: 'string' } });
});
