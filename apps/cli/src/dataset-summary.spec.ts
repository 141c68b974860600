import { PrepareDataset, type DatasetSummary } from '#libs/contracts';
import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { specOf, withDatasetOptions, type DatasetOptions } from './dataset-options.js';
import { summaryText } from './dataset-summary.js';

const specFrom = (...words: string[]) =>
  specOf(
    withDatasetOptions(new Command())
      .exitOverride()
      .configureOutput({ writeErr: () => {} })
      .parse(words, { from: 'user' })
      .opts<DatasetOptions>(),
  );
const whole = (spec: object) => PrepareDataset.parse({ kind: 'prepare-dataset', name: 'x', path: 'x', ...spec });

describe('options of datasets add', () => {
  test('say what a spec can say', () => {
    expect(specFrom()).toEqual({ imageSize: 32 });
    const images = specFrom(
      ...['--image-size', '24x32', '--channels', '1', '--masks', 'sky, road', '--unlabelled', '9'],
      ...['--mask-value', '1=road', '--mask-value', '7=', '--mask-suffix', '_m'],
      ...['--val-fraction', '0.2', '--test-fraction', '0', '--seed', '4', '--max-corrupt-fraction', '.5', '--dry-run'],
    );
    expect(images).toEqual({
      imageSize: { height: 24, width: 32 },
      channels: 1,
      masks: { classes: ['sky', 'road'], unlabelled: 9, values: { 1: 'road', 7: null }, suffix: '_m' },
      valFraction: 0.2,
      testFraction: 0,
      seed: 4,
      maxCorruptFraction: 0.5,
      dryRun: true,
    });
    expect(() => whole(images)).not.toThrow();
    const sounds = specFrom(
      ...['--seconds', '0.5', '--file-name', '{label}_{group}', '--hold-out', 'test=ann,ben', '--hold-out', 'val=cem'],
    );
    expect(sounds).toMatchObject({
      audio: { seconds: 0.5 },
      fileName: '{label}_{group}',
      holdOut: { test: ['ann', 'ben'], val: ['cem'] },
    });
    expect(whole(sounds).audio).toEqual({ sampleRate: 16_000, seconds: 0.5 });
    expect(whole(specFrom('--windows')).audio).toEqual({ sampleRate: 16_000, seconds: 1, windows: { most: 1000 } });
    expect(specFrom('--window-hop', '0.5', '--most-windows', '9')).toMatchObject({
      audio: { windows: { hopSeconds: 0.5, most: 9 } },
    });
    expect(specFrom('--sounds').audio).toEqual({});
    const listed = specFrom(
      ...['--list', 'x.csv', '--column', 'label=dx', '--column', 'group=who', '--split-list', 'test=t.txt'],
      ...['--rename', 'cat=feline'],
    );
    expect(whole(listed)).toMatchObject({
      list: 'x.csv',
      columns: { label: 'dx', group: 'who' },
      splitLists: { test: 't.txt' },
      renameClasses: { cat: 'feline' },
    });
  });

  test.each([
    [['--image-size', '8x8x3'], /expected 32, or 24x32/],
    [['--channels', '4'], /expected --channels 1 or 3, got 4/],
    [['--unlabelled', '4'], /expected --masks with --unlabelled/],
    [['--hold-out', 'ann'], /expected NAME=VALUE/],
    [['--hold-out', 'train=ann'], /expected --hold-out val=GROUPS or test=GROUPS, got train/],
    [['--val-fraction', 'x'], /expected a number/],
  ])('%j are refused', (words, expected) => {
    expect(() => specFrom(...words)).toThrow(expected);
  });
});

describe('the end of datasets add', () => {
  const output = { write: () => true };
  const summary: DatasetSummary = {
    dryRun: true,
    sample: { modality: 'audio', sampleRate: 1000, length: 500 },
    classes: ['cat', 'dog'],
    splits: { train: { count: 1200, countPerClass: [700, 500] }, test: { count: 3, countPerClass: [3, 0] } },
    sounds: { cut: 1, padded: 2 },
    leftOut: [{ reason: 'are no sounds', count: 3, examples: ['a.txt', 'b.txt'] }],
    warnings: ['test has no sample of dog'],
  };

  test('says samples by class and split, what was left out and why, and what to look at', () => {
    expect(
      summaryText(summary, output)
        .split('\n')
        .map((line) => line.trimEnd()),
    ).toEqual([
      '',
      expect.stringMatching(/^samples of +train +test$/),
      expect.stringMatching(/^cat +700 +3$/),
      expect.stringMatching(/^dog +500 +0$/),
      expect.stringMatching(/^all +1,200 +3$/),
      '2 classes, each sample 0.5 s at 1000 Hz; nothing was prepared',
      '1 sounds were longer and cut, 2 shorter and padded with silence',
      'left out 3: are no sounds (a.txt, b.txt, …)',
      'warning: test has no sample of dog',
      '',
    ]);
  });

  test('shows the first of very many classes, and pixels where they have the classes', () => {
    const classes = Array.from({ length: 100 }, (_, n) => `c${n}`);
    const text = summaryText(
      {
        ...summary,
        classes,
        splits: { train: { count: 2, pixelsPerClass: classes.map(() => 5), unlabelledPixels: 7 } },
      },
      output,
    );
    expect(text).toMatch(/pixels of +train/);
    expect(text).toMatch(/… 71 more/);
    expect(text).toMatch(/images +2/);
  });
});
