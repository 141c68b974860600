import { ClaimRefusedError, type Token } from '#libs/platform';
import { describe, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';

import { platform, pretrain, queries, request, statusOf, useRuns } from '../support/runs.js';

useRuns();

describe('where a run is worked on', () => {
  test('a worker that was told to drain claims nothing, even before it has heard; another gets the run', async () => {
    const register = async (id: string) => {
      await platform.workers.registerWorker({ id, host: 'h', pid: 1, slots: 1, versions: {} });
      await platform.workers.setWorkerState(id, 'running');
    };
    await register('leaving');
    await register('staying');
    const { runId } = await platform.submission.submitRun(pretrain());
    const [offer] = (await platform.outbox.takeDispatchable(10)).filter((each) => each.runId === runId);
    expect((await platform.leases.heartbeat('leaving', [])).drain).toBe(false);
    await platform.workers.drainWorker('leaving');
    await expect(platform.claims.claim({ runId, attempt: 1 }, 'leaving')).rejects.toBeInstanceOf(ClaimRefusedError);
    // The dispatcher marks what it has added after the worker has refused it.
    await platform.outbox.markDispatched([offer!]);
    expect(await statusOf(runId)).toBe('queued');
    await eventually(async () => {
      expect((await platform.outbox.takeDispatchable(10)).map((each) => each.runId)).toContain(runId);
    });
    expect((await platform.leases.heartbeat('leaving', [])).drain).toBe(true);
    await platform.workers.setWorkerState('leaving', 'running');
    expect((await queries.workers('leaving')).items[0]).toMatchObject({ state: 'draining' });
    expect(await platform.claims.claim({ runId, attempt: 1 }, 'staying')).toMatchObject({ attempt: 1 });
    await platform.workers.setWorkerState('leaving', 'stopped');
    await expect(platform.workers.drainWorker('leaving')).rejects.toMatchObject({ code: 'invalid_state' });
    await expect(platform.workers.drainWorker('nobody')).rejects.toMatchObject({ code: 'not_found' });
  });

  test('a run that asks for labels is offered as often as a worker with them is free; no other takes it', async () => {
    const register = async (id: string, labels: Record<string, string>) => {
      await platform.workers.registerWorker({ id, host: 'h', pid: 1, slots: 1, versions: {}, labels });
      await platform.workers.setWorkerState(id, 'running');
    };
    const labelled = (seed: number) =>
      request({ kind: 'pretrain', dataset: 'shapes', batchSize: 32, seed }, { requires: { labels: { gpu: 'a100' } } });
    const offered = async () => (await platform.outbox.takeDispatchable(10)).map((each) => each.runId);
    const held: Token[] = [];
    const whileAlive = async () => {
      await Promise.all([platform.leases.heartbeat('fits', held), platform.leases.heartbeat('plain', [])]);
      return offered();
    };
    await register('plain', { zone: 'b' });
    const first = (await platform.submission.submitRun(labelled(1))).runId;
    const second = (await platform.submission.submitRun(labelled(2))).runId;
    expect((await queries.run(first))?.requires).toEqual({ labels: { gpu: 'a100' } });
    expect(await offered()).toEqual([]);
    await expect(platform.claims.claim({ runId: first, attempt: 1 }, 'plain')).rejects.toThrow(/lacks gpu=a100/);
    await expect(platform.claims.claim({ runId: first, attempt: 1 }, 'unknown')).rejects.toBeInstanceOf(
      ClaimRefusedError,
    );
    expect(await queries.runDetail(first)).toMatchObject({ status: 'queued', attempts: [] });

    await register('fits', { gpu: 'a100', zone: 'b' });
    // The one that was refused comes again a moment later; of two, one fits.
    await eventually(async () => {
      expect(await whileAlive()).toEqual([first]);
    });
    const token = (await platform.claims.claim({ runId: first, attempt: 1 }, 'fits'))!;
    held.push(token);
    expect(await whileAlive()).toEqual([]);
    await platform.leases.succeed(token, { metrics: {} });
    expect(await whileAlive()).toEqual([second]);
    // Where a run runs does not change what it is.
    expect(await platform.submission.submitRun(pretrain({ seed: 2 }))).toEqual({ runId: second, outcome: 'reused' });
    await eventually(async () => {
      expect(await offered(), 'a worker that is silent is none').toEqual([]);
    });
  });

  test(
    'a run that asks for a GPU by name and memory goes to one that is so, and a GPU on which its trainer died is ' +
      'left while there is another',
    async () => {
      const gpu = (uuid: string, name: string, memoryMiB: number) => ({ index: 0, uuid, name, memoryMiB, driver: '1' });
      const register = async (id: string, gpus: ReturnType<typeof gpu>[]) => {
        await platform.workers.registerWorker({
          id,
          host: 'h',
          pid: 1,
          slots: Math.max(1, gpus.length),
          versions: {},
          gpus,
        });
        await platform.workers.setWorkerState(id, 'running');
      };
      const asks = { requires: { gpu: { name: 'a100', memoryMiB: 40_000 } } };
      const offered = async () => (await platform.outbox.takeDispatchable(10)).map((each) => each.runId);
      const silent = async () =>
        eventually(async () => {
          expect(await offered()).toEqual([]);
        });
      await register('small', [gpu('GPU-1', 'NVIDIA A100-SXM4-40GB', 30_000), gpu('GPU-2', 'NVIDIA L4', 90_000)]);
      const { runId } = await platform.submission.submitRun(
        request({ kind: 'pretrain', dataset: 'shapes', batchSize: 32, seed: 71 }, asks),
      );
      expect((await queries.run(runId))?.requires).toEqual({ labels: {}, ...asks.requires });
      await silent();
      await expect(platform.claims.claim({ runId, attempt: 1 }, 'small', ['GPU-1', 'GPU-2'])).rejects.toThrow(
        /no free GPU that is as asked/,
      );

      await register('large', [
        gpu('GPU-3', 'NVIDIA L4', 90_000),
        gpu('GPU-4', 'NVIDIA A100-SXM4-80GB', 80_000),
        gpu('GPU-5', 'NVIDIA A100-SXM4-80GB', 80_000),
      ]);
      const keeps = async () => platform.leases.heartbeat('large', []);
      await eventually(async () => {
        await keeps();
        expect(await offered()).toEqual([runId]);
      });
      const first = (await platform.claims.claim({ runId, attempt: 1 }, 'large', ['GPU-3', 'GPU-4', 'GPU-5']))!;
      expect(first.gpu).toBe('GPU-4');
      await platform.recorder.begin(first, null, 1);
      await platform.leases.fail(first, 'gpu_error', 'CUDA_ERROR_ECC_UNCORRECTABLE');
      await eventually(async () => {
        await keeps();
        expect(await offered()).toEqual([runId]);
      });
      await expect(platform.claims.claim({ runId, attempt: 2 }, 'large', ['GPU-3', 'GPU-4'])).rejects.toThrow(
        /has died on each GPU/,
      );
      await keeps();
      expect((await platform.claims.claim({ runId, attempt: 2 }, 'large', ['GPU-4', 'GPU-5']))?.gpu).toBe('GPU-5');
      expect((await queries.runDetail(runId))?.attempts).toMatchObject([
        { gpu: 'GPU-4', outcome: 'failed', reason: 'gpu_error' },
        { gpu: 'GPU-5' },
      ]);
    },
  );
});
