/** What is told before anything is spent, on real Postgres. */
import { SubmitRun } from '#libs/contracts';
import { Explanations, type RequestError } from '#libs/platform';
import { describe, expect, test } from 'vitest';
import { alone, database, platform, sweeps, queries, sweep, temperatures, work, useSweeps } from '../support/sweeps.js';

useSweeps();

describe('before anything is spent', () => {
  test('a plan says how long it will take, from what such runs took, and what is not known', async () => {
    const wanted = sweep({ ...alone, parallel_trials: 2 });
    expect((await sweeps.plan(wanted)).estimate).toEqual({
      gpuSeconds: 0,
      wallSeconds: null,
      slots: 0,
      basis: {},
      unknown: { pretrain: 12 },
    });
    await sweeps.submit(sweep({ ...alone, parameters: { 'pretrain.temperature': { values: [0.5, 0.6, 0.7] } } }));
    await work(3);
    // Nine epochs took 90, 180 and 900 s.
    const runs = await database.prisma.run.findMany({ where: { kind: 'pretrain' }, orderBy: { id: 'asc' } });
    for (const [i, { id }] of runs.entries())
      await database.prisma.$executeRaw`
        UPDATE attempt
        SET started_at = ended_at - make_interval(secs => ${[90, 180, 900][i]!}::float8)
        WHERE run_id = ${id}::uuid`;
    await platform.workers.registerWorker({ id: 'w1', host: 'h', pid: 1, slots: 4, versions: {} });
    await platform.workers.setWorkerState('w1', 'running');
    const { estimate } = await sweeps.plan(wanted);
    expect(estimate!.gpuSeconds).toBeCloseTo(12 * 180, 6);
    expect(estimate).toMatchObject({ slots: 4, unknown: {}, basis: { pretrain: { runs: 3 } } });
    expect(estimate!.wallSeconds).toBeCloseTo(6 * 180, 6);
    // A third of the epochs; what halving saves of 12 runs at epochs 1, 3 and 9: 12 + 4·2 + 1·6 epochs of 108.
    const third = sweep({ ...alone, stages: { pretrain: { ...alone.stages.pretrain, epochs: 3 } } });
    expect((await sweeps.plan(third)).estimate!.gpuSeconds).toBeCloseTo(12 * 60, 6);
    expect(
      (await sweeps.plan(sweep({ ...alone, early_terminate: { type: 'asha' } }))).estimate!.gpuSeconds,
    ).toBeCloseTo((12 * 180 * 26) / 108, 6);
    const one = await platform.submission.planRun(
      SubmitRun.parse({ spec: { ...alone.stages.pretrain, temperature: 0.9 } }),
    );
    expect(one.estimate!.gpuSeconds).toBeCloseTo(180, 6);
    expect(
      (await platform.submission.planRun(SubmitRun.parse({ spec: { ...alone.stages.pretrain, temperature: 0.5 } })))
        .estimate!.gpuSeconds,
    ).toBe(0);
  });

  test('a plan says how much memory runs need, what fits, and which trials do not', async () => {
    const wide = sweep({
      parameters: { 'pretrain.encoder.width': { values: [8, 256] }, 'finetune.labelSeed': { values: [1, 2] } },
    });
    const { memory } = await sweeps.plan(wide);
    expect(memory).toMatchObject({ fits: null, on: null, trials: [] });
    const [small, large] = await Promise.all(
      [8, 256].map(
        async (width) =>
          (
            await platform.submission.planRun(
              SubmitRun.parse({ spec: { ...alone.stages.pretrain, encoder: { width } } }),
            )
          ).memory!.neededMiB!,
      ),
    );
    expect(large!).toBeGreaterThan(small! + 100);
    expect(memory!.neededMiB).toBe(large);
    expect(Object.keys(memory!.kinds).sort()).toEqual(['finetune', 'pretrain']);
    expect(memory!.kinds['finetune']!).toBeLessThan(memory!.kinds['pretrain']!);
    await platform.workers.registerWorker({
      id: 'w-host',
      host: 'h',
      pid: 1,
      slots: 2,
      versions: {},
      memoryMiB: 2 * (large! - 10),
    });
    await platform.workers.setWorkerState('w-host', 'running');
    expect((await sweeps.plan(wide)).memory).toMatchObject({
      fits: false,
      on: `one of 2 slots of w-host, ${large! - 10} MiB`,
      trials: [2, 3],
    });
    await platform.workers.registerWorker({
      id: 'w-gpu',
      host: 'g',
      pid: 1,
      slots: 1,
      versions: {},
      labels: { zone: 'b' },
      gpus: [{ index: 0, uuid: 'u', name: 'NVIDIA H100', memoryMiB: 81_559, driver: '1' }],
    });
    await platform.workers.setWorkerState('w-gpu', 'running');
    expect((await sweeps.plan(wide)).memory).toMatchObject({
      fits: true,
      on: 'NVIDIA H100 of w-gpu, 81559 MiB',
      trials: [],
    });
    // Where it may not run it does not fit.
    expect((await sweeps.plan({ ...wide, requires: { labels: {}, gpu: { name: 'a100' } } })).memory).toMatchObject({
      fits: null,
      on: null,
    });
    // What is there already needs nothing.
    await sweeps.submit(wide);
    expect((await sweeps.plan(wide)).memory).toMatchObject({ neededMiB: null, kinds: {}, fits: null });
  });

  test('a fraction of the labels that does not go is told where it was written, with one that does', async () => {
    const stages = {
      pretrain: alone.stages.pretrain,
      finetune: { kind: 'finetune', dataset: 'shapes', from: 'pretrain', batchSize: 64 },
    };
    const faults = async (more: object) =>
      (await sweeps.plan(sweep({ stages, parameters: {}, ...more })).catch((error: unknown) => error)) as RequestError;
    const enough = /got 64: take a smaller batchSize, or a labelFraction of at least 0\.\d+$/;
    expect((await faults({ label_fractions: [0.1, 1] })).faults).toEqual([
      { path: ['spec', 'label_fractions'], message: expect.stringMatching(enough) as string },
    ]);
    const { faults: named } = await faults({ parameters: { 'finetune.labelFraction': { values: [0.1, 0.001] } } });
    expect(named).toEqual([
      { path: ['spec', 'parameters', 'finetune.labelFraction'], message: expect.stringMatching(enough) as string },
      {
        path: ['spec', 'parameters', 'finetune.labelFraction'],
        message: expect.stringContaining('at least') as string,
      },
    ]);
    const least = Number(/[\d.]+$/.exec(named[0]!.message)![0]);
    expect((await sweeps.plan(sweep({ stages, parameters: {}, label_fractions: [least] }))).trials).toBe(1);
    expect((await faults({ label_fractions: [least - 0.002] })).faults).toHaveLength(1);
  });

  test('a plan tells what is there from what trials share', async () => {
    const three = (from: number) =>
      sweep({
        parameters: {
          'pretrain.temperature': { values: temperatures(1, from) },
          'finetune.labelSeed': { values: [1, 2, 3] },
        },
      });
    expect(await sweeps.plan(three(0))).toMatchObject({
      newRuns: { pretrain: 1, finetune: 3 },
      reused: { pretrain: 2 },
      existing: {},
      summary: '3 trials; new runs: 1 pretrain, 3 finetune; there already: none; shared between trials: 2 pretrain',
    });
    await sweeps.submit(three(0));
    expect(await sweeps.plan(three(0))).toMatchObject({
      newRuns: {},
      reused: { pretrain: 3, finetune: 3 },
      existing: { pretrain: 1, finetune: 3 },
    });
  });

  test('a reuse or a miss is explained field by field', async () => {
    const explanations = new Explanations(database, platform.submission);
    const pretrain = (more: object = {}) => SubmitRun.parse({ spec: { ...alone.stages.pretrain, ...more } });
    expect(await explanations.ofSubmission(pretrain())).toMatchObject({
      against: null,
      reused: false,
      reason: 'no other run of kind pretrain is there',
    });
    const { runId } = await platform.submission.submitRun(pretrain());
    expect(await explanations.ofSubmission(pretrain())).toMatchObject({
      against: runId,
      reused: true,
      differences: [],
    });
    // What a method does not read makes no difference.
    expect(await explanations.ofSubmission(pretrain({ predictorHidden: 64 }))).toMatchObject({
      against: runId,
      reused: true,
    });
    expect(
      await explanations.ofSubmission(pretrain({ temperature: 0.2, augmentation: { crop: { minArea: 0.5 } } })),
    ).toMatchObject({
      against: runId,
      reused: false,
      differences: expect.arrayContaining([
        { field: 'temperature', here: 0.2, there: 0.1 },
        { field: 'augmentation.crop.minArea', here: 0.5, there: 0.2 },
        { field: 'augmentation.flip.p', here: null, there: 0.5 },
      ]) as unknown,
    });
    const other = await platform.submission.submitRun(pretrain({ seed: 5 }));
    const [child, cousin] = await Promise.all(
      [runId, other.runId].map((from) =>
        platform.submission.submitRun(
          SubmitRun.parse({ spec: { kind: 'finetune', dataset: 'shapes', from, batchSize: 4 } }),
        ),
      ),
    );
    const why = await explanations.ofRun(child!.runId, cousin!.runId);
    expect(why).toMatchObject({
      reused: false,
      reason: '1 field differs: from',
      differences: [
        { field: 'from', here: (await queries.run(runId))!.digest, there: (await queries.run(other.runId))!.digest },
      ],
    });
    expect(await explanations.ofRun(child!.runId)).toMatchObject({ against: cousin!.runId });
    await platform.requests.cancel(runId);
    expect(await explanations.ofSubmission(pretrain())).toMatchObject({
      against: runId,
      reused: false,
      reason: expect.stringMatching(/is cancelled and gives no result: retry it/) as string,
      differences: [],
    });
    await database.prisma.$executeRaw`UPDATE run SET digest = ${'f'.repeat(64)} WHERE id = ${other.runId}::uuid`;
    expect((await explanations.ofSubmission(pretrain({ seed: 5 }))).differences).toEqual(
      expect.arrayContaining([{ field: 'code', here: null, there: 'an older version of the training code' }]),
    );
    await expect(
      explanations.ofRun(
        runId,
        runId.replace(/.$/, (last) => (last === '0' ? '1' : '0')),
      ),
    ).rejects.toMatchObject({ code: 'not_found' });
  });
});
