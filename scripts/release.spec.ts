import { expect, test } from 'vitest';
import { released, sectionOf } from './release.mjs';

const CHANGELOG = `# Changelog

Words.

## Unreleased

### Fixed
- One thing.

## 0.1.0

The first version.
`;

test('what is unreleased comes under the new version and its day, and nothing else moves', () => {
  const after = released(CHANGELOG, '0.2.0', '2026-12-01');
  expect(sectionOf(after, '0.2.0')).toBe('### Fixed\n- One thing.');
  expect(sectionOf(after, 'Unreleased')).toBe('');
  expect(sectionOf(after, '0.1.0')).toBe('The first version.');
  expect(after.replace('## 0.2.0 — 2026-12-01\n\n', '').replace(/\n{3}/, '\n\n')).toBe(CHANGELOG);
});

test('a version without changes, or one that is there, is refused', () => {
  const empty = released(CHANGELOG, '0.2.0', '2026-12-01');
  expect(() => released(empty, '0.3.0', '2026-12-02')).toThrow('found none');
  expect(() => released(CHANGELOG, '0.1.0', '2026-12-01')).toThrow('does not have, got 0.1.0');
  expect(sectionOf(CHANGELOG, '9.9.9')).toBeUndefined();
});
