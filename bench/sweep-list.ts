/**
 * 30,000 runs listed, filtered and sorted with their last metrics through our API, against MLflow's `search_runs` on
 * the same runs in the same Postgres.
 */
import type { ListRuns } from '#libs/contracts';
import { median, Peer } from './peer.js';
import { seed } from './seed.js';
import type { Measure } from './services.js';

const RUNS = 30_000;
/** `again`: the page after the first. */
interface Case {
  ours: Partial<ListRuns>;
  peer: { filter: string; order: string[] };
  again?: boolean;
}
const CASES: Record<string, Case> = {
  'the newest': { ours: {}, peer: { filter: '', order: ['attributes.start_time DESC'] } },
  'the best': { ours: { sort: '-metric:eval/knn' }, peer: { filter: '', order: ['metrics.`eval/knn` DESC'] } },
  'the best, second page': {
    ours: { sort: '-metric:eval/knn' },
    peer: { filter: '', order: ['metrics.`eval/knn` DESC'] },
    again: true,
  },
  'two metrics and a status': {
    ours: { where: ['eval/knn>0.6', 'collapse/std>0.09'], status: ['succeeded'], sort: '-metric:eval/probe_accuracy' },
    peer: {
      filter: "metrics.`eval/knn` > 0.6 AND metrics.`collapse/std` > 0.09 AND attributes.status = 'FINISHED'",
      order: ['metrics.`eval/probe_accuracy` DESC'],
    },
  },
  'a part of the name': {
    ours: { name: 'crop', where: ['eval/accuracy>0.5'], sort: '-finishedAt' },
    peer: {
      filter: "attributes.run_name LIKE '%crop%' AND metrics.`eval/accuracy` > 0.5",
      order: ['attributes.end_time DESC'],
    },
  },
  'a tag': {
    ours: { tag: 'team-3', sort: 'metric:train/loss' },
    peer: { filter: "tags.`team-3` = '1'", order: ['metrics.`train/loss` ASC'] },
  },
};

const p95 = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(0.95 * values.length))]!;

export const measureList: Measure = async (bench, { quick }) => {
  const stack = await bench.stack('list', { workers: 0 });
  const { databaseUrl } = stack.state;
  const peer = Peer.start('mlflow_peer.py', 1, 'requirements-mlflow.txt');
  try {
    await seed(databaseUrl, { runs: RUNS, points: 10 * RUNS, log: () => undefined });
    const { mlflow } = await peer.request<{ mlflow: string }>({
      command: 'start',
      url: await bench.database('mlflow_list'),
    });
    await peer.request({ command: 'copy', source: databaseUrl });
    const times: Record<string, { ours: number[]; peer: number[] }> = Object.fromEntries(
      Object.keys(CASES).map((name) => [name, { ours: [], peer: [] }]),
    );
    for (let round = -1; round < (quick ? 3 : 20); round++) {
      for (const [name, { ours, peer: theirs, again }] of Object.entries(CASES)) {
        const cursor = again ? (await stack.client.runs({ ...ours, limit: 50 })).nextCursor! : undefined;
        const started = performance.now();
        const page = await stack.client.runs({ ...ours, limit: 50, ...(cursor !== undefined && { cursor }) });
        const ms = performance.now() - started;
        const { next } = again
          ? await peer.request<{ next: string }>({ command: 'search', ...theirs, page: null })
          : { next: null };
        const found = await peer.request<{ ms: number; names: string[] }>({ command: 'search', ...theirs, page: next });
        // They have to find as many, and where it is by a metric the same first.
        if (found.names.length !== page.items.length || (ours.sort && found.names[0] !== page.items[0]?.name))
          throw new Error(
            `expected both to find the same for ${name}, got ${found.names.length} runs from ${found.names[0]} ` +
              `and ${page.items.length} from ${page.items[0]?.name}`,
          );
        // The first round is for caches and connections.
        if (round < 0) continue;
        times[name]!.ours.push(ms);
        times[name]!.peer.push(found.ms);
      }
    }
    const [ours, theirs] = [
      p95(Object.values(times).flatMap((each) => each.ours)),
      p95(Object.values(times).flatMap((each) => each.peer)),
    ];
    const cases = Object.fromEntries(
      Object.entries(times).map(([name, each]) => [
        name,
        { ours: median(each.ours), peer: median(each.peer), oursP95: p95(each.ours), peerP95: p95(each.peer) },
      ]),
    );
    return {
      ours,
      peer: theirs,
      unit: `ms at p95, a page of 50 of ${RUNS} runs`,
      ratio: theirs / ours,
      cases,
      versions: { mlflow },
    };
  } finally {
    peer.stop();
    await stack.stop();
  }
};
