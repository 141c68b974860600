/** A run that changes: its name, what is said of it and its place in the line, by PATCH; and while it is read. */
import { LoomClient, type Problem } from '#libs/contracts';
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { json, pretrain, startApi, type Api } from '../support/api.js';
import { eventually } from '../support/eventually.js';

let api: Api;
let client: LoomClient;
beforeAll(async () => {
  api = await startApi();
  client = new LoomClient({ url: api.url, retries: 0 });
}, 30_000);
afterAll(() => api.stop());

const patch = (id: string, body: unknown) =>
  fetch(`${api.url}/v1/runs/${id}`, {
    method: 'PATCH',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });

test('name, notes and tags of a run are changed one by one and taken away, also when it has ended', async () => {
  const { id } = await api.submit({ ...pretrain, seed: 1 }, { name: 'first', tags: ['a'] });
  expect(await client.run(id)).toMatchObject({ name: 'first', notes: null, tags: ['a'], priority: 50 });
  expect(await client.changeRun(id, { notes: 'läuft\nbesser' })).toMatchObject({
    name: 'first',
    notes: 'läuft\nbesser',
    tags: ['a'],
  });
  const etag = (await fetch(`${api.url}/v1/runs/${id}`)).headers.get('etag');
  await client.cancelRun(id);
  expect(await client.changeRun(id, { name: 'baseline', tags: ['b', 'c', 'b'] })).toMatchObject({
    name: 'baseline',
    notes: 'läuft\nbesser',
    tags: ['b', 'c'],
  });
  expect((await fetch(`${api.url}/v1/runs/${id}`)).headers.get('etag')).not.toBe(etag);
  expect((await client.runs({ name: 'baseline', tag: 'c' })).items.map((run) => run.id)).toEqual([id]);
  expect((await client.references('baseline')).map((found) => found.id)).toEqual([id]);
  await client.changeRun(id, { name: null, notes: null, tags: [] });
  expect(await client.run(id)).toMatchObject({ name: null, notes: null, tags: [], status: 'cancelled' });
});

test('of runs that wait the one whose priority is raised starts before those that came earlier', async () => {
  // The first is in Redis, where there is room for one while nobody works.
  const runs: string[] = [];
  for (let seed = 10; seed < 15; seed++) runs.push((await api.submit({ ...pretrain, seed })).id);
  const ahead = async () => Promise.all(runs.map(async (id) => (await client.run(id)).jobsAhead));
  const last = runs.at(-1)!;
  await expect
    .poll(async () => (await api.database.prisma.outbox.count({ where: { dispatchedAt: { not: null } } })) > 0)
    .toBe(true);
  await expect.poll(async () => (await ahead())[4]! > (await ahead())[1]!, { timeout: 5000 }).toBe(true);
  expect(await client.changeRun(last, { priority: 90 })).toMatchObject({ priority: 90 });
  await expect.poll(async () => (await ahead())[4]! < (await ahead())[1]!, { timeout: 5000 }).toBe(true);
  await client.changeRun(last, { priority: 10 });
  await expect.poll(async () => (await ahead())[4]! > (await ahead())[3]!, { timeout: 5000 }).toBe(true);
});

test('the priority of a run that has ended is refused with nothing changed, and what names nothing too', async () => {
  const { id } = await api.submit({ ...pretrain, seed: 30 });
  await client.cancelRun(id);
  const refused = await patch(id, { priority: 80, name: 'late' });
  expect([refused.status, (await json<Problem>(refused)).detail]).toEqual([
    409,
    expect.stringContaining('got one for a run that is cancelled'),
  ]);
  expect(await client.run(id)).toMatchObject({ name: null, priority: 50 });
  for (const body of [
    {},
    { priority: 101 },
    { name: '' },
    { notes: 'x'.repeat(10_001) },
    { notes: 'a\0b' },
    { status: 'queued' },
  ])
    expect([body, (await patch(id, body)).status]).toEqual([body, 422]);
  expect((await patch(randomUUID(), { notes: 'x' })).status).toBe(404);
});

/** A run's attempt and step, and the steps that its attempts went on from. */
type Told = [attempt: number, step: number, resumedFrom: number[]];
const TRAINS: Told = [1, 90, [0]];
const CLAIMED: Told = [2, 90, [0, 0]];
const BEGUN: Told = [2, 60, [0, 60]];

type Tables = Pick<Api['database']['prisma'], 'run' | 'attempt'>;
async function become(tables: Tables, runId: string, [attempt, step, resumedFrom]: Told): Promise<void> {
  for (const [i, resumedFromStep] of resumedFrom.entries()) {
    const place = { runId, attempt: i + 1 };
    await tables.attempt.upsert({
      where: { runId_attempt: place },
      create: { ...place, workerId: 'played', resumedFromStep },
      update: { resumedFromStep },
    });
  }
  await tables.run.update({ where: { id: runId }, data: { attempt, step, status: 'running' } });
}

test.each([
  { table: 'run', what: 'an attempt is made', before: TRAINS, after: CLAIMED, seed: 40 },
  { table: 'attempt', what: 'an attempt is made', before: TRAINS, after: CLAIMED, seed: 41 },
  { table: 'run', what: 'a trainer begins', before: CLAIMED, after: BEGUN, seed: 42 },
  { table: 'attempt', what: 'a trainer begins', before: CLAIMED, after: BEGUN, seed: 43 },
])(
  'a run and its attempts are told as of one moment, also where $what while $table is read',
  async ({ table, before, after, seed }) => {
    const { prisma } = api.database;
    const { id } = await api.submit({ ...pretrain, seed });
    await become(prisma, id, before);
    const { answer } = await prisma.$transaction(async (tx) => {
      await tx.$executeRawUnsafe(`LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`);
      const asked = client.run(id);
      // What does not need the table has been read by now, what does waits for it. Asked outside of the transaction,
      // in which Postgres would say each time what it said first.
      await eventually(async () => {
        const waiting = await prisma.$queryRaw<unknown[]>`
          SELECT pid
          FROM pg_stat_activity
          WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE ${`%${table}%`}`;
        expect(waiting).not.toEqual([]);
      });
      await become(tx, id, after);
      return { answer: asked };
    });
    const { attempt, step, attempts } = await answer;
    expect(attempts.map((each) => each.attempt)).toContain(attempt);
    const told: Told = [attempt, step, attempts.map(({ resumedFromStep }) => resumedFromStep)];
    expect([before, after]).toContainEqual(told);
  },
);
