import { truncate } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { colour, DataRoot, wavOf } from '../../../tests/support/sources.js';
import { InvalidDataError } from './invalid-data.js';

let data: DataRoot;
beforeAll(async () => {
  data = await DataRoot.create();
});
afterAll(() => data.remove());

const folder: DataRoot['folder'] = (...given) => data.folder(...given);
const archive: DataRoot['archive'] = (...given) => data.archive(...given);

describe('sounds', () => {
  const speakers = ['ann', 'ben', 'cem', 'dee', 'eva'];
  /** Two words by five speakers, four times; the first sample tells the speaker, the second the word. */
  const spoken = () =>
    Object.fromEntries(
      speakers.flatMap((speaker, s) =>
        ['no', 'yes'].flatMap((word, w) =>
          Array.from({ length: 4 }, (_, n) => [`words/${word}_${speaker}_${n}.wav`, wavOf([s, w, 7], 1000)] as const),
        ),
      ),
    );
  const audio = { sampleRate: 1000, seconds: 0.0042 };
  const fileName = '{label}_{group}_{}';
  const speakersOf = (samples: { data: number[]; shape: number[] }) =>
    [
      ...new Set(Array.from({ length: samples.shape[0]! }, (_, i) => speakers[samples.data[i * samples.shape[1]!]!])),
    ].sort();

  test('are rows of int16, of the classes in their names; what does not fit the template is named', async () => {
    const { manifest, arrays, warnings } = await data.prepare(
      await archive('words.tar.gz', {
        ...spoken(),
        'words/notes.wav': wavOf([1], 1000),
        'words/readme.txt': Buffer.from('x'),
      }),
      { audio, fileName },
    );
    expect(manifest.sample).toEqual({ modality: 'audio', sampleRate: 1000, length: 4 });
    expect([manifest.classes, manifest.splits.train.countPerClass]).toEqual([
      ['no', 'yes'],
      [20, 20],
    ]);
    const { data: values, shape } = arrays['train-samples']!;
    expect(shape).toEqual([40, 4]);
    expect(values.slice(0, 4)).toEqual([0, 0, 7, 0]);
    expect(arrays['train-labels']!.data).toEqual(Array.from({ length: 40 }, (_, i) => values[4 * i + 1]));
    expect(warnings.join()).toMatch(
      /2 files are no sounds or don't fit the template \{label\}_\{group\}_\{\} and were left out: words\/readme\.txt, words\/notes\.wav/,
    );
  });

  test('are windows of long recordings, all of one in the same split, in the order of files and in time', async () => {
    const recording = (first: number, length: number) =>
      wavOf(
        Array.from({ length }, (_, i) => first + i),
        1000,
      );
    const source = await folder('recordings', {
      ...Object.fromEntries(
        ['crow', 'owl'].flatMap((bird, b) =>
          Array.from({ length: 4 }, (_, n) => [`${bird}/${n}.wav`, recording(1000 * (4 * b + n), 9)] as const),
        ),
      ),
      'owl/9.wav': recording(9000, 3),
    });
    const { manifest, arrays, summary } = await data.prepare(source, {
      audio: { sampleRate: 1000, seconds: 0.004, windows: { hopSeconds: 0.002, most: 3 } },
      valFraction: 0.25,
    });
    const windows = (split: string) => {
      const { data: values, shape } = arrays[`${split}-samples`]!;
      return Array.from({ length: shape[0]! }, (_, i) => values.slice(4 * i, 4 * i + 4));
    };
    const [train, val] = [windows('train'), windows('val')];
    expect([train.length, val.length]).toEqual([3 * 6 + 1, 3 * 2]);
    const recordings = (rows: number[][]) => new Set(rows.map(([first]) => Math.floor(first! / 1000)));
    expect([...recordings(train)].filter((number) => recordings(val).has(number))).toEqual([]);
    for (const rows of [train, val])
      expect(rows).toEqual(
        [...recordings(rows)].flatMap((number) =>
          (number === 9 ? [0] : [0, 2, 4]).map((at) =>
            [0, 1, 2, 3].map((i) => (number === 9 && i === 3 ? 0 : 1000 * number + at + i)),
          ),
        ),
      );
    expect(arrays['val-labels']!.data).toEqual([0, 0, 0, 1, 1, 1]);
    expect(manifest.splits.val!.countPerClass).toEqual([3, 3]);
    expect(summary).toMatchObject({ sounds: { cut: 8, padded: 1 }, splits: { val: { count: 6 } } });
    const dry = await data.prepare(source, {
      audio: { sampleRate: 1000, seconds: 0.004, windows: { hopSeconds: 0.002, most: 3 } },
      valFraction: 0.25,
      dryRun: true,
    });
    expect(dry.summary).toEqual({ ...summary, dryRun: true });
  });

  test('of the groups held out are in those splits, and nowhere else', async () => {
    const { arrays } = await data.prepare('words.tar.gz', {
      audio,
      fileName,
      holdOut: { val: ['ben'], test: ['cem', 'eva'] },
      valFraction: 0.1,
      testFraction: 0.1,
    });
    expect(['train', 'val', 'test'].map((split) => speakersOf(arrays[`${split}-samples`]!))).toEqual([
      ['ann', 'dee'],
      ['ben'],
      ['cem', 'eva'],
    ]);
  });

  test('are drawn by whole groups until the fraction is reached, by seed', async () => {
    const drawn = async (seed: number) => {
      const { arrays, infos } = await data.prepare('words.tar.gz', {
        audio,
        fileName,
        seed,
        valFraction: 0.1,
        testFraction: 0.3,
        holdOut: seed === 9 ? { test: ['ann'] } : undefined,
      });
      const groups = ['train', 'val', 'test'].map((split) => speakersOf(arrays[`${split}-samples`]!));
      expect(groups.flat().sort()).toEqual(speakers);
      expect(infos.join()).toContain(`val is made of the groups ${groups[1]!.join(', ')}`);
      return groups;
    };
    const first = await drawn(1);
    expect(first.map((groups) => groups.length)).toEqual([2, 1, 2]);
    expect(await drawn(1)).toEqual(first);
    expect(
      new Set(await Promise.all([1, 2, 3, 4].map(async (seed) => JSON.stringify(await drawn(seed))))).size,
    ).toBeGreaterThan(1);
    expect((await drawn(9))[2]).toEqual(['ann']);
  });

  test('of one group leave nothing to evaluate on, which is told', async () => {
    const { manifest, warnings } = await data.prepare(
      await folder('alone', { 'a_x.wav': wavOf([1], 1000), 'b_x.wav': wavOf([2], 1000) }),
      { audio, fileName: '{label}_{group}', valFraction: 0.5 },
    );
    expect(Object.keys(manifest.splits)).toEqual(['train']);
    expect(warnings.join()).toMatch(/no val split: only one group/);
  });

  test('of a recording of more than 256 MB its beginning is read like that of another', async () => {
    const short = wavOf([1, 2], 1000);
    const bytes = 300_000_000;
    const header = Buffer.from(short.subarray(0, 48));
    header.writeUInt32LE(36 + bytes, 4);
    header.writeUInt32LE(bytes, 40);
    const source = await data.folder('huge-recording', { 'a/long.wav': header, 'b/short.wav': short });
    // A file with a hole: silence that no disk holds.
    await truncate(path.join(data.root, source, 'a', 'long.wav'), 44 + bytes);
    const { arrays, summary } = await data.prepare(source, { audio: { sampleRate: 1000, seconds: 0.002 } });
    expect(arrays['train-samples']!.data).toEqual([1, 2, 1, 2]);
    expect(summary.leftOut).toEqual([]);
  });

  test('in class folders and splits need no template', async () => {
    const { manifest, arrays } = await data.prepare(
      await folder('folders', {
        'train/a/1.wav': wavOf([5], 1000),
        'train/b/1.WAV': wavOf([6], 1000),
        'test/a/1.wav': wavOf([7], 1000),
      }),
      { audio },
    );
    expect([manifest.classes, arrays['train-samples']!.data, arrays['test-samples']!.data]).toEqual([
      ['a', 'b'],
      [5, 0, 0, 0, 6, 0, 0, 0],
      [7, 0, 0, 0],
    ]);
  });

  test.each<[string, Parameters<DataRoot['prepare']>[1], RegExp]>([
    [
      'a group that is not there',
      { fileName, holdOut: { test: ['zoe'] } },
      /holdOut to name groups that there are \(ann, ben, cem, dee, eva\), got zoe/,
    ],
    [
      'a group in two splits',
      { fileName, holdOut: { val: ['ann'], test: ['ann'] } },
      /each group of holdOut in one split, got ann in both/,
    ],
    ['every group held out', { fileName, holdOut: { test: speakers } }, /expected training sounds, found none/],
    [
      'a template that nothing fits',
      { fileName: '{label}+{}' },
      /sounds named like \{label\}\+\{\} in words\.tar\.gz, found none \(only/,
    ],
    ['a template of one class', { fileName: 'y{label}_{}' }, /at least two classes in words\.tar\.gz, found one: es/],
    ['an impossible template', { fileName: '{label}{group}' }, /text between the fields/],
  ])('%s is told in one sentence', async (_, more, expected) => {
    const error = await data.prepare('words.tar.gz', { audio, ...more }).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(InvalidDataError);
    expect((error as Error).message).toMatch(expected);
  });

  test('that are damaged are counted and named', async () => {
    const source = await folder('noise', {
      ...spoken(),
      'words/no_ann_9.wav': Buffer.from('garbage'),
      'words/yes_ann_9.mp3': Buffer.from('ID3 garbage'),
      'words/no_ben_9.flac': Buffer.from('fLaC'),
      'words/no_ben_8.ogg': Buffer.from('OggS'),
    });
    const { manifest, warnings } = await data.prepare(source, { audio, fileName, maxCorruptFraction: 0.1 });
    expect(manifest.splits.train.count).toBe(40);
    for (const name of ['no_ann_9.wav', 'yes_ann_9.mp3', 'no_ben_9.flac', 'no_ben_8.ogg'])
      expect(warnings.join()).toContain(name);
    await expect(data.prepare(source, { audio, fileName })).rejects.toThrow(
      /at most 5 % of the files .*4 of 44 files could not be decoded/,
    );
  });
});

test('images, too, may have their class and group in their names', async () => {
  const source = await folder(
    'named',
    Object.fromEntries(
      ['cat', 'dog'].flatMap((label, l) =>
        ['x', 'y'].map((group) => [
          `${label}-${group}.png`,
          colour(l * 100, 0, 0)
            .png()
            .toBuffer(),
        ]),
      ),
    ),
  );
  const { manifest, arrays } = await data.prepare(source, { fileName: '{label}-{group}', holdOut: { test: ['y'] } });
  expect([
    manifest.classes,
    manifest.splits.train.countPerClass,
    manifest.splits.test!.countPerClass,
    arrays['train-samples']!.data[192],
  ]).toEqual([['cat', 'dog'], [1, 1], [1, 1], 100]);
});
