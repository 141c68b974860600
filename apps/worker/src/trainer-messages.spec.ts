import { expect, test } from 'vitest';
import { Lines, LONGEST_MESSAGE, parseMessage } from './trainer-messages.js';

const parsed = (message: unknown) => parseMessage(JSON.stringify(message));

test('what a trainer says comes as it was said', () => {
  const message = { type: 'progress', step: 3, totalSteps: 10 };
  expect(parsed(message)).toEqual(message);
  const result = { metrics: { 'test/top1': 0.5 }, labels: { count: 3, sha256: 'a' } };
  expect(parsed({ type: 'succeeded', result })).toEqual({ type: 'succeeded', result });
});

test('what is not finite is left out', () => {
  const points = [
    { key: 'a', step: 1, value: Number.NaN },
    { key: 'a', step: 2, value: 1 },
  ];
  expect(parsed({ type: 'metrics', points })).toEqual({ type: 'metrics', points: [points[1]] });
  const metrics = { a: Number.POSITIVE_INFINITY, b: 2 };
  expect(parsed({ type: 'succeeded', result: { metrics } })).toEqual({
    type: 'succeeded',
    result: { metrics: { b: 2 } },
  });
});

test.each([
  null,
  [],
  'stop',
  { type: 'unknown' },
  { type: 'progress', step: 2 ** 40, totalSteps: 1 },
  { type: 'stopped', reason: 'bored', step: 1 },
  { type: 'artifact', id: 1, name: 'a', kind: 'secret', mime: 'b', path: 'c', step: null },
])('%j is no message', (message) => {
  expect(parsed(message)).toBeUndefined();
});

test('lines are put together from pieces, whatever they are cut at', () => {
  const lines = new Lines();
  const bytes = Buffer.from('{"ä":1}\n{"b":2}\n{"c"');
  const said = [...bytes].flatMap((byte) => lines.push(Buffer.from([byte]))!);
  expect(said).toEqual(['{"ä":1}', '{"b":2}']);
  expect(lines.push(Buffer.from(':3}\n'))).toEqual(['{"c":3}']);
});

test('a line without an end is given up', () => {
  const lines = new Lines();
  const piece = Buffer.alloc(2 ** 24, 'x');
  for (let length = piece.length; length <= LONGEST_MESSAGE; length += piece.length)
    expect(lines.push(piece)).toEqual([]);
  expect(lines.push(piece)).toBeUndefined();
});
