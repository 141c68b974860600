/** What is read of a large sweep holds nobody else up, and is read once for each state. On real Postgres. */
import { SweepResults } from '#libs/platform';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { alone, database, results, sweep, sweepQueries, sweeps, useSweeps } from '../support/sweeps.js';

useSweeps();

const PARAMETERS = 12;

/** A sweep of which one trial is known is given so many, each with parameters of its own and an end. */
async function largeSweep(trials: number): Promise<string> {
  const { sweepId } = await sweeps.submit(
    sweep({ ...alone, parameters: { 'pretrain.temperature': { values: [0.5] } } }),
  );
  const parameters = Array.from({ length: PARAMETERS }, (_, i) => `'pretrain.p${i}', random()`).join(', ');
  await database.prisma.$executeRawUnsafe(`
    INSERT INTO run
    SELECT (jsonb_populate_record(run, jsonb_build_object(
      'id', gen_random_uuid(),
      'digest', md5(i::text),
      'status', 'succeeded',
      'finished_at', now(),
      'result', jsonb_build_object('metrics', jsonb_build_object('eval/knn', random()))))).*
    FROM run, generate_series(1, ${trials}) AS i
    WHERE run.kind = 'pretrain'`);
  await database.prisma.$executeRawUnsafe(`
    INSERT INTO trial (sweep_id, index, parameters, position)
    SELECT '${sweepId}', i, jsonb_build_object(${parameters}), i
    FROM generate_series(1, ${trials}) AS i`);
  await database.prisma.$executeRawUnsafe(`
    INSERT INTO trial_run (sweep_id, index, stage, control, run_id, reused)
    SELECT '${sweepId}', i, 'pretrain', '', run.id, false
    FROM generate_series(1, ${trials}) AS i
    JOIN run ON run.digest = md5(i::text)`);
  return sweepId;
}

/** The longest that the event loop was held while something was done, in milliseconds. */
async function longestHold(work: () => Promise<unknown>): Promise<number> {
  const histogram = monitorEventLoopDelay({ resolution: 1 });
  histogram.enable();
  await work();
  // A hold is counted when the loop turns again.
  await delay(10);
  histogram.disable();
  return histogram.max / 1e6;
}

test.each([500, 10_000])('the event loop is free while the table of %i trials is made', async (trials) => {
  const id = await largeSweep(trials);
  // What the machine itself takes, with the same statements run before: plans are made, code is compiled.
  await results.table((await sweeps.submit(sweep(alone))).sweepId);
  // Of three times the shortest: what the table takes is there each time, what others take of the machine is not.
  const idles: number[] = [];
  const holds: number[] = [];
  for (let i = 0; i < 3; i++) {
    idles.push(await longestHold(() => delay(300)));
    const fresh = new SweepResults(database, sweepQueries);
    holds.push(await longestHold(async () => expect((await fresh.table(id))!.importance).toHaveLength(PARAMETERS)));
  }
  const [idle, held] = [Math.min(...idles), Math.min(...holds)];
  // The forest alone would take from half a second on.
  expect(held, `${held} ms, and ${idle} ms where nothing was done`).toBeLessThan(50 + 4 * idle);
});

test('who asks in the same state shares one table, and what has changed is seen', async () => {
  const id = await largeSweep(20);
  const [one, two] = await Promise.all([results.table(id), results.table(id)]);
  expect(two).toBe(one);
  expect(await results.table(id)).toBe(one);
  const { index, runs } = (await sweepQueries.sweep(id))!.trials[7]!;
  await database.prisma.$executeRaw`
    UPDATE run
    SET status = 'failed', result = NULL, finished_at = now()
    WHERE id = ${runs[0]!.runId}::uuid`;
  const then = (await results.table(id))!;
  expect(one!.coordinates.lines[index]).toMatchObject({ trial: index, status: 'succeeded' });
  expect(then.coordinates.lines[index]).toMatchObject({ trial: index, status: 'failed', value: null });
  expect(await results.table('00000000-0000-7000-8000-000000000000')).toBeUndefined();
});
