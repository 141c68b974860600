/** The results of a sweep are read once for each state. On real Postgres. */
import { expect, test } from 'vitest';
import { largeSweep } from '../support/large-sweeps.js';
import { database, results, sweepQueries, sweeps, useSweeps } from '../support/sweeps.js';

useSweeps();

test('who asks in the same state shares one table, and what has changed is seen', async () => {
  const id = await largeSweep(database, sweeps, 20);
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
