import { afterAll, beforeAll, expect, test } from 'vitest';
import { colour, DataRoot, reds, refusal, twoClasses } from '../../../tests/support/sources.js';

let data: DataRoot;
beforeAll(async () => {
  data = await DataRoot.create();
});
afterAll(() => data.remove());

/** The box that files of ISO's base media format begin with: its main brand, a version, and all brands. */
function fileType(...brands: string[]): Buffer {
  const box = Buffer.concat([Buffer.alloc(4), Buffer.from(`ftyp${brands[0]}\0\0\0\0${brands.join('')}`, 'latin1')]);
  box.writeUInt32BE(box.length);
  return Buffer.concat([box, Buffer.alloc(400)]);
}

test.each([
  ['cats/phone.heic', Buffer.from('whatever'), 'HEIC'],
  ['cats/phone.jpg', fileType('heic', 'mif1', 'heic'), 'HEIC'],
  ['cats/camera.jpg', fileType('mif1', 'mif1', 'heix'), 'HEIC'],
  ['cats/scan.png', Buffer.from('\0\0\0\fJXL \r\n\x87\n....', 'latin1'), 'JPEG XL'],
  ['cats/drawing.png', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'), 'SVG'],
  ['cats/page.jpg', Buffer.from('<?xml version="1.0"?>\n<!-- x -->\n<svg width="8" height="8"></svg>'), 'SVG'],
  ['cats/camera.NEF', Buffer.from('whatever'), 'a raw photograph'],
])('%s is refused with what was found and what to do', async (name, bytes, found) => {
  const folder = await data.folder(`refused-${name.replace('/', '-')}`, { ...twoClasses(), [name]: bytes });
  const told = await refusal(data.prepare(folder, { maxCorruptFraction: 0.01 }));
  expect(told).toContain(`1 of 21 files could not be decoded: ${name} (expected JPEG, PNG,`);
  expect(told).toContain(`found ${found}: write it as PNG or JPEG (magick mogrify -format png)`);
});

test('AVIF, which lies in the container of HEIC, is read', async () => {
  const avif = await colour(200, 0, 0, 16).avif({ lossless: true }).toBuffer();
  const folder = await data.folder('avif', { 'cat/1.avif': avif, 'dog/1.avif': avif });
  for (const red of reds((await data.prepare(folder)).arrays['train-samples']!)) expect(red).toBeGreaterThan(150);
});
