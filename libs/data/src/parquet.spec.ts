import { parquetWriteBuffer } from 'hyparquet-writer';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { colour, DataRoot, reds, refusal, wavOf } from '../../../tests/support/sources.js';
import { openParquet } from './parquet.js';

let data: DataRoot;
beforeAll(async () => {
  data = await DataRoot.create();
});
afterAll(() => data.remove());

/** LZ4's block format: what came before within 64 kB is copied, all else is literal. */
function lz4Of(bytes: Uint8Array): Uint8Array {
  const packed: number[] = [];
  const long = (length: number): number[] =>
    length < 15 ? [] : [...new Array<number>(Math.floor((length - 15) / 255)).fill(255), (length - 15) % 255];
  const sequence = (literals: Uint8Array, copy?: { offset: number; length: number }): void => {
    const rest = copy ? copy.length - 4 : 0;
    packed.push((Math.min(15, literals.length) << 4) | Math.min(15, rest), ...long(literals.length), ...literals);
    if (copy) packed.push(copy.offset & 255, copy.offset >> 8, ...long(rest));
  };
  const seen = new Map<string, number>();
  let from = 0;
  for (let at = 0; at + 12 < bytes.length;) {
    const key = bytes.subarray(at, at + 4).join();
    const before = seen.get(key);
    seen.set(key, at);
    if (before === undefined || at - before > 65_535) {
      at++;
      continue;
    }
    let length = 4;
    while (at + length + 5 < bytes.length && bytes[at + length] === bytes[before + length]) length++;
    sequence(bytes.subarray(from, at), { offset: at - before, length });
    from = at += length;
  }
  sequence(bytes.subarray(from));
  return Uint8Array.from(packed);
}

function hadoopOf(bytes: Uint8Array): Uint8Array {
  const block = lz4Of(bytes);
  const lengths = Buffer.alloc(8);
  lengths.writeUInt32BE(bytes.length, 0);
  lengths.writeUInt32BE(block.length, 4);
  return Buffer.concat([lengths, block]);
}

const png = (r: number, g = 0) => colour(r, g, 0).png().toBuffer();

describe('Parquet', () => {
  type Codec = 'UNCOMPRESSED' | 'SNAPPY' | 'GZIP' | 'ZSTD' | 'LZ4' | 'LZ4_RAW';
  const schemaOf = (label: 'INT64' | 'BYTE_ARRAY', media = 'image') => [
    { name: 'root', num_children: 2 },
    { name: media, num_children: 2, repetition_type: 'OPTIONAL' as const },
    { name: 'bytes', type: 'BYTE_ARRAY' as const, repetition_type: 'OPTIONAL' as const },
    {
      name: 'path',
      type: 'BYTE_ARRAY' as const,
      converted_type: 'UTF8' as const,
      repetition_type: 'OPTIONAL' as const,
    },
    {
      name: 'label',
      type: label,
      repetition_type: 'OPTIONAL' as const,
      ...(label === 'BYTE_ARRAY' && { converted_type: 'UTF8' as const }),
    },
  ];
  const table = (
    images: (Buffer | null)[],
    labels: (bigint | string | null)[],
    {
      codec = 'SNAPPY',
      names,
      media = 'image',
      rowGroupSize = 2,
    }: { codec?: Codec; names?: string[]; media?: string; rowGroupSize?: number } = {},
  ): Buffer =>
    Buffer.from(
      parquetWriteBuffer({
        schema: schemaOf(typeof labels[0] === 'string' ? 'BYTE_ARRAY' : 'INT64', media),
        codec,
        rowGroupSize,
        compressors: {
          GZIP: (bytes: Uint8Array) => gzipSync(bytes),
          ZSTD: (bytes: Uint8Array) => zstdCompressSync(bytes),
          LZ4_RAW: lz4Of,
          LZ4: hadoopOf,
        },
        columnData: [
          {
            name: media,
            data: images.map((bytes, i) => ({ bytes: bytes && new Uint8Array(bytes), path: `${i}.png` })),
          },
          { name: 'label', data: labels },
        ],
        ...(names && {
          kvMetadata: [
            {
              key: 'huggingface',
              value: JSON.stringify({
                info: { features: { image: { _type: 'Image' }, label: { names, _type: 'ClassLabel' } } },
              }),
            },
          ],
        }),
      }),
    );

  test.each(['LZ4_RAW', 'LZ4'] as const)('packed by %s is read, bytes that repeat and long runs too', async (codec) => {
    const raw = await sharp({ create: { width: 8, height: 8, channels: 3, background: { r: 70, g: 0, b: 0 } } })
      .tiff({ compression: 'none' })
      .toBuffer();
    const images = [raw, await png(10), raw, Buffer.concat([raw, Buffer.alloc(2000, 7)])];
    await data.folder(codec, { 'x.parquet': table(images, ['a', 'b', 'a', 'b'], { codec, rowGroupSize: 4 }) });
    const { arrays, manifest } = await data.prepare(codec);
    expect(manifest.classes).toEqual(['a', 'b']);
    expect(reds(arrays['train-samples']!)).toEqual([70, 10, 70, 70]);
  });

  test('as Hugging Face has it: names of the classes, splits by file, rows without a label passed over', async () => {
    const images = await Promise.all([10, 20, 30, 40, 50].map((red) => png(red)));
    const names = ['zebra', 'ape', 'unseen'];
    await data.folder('hub', {
      'data/train-00000-of-00002.parquet': table(images.slice(0, 3), [0n, 1n, 0n], { names }),
      'data/train-00001-of-00002.parquet': table(images.slice(3), [1n, -1n], { names, codec: 'ZSTD' }),
      'data/validation-00000-of-00001.parquet': table([images[0]!], [1n], { names, codec: 'GZIP' }),
      'data/test-00000-of-00001.parquet': table([images[1]!], [0n], { names, codec: 'UNCOMPRESSED' }),
      'README.md': Buffer.from('x'),
    });
    const { manifest, arrays, warnings } = await data.prepare('hub');
    expect(manifest.classes).toEqual(['zebra', 'ape']);
    expect([reds(arrays['train-samples']!), arrays['train-labels']!.data]).toEqual([
      [10, 20, 30, 40],
      [0, 1, 0, 1],
    ]);
    expect([
      reds(arrays['val-samples']!),
      arrays['val-labels']!.data,
      reds(arrays['test-samples']!),
      arrays['test-labels']!.data,
    ]).toEqual([[10], [1], [20], [0]]);
    expect(warnings.join()).toMatch(/1 files .*train-00001-of-00002\.parquet, row 1/);
  });

  test('with labels that are text, in one file, and a row whose image is damaged', async () => {
    await data.folder('.', {
      'words.parquet': table(
        [await png(1), await png(2), null, Buffer.from('no image'), await png(5)],
        ['dog', 'cat', 'cat', 'dog', 'cat'],
        { media: 'img' },
      ),
    });
    const { manifest, arrays, warnings } = await data.prepare('words.parquet', { maxCorruptFraction: 0.5 });
    expect([manifest.classes, reds(arrays['train-samples']!), arrays['train-labels']!.data]).toEqual([
      ['cat', 'dog'],
      [1, 2, 5],
      [1, 0, 0],
    ]);
    expect(warnings.join()).toMatch(/2 of 5 files could not be decoded: words\.parquet, row 2 .*words\.parquet, row 3/);
  });

  test('that holds sounds', async () => {
    await data.folder('.', {
      'sounds.parquet': table([wavOf([1, 2], 1000), wavOf([3, 4], 1000)], ['a', 'b'], { media: 'audio' }),
    });
    expect(
      (await data.prepare('sounds.parquet', { audio: { sampleRate: 1000, seconds: 0.002 } })).arrays['train-samples']!
        .data,
    ).toEqual([1, 2, 3, 4]);
  });

  test('of row groups that come in several answers gives each row once, with its own bytes', async () => {
    const count = 60;
    await data.folder('.', {
      'large.parquet': table(
        Array.from({ length: count }, (_, i) => Buffer.alloc(2 ** 20, i)),
        Array.from({ length: count }, (_, i) => BigInt(i % 2)),
        { codec: 'UNCOMPRESSED', rowGroupSize: 20 },
      ),
    });
    const source = await openParquet([{ name: 'large.parquet', path: path.join(data.root, 'large.parquet') }], 'image');
    const seen: number[] = [];
    await source.read((index, payload) => {
      expect((payload as Buffer).equals(Buffer.alloc(2 ** 20, index))).toBe(true);
      // Not a part of what the whole row group was unpacked to.
      expect((payload as Buffer).buffer.byteLength).toBe(2 ** 20);
      seen.push(index);
    }, new AbortController().signal);
    expect(seen).toEqual(Array.from({ length: count }, (_, i) => i));
  });

  // A level's run that never ends: hyparquet reads on and on.
  test('that is changed inside a page ends the reading, and the name of the file is told', async () => {
    const whole = table([Buffer.alloc(20, 1), Buffer.alloc(20, 2)], [0n, 1n], { codec: 'UNCOMPRESSED' });
    const file = path.join(data.root, 'changed.parquet');
    for (const [place, byte] of [
      [21, 0],
      [12, 128],
    ] as const) {
      const changed = Buffer.from(whole);
      changed[place] = byte;
      await writeFile(file, changed);
      const reading = openParquet([{ name: 'changed.parquet', path: file }], 'image', {}, 2000).then((source) =>
        source.read(() => {}, new AbortController().signal),
      );
      expect(await refusal(reading)).toBe(
        'expected changed.parquet to be a whole Parquet file: it could not be read any further in 2 s',
      );
    }
  });

  test('that is none, or lacks what is needed, is told in one sentence', async () => {
    const whole = table(await Promise.all([png(1), png(2)]), [0n, 1n]);
    const damaged = Buffer.from(whole);
    damaged.fill(0xff, 4, 60);
    await data.folder('.', {
      'cut.parquet': whole.subarray(0, whole.length - 20),
      'text.parquet': Buffer.from('no parquet'),
      'none.parquet': Buffer.alloc(0),
      'damaged.parquet': damaged,
      'one.parquet': table([await png(1)], ['cat']),
    });
    for (const name of ['cut', 'text', 'none', 'damaged'])
      expect(await refusal(data.prepare(`${name}.parquet`))).toMatch(
        new RegExp(`${name}\\.parquet to be a whole Parquet file`),
      );
    expect(await refusal(data.prepare('one.parquet'))).toMatch(/at least two class.* in one\.parquet, found one: cat/);
    expect(await refusal(data.prepare('one.parquet', { audio: {} }))).toMatch(
      /a column audio or sound of sounds in one\.parquet, found image, label/,
    );
    expect(await refusal(data.prepare('one.parquet', { fileName: '{label}' }))).toMatch(
      /files with names, which fileName needs, got Parquet/,
    );
  });
});
