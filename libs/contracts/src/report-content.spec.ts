import { expect, test } from 'vitest';
import { blockContent, type ReportSource } from './report-content.js';
import { ReportBlock } from './reports-api.js';
import type { Run } from './runs-api.js';
import type { SweepTable } from './sweep-results.js';

const [ID, GONE] = ['0193a6b2-7c10-7000-8000-000000000001', '0193a6b2-7c10-7000-8000-000000000002'];
const run = {
  id: ID,
  name: 'first',
  kind: 'embed',
  status: 'succeeded',
  project: 'default',
  spec: { kind: 'embed', dataset: 'shapes@0123456789ab', encoder: { width: 8 } },
  tags: ['a', 'b'],
  metrics: { 'eval/knn': 0.123456 },
  createdAt: '2026-01-02T03:04:05.678Z',
  startedAt: '2026-01-02T03:04:06.000Z',
  finishedAt: '2026-01-02T03:05:16.000Z',
} as unknown as Run;

class Gone extends Error {}
const nothing: SweepTable = {
  sweepId: ID,
  complete: true,
  measure: 'kNN',
  rows: [],
  composition: null,
  effects: [],
  importance: [{ parameter: 'a', importance: 1 }],
  best: null,
  coordinates: { axes: ['a'], lines: [] },
  labels: [],
};
const source = (maps?: unknown, change: Partial<Run> = {}): ReportSource => ({
  run: (id) => (id === ID ? Promise.resolve({ ...run, ...change }) : Promise.reject(new Gone('it is gone'))),
  curve: (_, metric) =>
    Promise.resolve(metric === 'eval/knn' ? [{ step: 1, value: 0.5, at: '2026-01-02T03:04:07.000Z' }] : []),
  sweep: () =>
    Promise.resolve({
      name: 'views',
      status: 'succeeded',
      spec: { metric: {}, stages: { p: { kind: 'pretrain' } } },
    } as never),
  results: () => Promise.resolve(nothing),
  maps: () => Promise.resolve(maps),
  absence: (error) => (error instanceof Gone ? error.message : undefined),
});
const content = (block: object, from = source()) => blockContent(from, ReportBlock.parse(block));

test('a table has a text for each column, empty where a run has no such thing', async () => {
  const columns = ['status', 'kind', 'project', 'dataset', 'tags', 'created', 'finished', 'duration'];
  const more = ['metric:eval/knn', 'metric:constructor', 'spec:encoder.width', 'spec:nothing'];
  expect(await content({ type: 'table', runs: [ID], columns: [...columns, ...more] })).toMatchObject({
    rows: [
      {
        id: ID,
        label: 'first',
        cells: [
          ...['succeeded', 'embed', 'default', 'shapes@0123456789ab', 'a, b', '2026-01-02 03:04 UTC'],
          ...['2026-01-02 03:05 UTC', '1 min 10 s', '0.1235', '', '8', ''],
        ],
      },
    ],
  });
});

test('what is gone and what a run has not is said, and other errors are not swallowed', async () => {
  const chart = { type: 'chart', metric: 'eval/knn', runs: [ID, GONE] };
  expect(await content(chart)).toMatchObject({
    runs: [{ label: 'first', points: [{ value: 0.5 }] }],
    absent: [`Run ${GONE} is not shown: it is gone`],
    live: false,
  });
  const running = source(undefined, { status: 'running' });
  expect(await content({ ...chart, metric: 'train/loss', runs: [ID] }, running)).toMatchObject({
    runs: [],
    absent: ['first has no curve of train/loss yet.'],
    live: true,
  });
  await expect(
    content(chart, { ...source(), curve: () => Promise.reject(new Error('Postgres is away')) }),
  ).rejects.toThrow('Postgres is away');
});

test('a figure of a sweep has what it is drawn from and nothing else', async () => {
  expect(await content({ type: 'sweep', sweep: ID, figure: 'importance' })).toMatchObject({
    absent: [],
    sweep: {
      name: 'views',
      ranking: { name: 'eval/knn', goal: 'maximize' },
      table: { importance: nothing.importance, coordinates: { axes: [] } },
    },
  });
  for (const figure of ['composition', 'label-efficiency', 'effects', 'results', 'coordinates'])
    expect(await content({ type: 'sweep', sweep: ID, figure })).toMatchObject({
      absent: [expect.stringMatching(/^Sweep views has nothing for “.+”\.$/)],
    });
});

test('a map is thinned out evenly, and what is no file of maps is none', async () => {
  const count = 12_001;
  const places = Array.from({ length: count }, (_, i) => i);
  const maps = {
    split: 'val',
    classes: ['a', 'b'],
    labels: places.map((i) => i % 2),
    maps: { pca: { x: places, y: places }, umap: { x: places.map((i) => i + 1 / 3), y: places } },
  };
  const { map } = (await content({ type: 'map', run: ID }, source(maps))) as unknown as {
    map: { name: string; samples: number; labels: number[]; x: number[]; y: number[] };
  };
  expect([map.name, map.samples, map.x.length, map.y.length, map.labels.length]).toEqual([
    'umap',
    count,
    ...[4001, 4001, 4001],
  ]);
  expect(map.x.slice(0, 3)).toEqual([0.33333, 3.3333, 6.3333]);
  expect(map.labels.slice(0, 3)).toEqual([0, 1, 0]);
  for (const file of [undefined, 'text', { maps: {} }, { ...maps, maps: { pca: { x: ['<b>'], y: [0] } } }])
    expect(await content({ type: 'map', run: ID }, source(file))).toMatchObject({ absent: ['first has no map.'] });
  expect(await content({ type: 'map', run: ID, map: 'tsne' }, source(maps))).toMatchObject({
    absent: ['first has no map by tsne.'],
  });
});
