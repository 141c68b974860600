import { RunFilter } from '#libs/contracts';
import { describe, expect, test } from 'vitest';

import { claimed, platform, pretrain, queries, request, statusOf, useRuns } from '../support/runs.js';

useRuns();

describe('bulk actions', () => {
  const filter = (more: object) => RunFilter.parse(more);
  const tagged = async (count: number, tags: string[]) => {
    const ids: string[] = [];
    for (let seed = 0; seed < count; seed++)
      ids.push(
        (
          await platform.submission.submitRun(
            request({ kind: 'pretrain', dataset: 'shapes', batchSize: 32, seed }, { tags, onDuplicate: 'replicate' }),
          )
        ).runId,
      );
    return ids;
  };

  test('act on what the filter names, say what they left alone and why, and touch nothing else', async () => {
    const ids = await tagged(5, ['x']);
    const [other] = await tagged(1, ['y']);
    await platform.requests.cancel(ids[0]!);
    await platform.leases.succeed(await claimed(ids[1]!), { metrics: {} });
    await claimed(ids[2]!);
    const pause = { action: 'pause', filter: filter({ tag: 'x' }), cursor: undefined } as const;
    expect(await platform.bulk.planBulk(pause)).toEqual({
      done: 3,
      skipped: { cancelled: 1, succeeded: 1 },
      nextCursor: null,
    });
    expect(await statusOf(ids[3]!)).toBe('queued');
    expect(await platform.bulk.bulk(pause)).toEqual({
      done: 3,
      skipped: { cancelled: 1, succeeded: 1 },
      nextCursor: null,
    });
    expect(await Promise.all(ids.map(statusOf))).toEqual(['cancelled', 'succeeded', 'pausing', 'paused', 'paused']);
    expect(await platform.bulk.bulk(pause)).toMatchObject({ done: 0, skipped: { pausing: 1, paused: 2 } });
    expect(
      await platform.bulk.bulk({ action: 'resume', filter: filter({ tag: 'x', status: 'paused' }), cursor: undefined }),
    ).toEqual({ done: 2, skipped: {}, nextCursor: null });
    expect(
      await platform.bulk.bulk({
        action: 'cancel',
        filter: filter({ status: 'queued,pausing', tag: 'x' }),
        cursor: undefined,
      }),
    ).toMatchObject({ done: 3 });
    expect(await Promise.all([...ids, other!].map(statusOf))).toEqual([
      'cancelled',
      'succeeded',
      'cancelling',
      'cancelled',
      'cancelled',
      'queued',
    ]);
  });

  test('cancel a family as asked, and retry it parents first', async () => {
    const parent = await platform.submission.submitRun(pretrain({ seed: 8 }));
    const child = await platform.submission.submitRun(
      request({ kind: 'finetune', dataset: 'shapes', from: parent.runId, batchSize: 8 }),
    );
    const all = { filter: filter({ kind: 'pretrain,finetune' }), cursor: undefined };
    expect(await platform.bulk.bulk({ action: 'cancel', ...all })).toEqual({ done: 2, skipped: {}, nextCursor: null });
    expect(await statusOf(child.runId)).toBe('cancelled');
    expect(
      await platform.bulk.bulk({ action: 'retry', filter: filter({ kind: 'finetune' }), cursor: undefined }),
    ).toEqual({
      done: 0,
      skipped: { parent_failed: 1 },
      nextCursor: null,
    });
    expect(await platform.bulk.bulk({ action: 'retry', ...all })).toEqual({ done: 2, skipped: {}, nextCursor: null });
    expect([await statusOf(parent.runId), await statusOf(child.runId)]).toEqual(['queued', 'pending']);
  });

  test('go through many batches while workers take runs, and each run ends in one state', async () => {
    const count = 130;
    await tagged(count, ['many']);
    const waiting = (await platform.outbox.takeDispatchable(1000)).slice(0, 40);
    const claims = Promise.all(waiting.map((job) => platform.claims.claim(job, 'worker-1')));
    let done = 0;
    // On a busy machine an answer comes before the end.
    for (let cursor: string | undefined | null; cursor !== null;) {
      const result = await platform.bulk.bulk({
        action: 'cancel',
        filter: filter({ tag: 'many' }),
        cursor: cursor ?? undefined,
      });
      expect(result.skipped).toEqual({});
      done += result.done;
      cursor = result.nextCursor;
    }
    expect(done).toBe(count);
    const taken = (await claims).filter((run) => run !== undefined);
    await Promise.all(taken.map((token) => platform.leases.release(token)));
    expect((await queries.runCounts()).cancelled).toBe(count);
    await expect(platform.bulk.bulk({ action: 'cancel', filter: filter({}), cursor: 'abc' })).rejects.toMatchObject({
      code: 'invalid_request',
    });
  });
});
