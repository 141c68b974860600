import { RunFilter, SubmitRun, type RunStatus } from '#libs/contracts';
import { Database, RunQueries, Runs } from '#libs/platform';
import type { z } from 'zod';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { freshDatabase } from '../support/database.js';
import { knowShapes } from '../support/shapes.js';

const LEASE_MS = 600;
let home: Awaited<ReturnType<typeof freshDatabase>>;
let database: Database;
let platform: Runs;
let queries: RunQueries;

const request = (spec: z.input<typeof SubmitRun>['spec'], rest: Partial<z.input<typeof SubmitRun>> = {}) =>
  SubmitRun.parse({ spec, ...rest });
const pretrain = (more: object = {}) => request({ kind: 'pretrain', dataset: 'shapes', batchSize: 32, ...more });
const statusOf = async (id: string): Promise<RunStatus> => (await queries.run(id))!.status;

async function claimed(runId: string, attempt = 1) {
  const run = await platform.claims.claim({ runId, attempt }, 'worker-1');
  if (!run) throw new Error('expected the run to be claimed');
  return run;
}

beforeAll(async () => {
  home = await freshDatabase();
  database = new Database(home.url);
  platform = new Runs(database, { dataRoot: '/data', leaseMs: LEASE_MS });
  queries = new RunQueries(database, { leaseMs: LEASE_MS });
});

beforeEach(async () => {
  await database.prisma.$executeRaw`TRUNCATE run, sweep, dataset, worker, idempotency_key CASCADE`;
  await knowShapes(platform);
});

afterAll(async () => {
  await database.close();
  await home.drop();
});

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
