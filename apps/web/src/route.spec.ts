import { expect, test } from 'vitest';
import { formatRoute, link, listOf, parseRoute, toggled } from './route.js';

test('an address is a path and a query', () => {
  expect(parseRoute('')).toEqual({ path: [], query: {} });
  expect(parseRoute('#/')).toEqual({ path: [], query: {} });
  expect(parseRoute('#/runs/a%2Fb?tab=log&name=x%3Fy%26z')).toEqual({
    path: ['runs', 'a/b'],
    query: { tab: 'log', name: 'x?y&z' },
  });
  // What can't be decoded stays as it is.
  expect(parseRoute('#/runs/%E0%A4%A').path).toEqual(['runs', '%E0%A4%A']);
});

test('one state has one address, and it comes back from it', () => {
  const route = { path: ['runs', 'ä b'], query: { status: 'failed,running', name: '100 % & more', empty: '' } };
  expect(formatRoute(route)).toBe('#/runs/%C3%A4%20b?name=100+%25+%26+more&status=failed,running');
  expect(parseRoute(formatRoute(route))).toEqual({
    path: route.path,
    query: { status: 'failed,running', name: '100 % & more' },
  });
  expect(formatRoute({ path: [], query: { b: '1', a: '2' } })).toBe(
    formatRoute({ path: [], query: { a: '2', b: '1' } }),
  );
  expect(link('runs', { tag: undefined, kind: 'embed' })).toBe('#/runs?kind=embed');
  expect(link('')).toBe('#/');
});

test('lists in a query', () => {
  expect(listOf(undefined)).toEqual([]);
  expect(listOf('a,b')).toEqual(['a', 'b']);
  expect(toggled(['a', 'b'], 'a')).toEqual(['b']);
  expect(toggled(['a'], 'b')).toEqual(['a', 'b']);
});
