import { describe, expect, test } from 'vitest';
import { ago, bytes, duration, RateMeter, shortNumber } from './progress.js';

const NOW = Date.parse('2026-01-01T12:00:00Z');
const at = (seconds: number) => new Date(NOW + seconds * 1000).toISOString();
const run = (
  step: number,
  more: Partial<{ totalSteps: number | null; attempt: number; startedAt: string | null }> = {},
) => ({ id: 'a', status: 'running' as const, step, totalSteps: 1000, attempt: 1, startedAt: at(-100), ...more });

describe('remaining time', () => {
  test('from the start of the first attempt while nothing else was seen', () => {
    const meter = new RateMeter();
    expect(meter.rate(run(200), NOW)).toBeCloseTo(2);
    expect(meter.remaining(run(200), NOW)).toBeCloseTo(400);
    // A later attempt began somewhere else: without knowing where, nothing is said.
    expect(meter.rate(run(200, { attempt: 2 }), NOW)).toBeUndefined();
    expect(meter.rate(run(200, { attempt: 2 }), NOW, { startedAt: at(-10), resumedFromStep: 150 })).toBeCloseTo(5);
    expect(meter.remaining(run(0), NOW)).toBeUndefined();
    expect(meter.remaining(run(200, { totalSteps: null }), NOW)).toBeUndefined();
    expect(meter.rate(run(200, { startedAt: null }), NOW)).toBeUndefined();
  });

  test('from what was seen in the last minute, which follows a change of pace', () => {
    const meter = new RateMeter();
    for (let second = 0; second <= 100; second++) meter.note([run(second)], NOW + second * 1000);
    expect(meter.rate(run(100), NOW + 100_000)).toBeCloseTo(1);
    for (let second = 101; second <= 180; second++) meter.note([run(100 + (second - 100) * 5)], NOW + second * 1000);
    expect(meter.rate(run(500), NOW + 180_000)).toBeCloseTo(5);
    expect(meter.remaining(run(500), NOW + 180_000)).toBeCloseTo(100);
  });

  test('neither the time in the queue nor the time until the first step counts', () => {
    const meter = new RateMeter();
    meter.note([{ ...run(0), status: 'queued' as const }], NOW - 100_000);
    for (const second of [0, 5, 10]) meter.note([run(0)], NOW + second * 1000);
    meter.note([run(20)], NOW + 15_000);
    expect(meter.rate(run(20), NOW + 15_000)).toBeCloseTo(4);
  });

  test('a run that went back to a checkpoint begins anew, one that ended is forgotten', () => {
    const meter = new RateMeter();
    meter.note([run(0)], NOW);
    meter.note([run(500)], NOW + 10_000);
    meter.note([run(100)], NOW + 20_000);
    meter.note([run(140)], NOW + 30_000);
    expect(meter.rate(run(140), NOW + 30_000)).toBeCloseTo(4);
    meter.note([{ ...run(140), status: 'succeeded' as const }], NOW + 31_000);
    expect(meter.rate(run(140, { startedAt: null }), NOW + 31_000)).toBeUndefined();
  });
});

test.each([
  [0, '0 s'],
  [0.4, '0 s'],
  [45.4, '45 s'],
  [60, '1 min'],
  [200, '3 min 20 s'],
  [7500, '2 h 5 min'],
  [90_000, '1 d 1 h'],
  [-3, '0 s'],
])('%d seconds are %s', (seconds, text) => expect(duration(seconds)).toBe(text));

test('how long ago', () => {
  expect(ago(at(0), NOW)).toBe('just now');
  expect(ago(at(5), NOW)).toBe('just now');
  expect(ago(at(-200), NOW)).toBe('3 min ago');
});

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1500, '1.5 kB'],
  [2.5e9, '2.5 GB'],
])('%d bytes are %s', (count, text) => expect(bytes(count)).toBe(text));
test.each([
  [0, '0'],
  [0.931234, '0.9312'],
  [1234.4, '1,234'],
  [3.2e-5, '3.2e-5'],
  [-0.5, '-0.5'],
  [Number.NaN, 'NaN'],
  [4.2e244, '4.20e244'],
  [-1e9, '-1.00e9'],
])('%d is %s', (value, text) => expect(shortNumber(value)).toBe(text));
