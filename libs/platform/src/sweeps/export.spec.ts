import type { RunRecord, RunSpec } from '#libs/contracts';
import { parquetReadObjects } from 'hyparquet';
import { describe, expect, test } from 'vitest';
import type { SweepDetailRecord } from './queries.js';
import { csvOf, jsonOf, parquetOf, trialTable } from './export.js';
import { mlruns } from './mlflow.js';

const at = (seconds: number) => new Date(1_764_000_000_000 + 1000 * seconds);
const PRETRAIN = '019aa000-0000-7000-8000-000000000001';
const [ONE, TWO] = ['019aa000-0000-7000-8000-000000000002', '019aa000-0000-7000-8000-000000000003'];
const place = (stage: string, runId: string, status = 'succeeded') => ({
  stage,
  control: null,
  runId,
  reused: false,
  status,
});
const sweep = {
  id: '019aa000-0000-7000-8000-00000000abcd',
  name: 'views',
  createdAt: at(0),
  spec: {},
  tags: [],
  status: 'succeeded',
  haltReason: null,
  trials: [
    {
      index: 0,
      parameters: { 'pretrain.augmentation': { crop: {}, flip: {} }, 'finetune.labelSeed': 1 },
      status: 'succeeded',
      fault: null,
      runs: [place('pretrain', PRETRAIN), place('finetune', ONE)],
    },
    {
      index: 1,
      parameters: { 'pretrain.temperature': 0.5, 'finetune.labelSeed': 2 },
      status: 'failed',
      fault: null,
      runs: [place('pretrain', PRETRAIN), place('finetune', TWO, 'failed')],
    },
    { index: 2, parameters: { 'finetune.labelSeed': 3 }, status: 'held', fault: null, runs: [] },
  ],
} as unknown as SweepDetailRecord;
const run = (id: string, kind: RunSpec['kind'], more: Partial<RunRecord>): RunRecord =>
  ({
    id,
    name: `views-${kind}`,
    kind,
    status: 'succeeded',
    digest: 'd'.repeat(64),
    spec: { kind, encoder: { width: 8 }, "it's": 'a, "quoted"\nvalue' } as unknown as RunSpec,
    tags: ['demo'],
    step: 20,
    startedAt: at(10),
    finishedAt: at(30),
    result: null,
    ...more,
  }) as unknown as RunRecord;
const runs = new Map([
  [PRETRAIN, run(PRETRAIN, 'pretrain', { result: { metrics: { 'eval/knn': 0.5 } } })],
  [ONE, run(ONE, 'finetune', { result: { metrics: { 'eval/accuracy': 0.75 } } })],
  [TWO, run(TWO, 'finetune', { status: 'failed', finishedAt: at(50) })],
]);
const table = await trialTable(sweep, (id) => runs.get(id)?.result?.metrics ?? {});

describe('the table of trials', () => {
  test('has a line for each, as CSV and as JSON', () => {
    const lines = [...csvOf(table)].join('').split('\r\n');
    expect(lines[0]).toBe(
      'trial,status,finetune.labelSeed,pretrain.augmentation,pretrain:run,pretrain:reused,' +
        'pretrain:status,pretrain:eval/knn,' +
        'finetune:run,finetune:reused,finetune:status,finetune:eval/accuracy,pretrain.temperature',
    );
    expect(lines[1]).toBe(
      `0,succeeded,1,"{""crop"":{},""flip"":{}}",${PRETRAIN},false,succeeded,0.5,${ONE},false,succeeded,0.75,`,
    );
    const objects = JSON.parse([...jsonOf(table)].join('')) as Record<string, unknown>[];
    expect(objects[0]).toMatchObject({
      trial: 0,
      'pretrain.augmentation': { crop: {}, flip: {} },
      'finetune:eval/accuracy': 0.75,
    });
    expect(objects[2]).toEqual({ trial: 2, status: 'held', 'finetune.labelSeed': 3 });
  });

  test('as Parquet keeps numbers, truth values and what is absent', async () => {
    const file = new Uint8Array(await parquetOf(table)).buffer;
    const rows: Record<string, unknown>[] = await parquetReadObjects({ file });
    expect(
      rows.map((row) => [
        row['trial'],
        row['pretrain.temperature'] ?? null,
        row['finetune:reused'] ?? null,
        row['finetune:eval/accuracy'] ?? null,
      ]),
    ).toEqual([
      [0, null, false, 0.75],
      [1, 0.5, false, null],
      [2, null, null, null],
    ]);
    expect(rows[0]).toMatchObject({
      status: 'succeeded',
      'pretrain.augmentation': '{"crop":{},"flip":{}}',
      'pretrain:run': PRETRAIN,
    });
  });
});

test(
  "MLflow's layout has an experiment, a run for each trial, and each of ours once below the first trial that needs " +
    'it',
  async () => {
    const files = new Map<string, string>();
    const curves = async (id: string) =>
      id === PRETRAIN
        ? [
            {
              key: 'eval/knn',
              points: [
                { step: 10, value: 0.25, at: at(20) },
                { step: 20, value: 0.5, at: at(30) },
              ],
            },
          ]
        : [];
    for await (const { path, text } of mlruns(sweep, { runs, damaged: new Map() }, curves)) {
      expect(files.has(path), path).toBe(false);
      files.set(path, text);
    }
    const [experiment] = new Set([...files.keys()].map((file) => file.split('/')[1]!));
    expect(experiment).toMatch(/^\d{18}$/);
    const of = (file: string) => files.get(`mlruns/${experiment}/${file}`);
    expect(of('meta.yaml')).toContain('name: "views 00000000abcd"\n');
    const ids = [...files.keys()].flatMap((file) => /^mlruns\/\d+\/([0-9a-f]{32})\/meta\.yaml$/.exec(file)?.[1] ?? []);
    expect(ids).toHaveLength(3 + 3);
    for (const id of ids)
      for (const folder of ['artifacts', 'metrics', 'params', 'tags']) expect(of(`${id}/${folder}/`)).toBe('');
    const [trial, pretrain] = [ids[0]!, PRETRAIN.replaceAll('-', '')];
    expect(of(`${trial}/params/pretrain.augmentation`)).toBe('{"crop":{},"flip":{}}');
    expect(of(`${trial}/metrics/finetune/eval/accuracy`)).toBe(`${at(30).getTime()} 0.75 20\n`);
    expect(of(`${pretrain}/metrics/eval/knn`)).toBe(`${at(20).getTime()} 0.25 10\n${at(30).getTime()} 0.5 20\n`);
    expect([of(`${pretrain}/params/encoder.width`), of(`${pretrain}/params/it_-27-s`)]).toEqual([
      '8',
      'a, "quoted"\nvalue',
    ]);
    expect([
      of(`${pretrain}/tags/mlflow.parentRunId`),
      of(`${pretrain}/tags/loom.trials`),
      of(`${pretrain}/tags/loom.tag.demo`),
    ]).toEqual([trial, '0,1', 'demo']);
    expect(of(`${pretrain}/meta.yaml`)).toMatch(
      /end_time: 1764000030000\n(.*\n)*.*start_time: 1764000010000\nstatus: 3\n/,
    );
    expect(of(`${TWO.replaceAll('-', '')}/meta.yaml`)).toContain('status: 4\n');
  },
);
