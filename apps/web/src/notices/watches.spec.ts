import type { Run } from '#libs/contracts';
import { expect, test } from 'vitest';
import { newsOf, standingOfRun, valueThatHolds } from './watches.js';

const ID = '00000000-0000-4000-8000-000000000001';
const run = (status: Run['status'], metrics: Run['metrics'] = {}) => ({ id: ID, name: 'one', status, metrics }) as Run;
const ends = { id: 'w', of: 'run', target: ID, name: 'one' } as const;
const good = { ...ends, where: 'eval/knn>0.5' };
const news = (watch: typeof ends | typeof good, of: Run) =>
  newsOf(watch, standingOfRun(of, 'where' in watch ? watch.where : undefined));

test.each([
  ['eval/knn>0.5', 0.6, 0.5],
  ['eval/knn>=0.5', 0.5, 0.4],
  ['eval/knn<0.5', 0.4, 0.5],
  ['eval/knn<=0.5', 0.5, 0.6],
  ['eval/knn=0.5', 0.5, 0.6],
])('%s holds of %d, and not of %d', (where, of, notOf) => {
  expect(valueThatHolds(where, { metrics: { 'eval/knn': of } })).toBe(of);
  expect(valueThatHolds(where, { metrics: { 'eval/knn': notOf } })).toBeUndefined();
  expect(valueThatHolds(where, { metrics: {} })).toBeUndefined();
});

test('an end is told when it has come', () => {
  expect(news(ends, run('running'))).toBeUndefined();
  expect(news(ends, run('timed_out'))).toEqual({
    title: 'one: timed out',
    text: 'The run has ended.',
    href: `#/runs/${ID}`,
  });
});

test('a condition is told when it holds, or can’t any more', () => {
  expect(news(good, run('running', { 'eval/knn': 0.4 }))).toBeUndefined();
  expect(news(good, run('running', { 'eval/knn': 0.75 }))).toMatchObject({
    title: 'one: eval/knn>0.5',
    text: 'eval/knn is 0.75.',
  });
  expect(news(good, run('succeeded', { 'eval/knn': 0.4 }))).toMatchObject({
    title: 'one: succeeded',
    text: 'The run has ended, and eval/knn>0.5 does not hold.',
  });
});

test('of a sweep the run is told that has reached it', () => {
  const reached = { run: run('running'), value: 0.9 };
  const watch = { ...good, of: 'sweep' as const, name: 'all' };
  expect(newsOf(watch, { status: 'running', ended: false, reached })).toEqual({
    title: 'all: eval/knn>0.5',
    text: 'eval/knn of one is 0.9.',
    href: `#/sweeps/${ID}`,
  });
});
