/**
 * What each page of the dashboard asks for, at 30,000 runs and 10 million points: how long each answer takes at p95,
 * and when the first view can be used.
 */
import type { LoomClient } from '#libs/contracts';
import { launchChromium } from '../tests/support/browser.js';
import type { BenchOptions } from './peer.js';
import { seed } from './seed.js';
import { Services } from './services.js';

const RUNS = 30_000;
const POINTS = 10_000_000;
const VIEWS = 5;

const quantile = (values: readonly number[], q: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(q * values.length))]!;

/** By page, what it asks for, as `apps/web` does. */
async function requestsOf(client: LoomClient): Promise<Record<string, (i: number) => Promise<unknown>>> {
  const { items: sweeps } = await client.sweeps({ limit: 50 });
  const { items: finetunes } = await client.runs({ kind: ['finetune'], status: ['succeeded'], limit: 50 });
  const { items: pretrains } = await client.runs({
    kind: ['pretrain'],
    status: ['succeeded'],
    sort: 'createdAt',
    limit: 50,
  });
  if (!sweeps.length || !finetunes.length || !pretrains.length)
    throw new Error('expected seeded runs and sweeps: `npm run seed`');
  const sweep = (i: number) => sweeps[i % sweeps.length]!.id;
  const run = (i: number) => [...finetunes, ...pretrains][((i * 7) % 100) % (finetunes.length + pretrains.length)]!.id;
  let deep: string | undefined;
  for (let page = 0; page < 20; page++)
    deep = (await client.runs({ limit: 50, sort: '-metric:eval/knn', ...(deep !== undefined && { cursor: deep }) }))
      .nextCursor!;
  return {
    'overview: counts': () => client.runCounts(),
    'overview: running': () => client.runs({ status: ['running', 'pausing', 'cancelling'], limit: 100 }),
    'overview: waiting': () => client.runs({ status: ['queued', 'retrying'], sort: 'createdAt', limit: 200 }),
    'overview: failed lately': () => client.runs({ status: ['failed', 'timed_out', 'upstream_failed'], limit: 6 }),
    'overview: done lately': () => client.runs({ status: ['succeeded', 'early_stopped'], limit: 6 }),
    'overview: sweeps': () => client.sweeps({ limit: 4 }),
    'overview: workers': () => client.workers(),
    'runs: first page': () => client.runs({ limit: 50 }),
    'runs: best of a metric': () => client.runs({ limit: 50, sort: '-metric:eval/knn' }),
    'runs: its 21st page': () =>
      client.runs({ limit: 50, sort: '-metric:eval/knn', ...(deep !== undefined && { cursor: deep }) }),
    'runs: by metrics and status': () =>
      client.runs({
        limit: 50,
        where: ['eval/knn>0.6', 'collapse/std>0.09'],
        status: ['succeeded'],
        sort: '-metric:eval/probe_accuracy',
      }),
    'runs: by name, sorted by duration': () => client.runs({ limit: 50, name: 'crop', sort: '-duration' }),
    'runs: by tag': () => client.runs({ limit: 50, tag: 'team-3' }),
    'runs: a name that none has': () => client.runs({ limit: 50, name: 'nobody' }),
    'runs: counts of a name': () => client.runCounts({ name: 'crop' }),
    'runs: counts by a metric': () => client.runCounts({ where: ['eval/knn>0.6'] }),
    'run: itself': (i) => client.run(run(i)),
    'run: its curves': (i) => client.metrics(run(i), { points: 2000 }),
    'run: events': (i) => client.events(run(i), { limit: 500 }),
    'run: log': (i) => client.logs(run(i), { limit: 500 }),
    'run: files': (i) => client.artifacts(run(i), { limit: 200 }),
    'run: children': (i) => client.runs({ parent: pretrains[i % pretrains.length]!.id, limit: 100 }),
    'compare: one of 20 curves': (i) => client.metrics(run(i), { points: 1000 }),
    'sweeps: first page': () => client.sweeps({ limit: 50 }),
    'sweep: itself': (i) => client.sweep(sweep(i)),
    'sweep: its table': (i) => client.sweepResults(sweep(i)),
    'sweep: its runs': (i) => client.runs({ sweep: sweep(i), limit: 200 }),
    datasets: () => client.datasets({ limit: 200 }),
  };
}

/** p50 and p95 of each request in ms, one after the other, in turns. */
export async function measureRequests(
  client: LoomClient,
  rounds: number,
): Promise<Record<string, { p50: number; p95: number }>> {
  const requests = Object.entries(await requestsOf(client));
  const times = new Map(requests.map(([name]) => [name, [] as number[]]));
  for (let round = -1; round < rounds; round++) {
    for (const [name, request] of requests) {
      const started = performance.now();
      await request(round + 1);
      if (round >= 0) times.get(name)!.push(performance.now() - started);
    }
  }
  return Object.fromEntries(
    [...times].map(([name, each]) => [name, { p50: quantile(each, 0.5), p95: quantile(each, 0.95) }]),
  );
}

/** Ms from the request of a page, with nothing cached, until its rows are there. */
export async function measureFirstView(url: string): Promise<Record<string, number[]>> {
  const browser = await launchChromium();
  try {
    const views: Record<string, number[]> = {};
    for (let view = 0; view < VIEWS; view++) {
      for (const [name, hash, shown] of [
        ['overview', '#/', '.plain li a'],
        ['runs', '#/runs', 'table.runs tbody tr'],
      ] as const) {
        const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
        const page = await context.newPage();
        const started = performance.now();
        await page.goto(`${url}/${hash}`, { waitUntil: 'commit' });
        await page.locator(shown).first().waitFor();
        (views[name] ??= []).push(performance.now() - started);
        await context.close();
      }
    }
    return views;
  } finally {
    await browser.close();
  }
}

export async function benchPages({ quick }: BenchOptions): Promise<{ name: string } & Record<string, unknown>> {
  const services = await Services.start();
  try {
    const stack = await services.stack('pages', { workers: 0 });
    const written = await seed(stack.state.databaseUrl, {
      runs: RUNS,
      points: quick ? POINTS / 10 : POINTS,
      log: console.log,
    });
    const requests = await measureRequests(stack.client, quick ? 5 : 40);
    for (const [name, { p50, p95 }] of Object.entries(requests))
      console.log(`${name.padEnd(36)} p50 ${p50.toFixed(0).padStart(4)}  p95 ${p95.toFixed(0).padStart(4)} ms`);
    const firstViewMs = await measureFirstView(stack.url);
    for (const [name, times] of Object.entries(firstViewMs))
      console.log(`first view of ${name}: ${times.map((ms) => ms.toFixed(0)).join(', ')} ms`);
    return {
      name: 'pages',
      seeded: written,
      slowest: Math.max(...Object.values(requests).map(({ p95 }) => p95)),
      requests,
      firstViewMs,
    };
  } finally {
    await services.stop();
  }
}
