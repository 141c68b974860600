/** What reports show, read through the API. */
import { ApiError, CHART_POINTS, type ReportSource } from '#libs/contracts';
import { client } from '../data/queries.js';

export const reportSource: ReportSource = {
  run: (id) => client.run(id),
  curve: async (id, metric) =>
    (await client.metrics(id, { key: [metric], points: CHART_POINTS })).find(({ key }) => key === metric)?.points ?? [],
  sweep: (id) => client.sweep(id),
  results: (id) => client.sweepResults(id),
  async maps({ id }) {
    const { items } = await client.artifacts(id, { limit: 500 });
    const file = items.findLast(({ name }) => name === 'maps.json');
    if (!file) return undefined;
    const answer = await fetch(client.artifactUrl(id, file.id));
    if (!answer.ok) throw new Error(`expected the maps of run ${id}, got HTTP ${answer.status}`);
    return answer.json().catch(() => undefined) as Promise<unknown>;
  },
  absence: (error) =>
    error instanceof ApiError && [404, 409].includes(error.status)
      ? error.message.replace(/^expected the id of a (run|sweep), got \S+: there is no such \1$/, GONE)
      : undefined,
};
/** As the file that opens offline says it. */
const GONE = 'there is no such $1 any more';
