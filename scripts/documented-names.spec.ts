/** What users set or open by its name stands in a document. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { RunSpec } from '#libs/contracts';

const ROOT = path.join(import.meta.dirname, '..');
const read = (file: string): string => readFileSync(path.join(ROOT, file), 'utf8');
const tracked = (...where: string[]): string[] =>
  execFileSync('git', ['ls-files', ...where], { cwd: ROOT, encoding: 'utf8' })
    .trim()
    .split('\n');

const documents = tracked('*.md')
  .filter((file) => !/^(CHANGELOG\.md|docs\/adr\/)/.test(file))
  .map(read)
  .join('\n');
const isDocumented = (name: string): boolean => new RegExp(`(?<![A-Z0-9_])${name}(?![A-Z0-9_])`).test(documents);

/** Names that every Unix has. */
const KNOWN_TO_ALL = ['PATH', 'HOME'];
/** A variable that is read or set: `process.env.NAME`, `environment['NAME']`. */
const VARIABLE = /(?:\benv|[eE]nvironment)\)?(?:\?\.|\.)?(?:\['|\[")?([A-Z][A-Z0-9_]{2,})\b/g;
const UNPACKED = /\{([^{}]{1,400})\} = process\.env\b/g;

/** The variables of the environment that a source names; keys of the schema of `env.ts` too. */
function variablesOf(file: string): string[] {
  const text = read(file);
  const schema = file.endsWith('machine/env.ts') ? text.matchAll(/^ {4}([A-Z][A-Z0-9_]+):/gm) : [];
  const unpacked = [...text.matchAll(UNPACKED)].flatMap(([, names]) => names!.match(/[A-Z][A-Z0-9_]{2,}/g) ?? []);
  return [...[...text.matchAll(VARIABLE), ...schema].map(([, name]) => name!), ...unpacked];
}

test('every variable of the environment that is read is in a document', () => {
  const sources = tracked('apps', 'libs', 'scripts', 'bench', 'bin', 'prisma.config.ts').filter(
    (file) => /\.(ts|tsx|mjs|js)$/.test(file) && !/\.spec\.ts$|\/generated\//.test(file),
  );
  const variables = [...new Set(sources.flatMap(variablesOf))].filter((name) => !KNOWN_TO_ALL.includes(name));
  for (const name of ['CXX', 'OMP_NUM_THREADS', 'XDG_CACHE_HOME', 'LOOM_SLOTS', 'REDIS_URL', 'CUDA_VISIBLE_DEVICES'])
    expect(variables).toContain(name);
  expect(variables.filter((name) => !isDocumented(name))).toEqual([]);
});

test('every field of a dataset is in the document about datasets', () => {
  const guide = read('docs/sweeps.md');
  const shapes = RunSpec.options.map(({ shape }) => shape as Record<string, unknown>);
  const fields = Object.keys(shapes.find((shape) => 'valFraction' in shape)!);
  expect(fields).toEqual(expect.arrayContaining(['audio', 'masks', 'channels', 'holdOut']));
  expect(fields.filter((field) => !new RegExp(`\\b${field}\\b`).test(guide))).toEqual([]);
});

test('every page that the API serves beside its routes is in a document', () => {
  const { paths } = JSON.parse(read('openapi.json')) as { paths: Record<string, unknown> };
  const pages = Object.keys(paths).filter((at) => !at.startsWith('/v1/'));
  const set = [...read('apps/api/src/application.ts').matchAll(/(?:DocumentUrl: |setup\()'([a-z./]+)'/g)];
  const named = [...pages.map((at) => at.replace(/\{.*/, '')), ...set.map(([, at]) => `/${at}`)];
  expect(named).toEqual(expect.arrayContaining(['/metrics', '/schemas/', '/docs', '/openapi.json', '/openapi.yaml']));
  expect(named.filter((at) => !documents.includes(at))).toEqual([]);
});

test('every page of the dashboard is in its document', () => {
  const guide = read('docs/dashboard.md');
  const titles = [...read('apps/web/src/dashboard.tsx').matchAll(/title: '([^']+)', content: </g)].map(
    ([, title]) => title!,
  );
  expect(titles.length).toBeGreaterThan(10);
  expect(titles.filter((title) => !guide.toLowerCase().includes(title.toLowerCase()))).toEqual([]);
});
