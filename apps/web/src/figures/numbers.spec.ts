import { describe, expect, test } from 'vitest';
import { areLevel, isDrawn, leaderOf, leaderWord, rankingOf, said, signOf } from './numbers.js';

const estimate = (mean: number, ci95: number | null) => ({ mean, ci95, n: ci95 === null ? 1 : 3 });

test.each([
  [0.61, 0.02, 0.64, 0.02, true],
  [0.61, 0.01, 0.64, 0.01, false],
  [0.64, 0.01, 0.61, 0.01, false],
  [0.64, null, 0.64, null, true],
  [0.64, null, 0.6399, null, false],
  [0.64, null, 0.6, 0.05, true],
])('%f ± %s and %f ± %s are level: %s', (a, ciA, b, ciB, level) =>
  expect(areLevel(estimate(a, ciA), estimate(b, ciB))).toBe(level),
);

test.each([
  [0.05, 0.02, 1],
  [-0.05, 0.02, -1],
  [0.01, 0.02, 0],
  [-0.02, 0.02, 0],
  // Of one seed nobody knows.
  [0.2, null, 0],
])('a difference of %f ± %s has the sign %i', (mean, ci95, sign) => expect(signOf(estimate(mean, ci95))).toBe(sign));

test('of a metric that is to be small, less is a gain', () => {
  expect(signOf(estimate(-0.05, 0.02), 'minimize')).toBe(1);
  expect(signOf(estimate(0.05, 0.02), 'minimize')).toBe(-1);
  expect(signOf(estimate(0.01, 0.02), 'minimize')).toBe(0);
});

test('what a sweep is ranked by has a goal, and shares are said in %', () => {
  const stages = { f: { kind: 'finetune', dataset: 'x', from: null } };
  expect(rankingOf({ metric: {}, stages })).toEqual({ name: 'eval/accuracy', goal: 'maximize' });
  const loss = rankingOf({ metric: { name: 'eval/loss' }, stages });
  expect(loss).toEqual({ name: 'eval/loss', goal: 'minimize' });
  expect([said('eval/knn', 0.5), said('eval/loss', 0.5)]).toEqual(['50.0 %', '0.5']);
});

describe('the leader of estimates', () => {
  const of = (...estimates: ReturnType<typeof estimate>[]) => estimates.map((each) => ({ estimate: each }));
  test.each([
    ['Best', of(estimate(0.5, 0.01), estimate(0.6, 0.01)), 'maximize', false, 1],
    ['Best', of(estimate(0.5, 0.01), estimate(0.6, 0.01)), 'minimize', false, 0],
    // One that it can't be told from.
    ['Highest', of(estimate(0.58, 0.02), estimate(0.6, 0.01)), 'maximize', false, 1],
    ['Lowest', of(estimate(0.6, 0.01), estimate(0.6, 0.01)), 'minimize', false, 0],
    // Of one seed nobody knows.
    ['Highest', of(estimate(0.5, null), estimate(0.6, null)), 'maximize', false, 1],
    ['Highest', of(estimate(0.5, 0.01), estimate(0.6, 0.01)), 'maximize', true, 1],
  ] as const)('is called %s: %j, %s, more to come: %s', (word, some, goal, more, place) => {
    const leader = leaderOf(some, goal)!;
    expect(leaderWord(leader, goal, more)).toBe(word);
    expect(some.indexOf(leader.of)).toBe(place);
  });

  test('is none of none', () => expect(leaderOf([], 'maximize')).toBeUndefined());
});

test.each([
  [1, false],
  [2, false],
  [3, true],
])('the interval of %i seeds is drawn: %s', (n, drawn) => expect(isDrawn({ n })).toBe(drawn));
