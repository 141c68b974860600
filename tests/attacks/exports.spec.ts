/** Names that would leave their folder, or meet another's, in what is exported. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { safe, safeNames } from '../../libs/platform/src/sweeps/mlflow.js';
import { archive, csvOf } from '../../libs/platform/src/sweeps/export.js';

test('no metric key leaves the folder of an export, and no two meet', () => {
  const keys = [
    'a/',
    '../x',
    '../../x',
    './x',
    '/x',
    'a//b',
    'a:b',
    'a_b',
    'a',
    'a/b',
    'a_-3a-b',
    'a_--',
    '..',
    '.',
    '_-',
    'ä',
  ];
  const paths = [...safeNames(keys).values()];
  expect(new Set(paths).size).toBe(keys.length);
  for (const path of paths) {
    expect(path.split('/')).not.toContain('');
    expect(path.split('/')).not.toContain('.');
    expect(path.split('/')).not.toContain('..');
    expect(paths.some((other) => other.startsWith(`${path}/`))).toBe(false);
  }
  expect(safe('eval/knn_accuracy')).toBe('eval/knn_accuracy');
});

test.each([
  ['entries that fail midway', { path: 'fails', text: '' }],
  ['an entry that a tar refuses', { path: 'a/', text: 'no folder has a text' }],
])('%s end the connection and not the process', async (_, last) => {
  async function* entries() {
    yield { path: 'first', text: 'x'.repeat(200_000) };
    if (last.path === 'fails') throw new Error('fails midway');
    yield last;
  }
  const server = createServer((_request, response) => {
    archive(entries(), new Date())
      .on('error', () => response.destroy())
      .pipe(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await expect(fetch(`http://127.0.0.1:${port}`).then((response) => response.text())).rejects.toThrow();
  await new Promise((resolve) => server.close(resolve));
});

test('a cell that a spreadsheet would take for a formula is text', () => {
  const csv = [
    ...csvOf({
      columns: ['a', 'b'],
      lines: [
        new Map<string, unknown>([
          ['a', '=cmd()'],
          ['b', -1],
        ]),
      ],
    }),
  ].join('');
  expect(csv).toBe("a,b\r\n'=cmd(),-1\r\n");
  const cells = ['+1', '-1', '@sum', '\tx', '\rx', '\nx', '＝x', '＋x', '－x', '＠x', 'a=b', '1'];
  const [, ...lines] = [...csvOf({ columns: ['a'], lines: cells.map((cell) => new Map([['a', cell]])) })];
  const quoted = (cell: string) => (/[\r\n]/.test(cell) ? `"'${cell}"` : `'${cell}`);
  expect(lines).toEqual([...cells.slice(0, 10).map(quoted), 'a=b', '1'].map((line) => `${line}\r\n`));
  expect([...csvOf({ columns: ['=a'], lines: [] })]).toEqual(["'=a\r\n"]);
});
