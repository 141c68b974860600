import { createElement } from 'react';
import { renderToStaticMarkup } from 'react-dom/server';
import { expect, test } from 'vitest';
import { ClassScores } from './class-scores.js';

const REPORT = {
  split: 'val',
  accuracy: 0.7,
  classes: [
    { name: 'cat', samples: 4, predicted: 3, accuracy: 0.75 },
    { name: 'dog', samples: 6, predicted: 7, accuracy: 4 / 6 },
    { name: 'owl', samples: 0, predicted: 0, accuracy: null },
  ],
  confusion: [
    [3, 1, 0],
    [2, 4, 0],
    [0, 0, 0],
  ],
};

test('classes are listed the worst first, with what each was taken for', () => {
  const shown = renderToStaticMarkup(createElement(ClassScores, REPORT));
  expect([...shown.matchAll(/<tr><td>(\w+)<\/td>/g)].map(([, name]) => name)).toEqual(['dog', 'cat', 'owl']);
  expect(shown).toContain('<td>66.7 %</td>');
  expect(shown).toContain('<title>dog taken for cat: 2 of 6</title>');
  expect(shown.match(/<rect/g)).toHaveLength(9);
  expect(shown).not.toContain('NaN');
  expect(shown).not.toContain('top-5');
  expect(renderToStaticMarkup(createElement(ClassScores, { ...REPORT, top5: 0.95 }))).toContain('<dd>95.0 %</dd>');
});
