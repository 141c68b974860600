import type { Run } from '#libs/contracts';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { ProgressBoard, runLine } from './board.js';
import { setColour, width, type Output } from './render.js';

const run = (more: Partial<Run> = {}): Run =>
  ({
    id: 'a',
    kind: 'pretrain',
    status: 'running',
    statusDetail: null,
    step: 30,
    totalSteps: 120,
    attempt: 1,
    startedAt: null,
    metrics: {},
    ...more,
  }) as Run;
const terminal = (columns: number, rows = 24): Output => ({ isTTY: true, columns, rows, write: () => true });
const progress = {
  metrics: new Map([
    ['train/loss', 1.25],
    ['eval/knn', 0.5],
  ]),
  curve: [4, 3, 2, 1],
  rate: 12,
  remaining: 7.5,
};

beforeEach(() => setColour(false));
afterEach(() => {
  setColour(true);
  vi.useRealTimers();
});

describe('a line', () => {
  test('has a bar, steps, their rate, the time that is left, the curve and the metrics', () => {
    expect(runLine(run(), 'views', progress, terminal(200), 12)).toBe(
      'views        running ██████░░░░░░░░░░░░░░░░░░ 30/120  12 steps/s  8 s left  █▆▃▁  loss 1.250  kNN 0.500',
    );
  });

  test('gives up what matters less where there is little room, and the bar narrows', () => {
    const at = (columns: number) => runLine(run(), 'views', progress, terminal(columns), 12);
    for (const columns of [40, 50, 60, 70, 80, 90, 120]) expect(width(at(columns)), `${columns}`).toBeLessThan(columns);
    const bar = (columns: number) => at(columns).match(/[█░]+/)![0].length;
    expect([bar(40), bar(200)]).toEqual([9, 24]);
    expect(at(40)).toMatch(/^views {8}running [█░]+ 30\/120$/);
    expect(at(50)).toMatch(/30\/120 {2}8 s left$/);
    expect(at(80)).toContain('12 steps/s');
  });

  test('has no bar elsewhere than on a terminal, nor where nothing moves', () => {
    expect(runLine(run(), 'views', progress, { write: () => true }, 12)).toBe(
      'views        running 25 %  30/120  12 steps/s  8 s left  loss 1.250  kNN 0.500',
    );
    expect(runLine(run({ status: 'queued' }), 'views', progress, terminal(100), 12)).toBe('views        queued');
    expect(
      runLine(run({ status: 'failed', statusDetail: 'no memory' }), 'a-very-long-name', progress, terminal(100), 12),
    ).toBe('a-very-long… failed loss 1.250  kNN 0.500  no memory');
  });
});

describe('the board', () => {
  test('draws as many lines as the terminal has, those that move first, and all of them at the end', () => {
    vi.useFakeTimers();
    let text = '';
    const output = {
      ...terminal(80, 8),
      write: (part: string) => {
        text += part;
        return true;
      },
    };
    const board = new ProgressBoard(output);
    const statuses = [
      ...Array<'queued'>(6).fill('queued'),
      ...Array<'succeeded'>(3).fill('succeeded'),
      'running',
    ] as const;
    for (let i = 0; i < 10; i++) board.add(run({ id: String(i), status: statuses[i]! }), `run-${i}`);
    vi.advanceTimersByTime(200);
    const shown = text.split('\n');
    expect(shown).toHaveLength(5 + 1);
    expect(shown[0]).toContain('run-9');
    expect(shown[4]).toContain('… and 3 queued, 3 succeeded');
    text = '';
    board.end();
    expect(text.split('\n').filter((line) => /run-\d/.test(line))).toHaveLength(10);
    expect(text.endsWith('\u001b[?25h')).toBe(true);
  });

  test('says what a run ended with, though its points come after the news that it has ended', () => {
    let text = '';
    const board = new ProgressBoard({
      write: (part) => {
        text += part;
        return true;
      },
    });
    board.add(run({ step: 119 }), 'views');
    board.metrics('a', [{ key: 'eval/knn', value: 0.25 }]);
    board.update(run({ status: 'succeeded', step: 120, metrics: { 'train/loss': 1.25, 'eval/knn': 0.5 } }));
    board.metrics('a', [{ key: 'train/loss', value: 1.25 }]);
    board.end();
    expect(text.trimEnd().split('\n').at(-1)).toMatch(/^views +succeeded loss 1\.250 {2}kNN 0\.500$/);
  });

  test('says once what concerns all, where nothing can be drawn anew', () => {
    let text = '';
    const board = new ProgressBoard({
      write: (part) => {
        text += part;
        return true;
      },
    });
    board.add(run({ step: 0 }), 'views');
    board.note('no answer');
    board.note('no answer');
    board.update(run({ step: 1 }));
    board.note('');
    board.update(run({ step: 60 }));
    board.end();
    expect(text.split('\n').map((line) => line.trim())).toEqual([
      expect.stringMatching(/^views +running 0 %/),
      'no answer',
      expect.stringMatching(/^views +running 50 %/),
      '',
    ]);
  });
});
