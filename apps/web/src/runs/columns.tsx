/** What a list of runs can show of each, and be sorted by. */
import { duration, fieldText, shortNumber, type Run } from '#libs/contracts';
import { link } from '../route.js';
import { Progress, Status } from '../ui/run-status.js';
import { Ago } from '../ui/time.js';
import { bestOf } from './headline.js';

/** `sort`: what the list is sorted by through its heading. */
type Column = { name: string; cell: (run: Run) => React.ReactNode; sort?: string };

export const COLUMNS: Record<string, Column> = {
  status: { name: 'status', cell: (run) => <Status status={run.status} reason={run.statusReason} /> },
  kind: { name: 'kind', cell: ({ kind }) => kind },
  progress: { name: 'progress', cell: (run) => <Progress run={run} /> },
  result: { name: 'result', cell: bestOf },
  dataset: { name: 'dataset', cell: ({ spec }) => ('dataset' in spec ? spec.dataset.split('@')[0] : '') },
  tags: {
    name: 'tags',
    cell: ({ tags }) =>
      tags.map((tag) => (
        <a key={tag} className="tag" href={link('runs', { tag })}>
          {tag}
        </a>
      )),
  },
  priority: { name: 'priority', cell: ({ priority }) => priority, sort: 'priority' },
  attempt: { name: 'attempts', cell: ({ attempt }) => attempt },
  worker: { name: 'worker', cell: ({ workerId }) => workerId ?? '' },
  duration: {
    name: 'took',
    cell: ({ startedAt, finishedAt }) =>
      startedAt && finishedAt ? duration((Date.parse(finishedAt) - Date.parse(startedAt)) / 1000) : '',
    sort: 'duration',
  },
  created: { name: 'submitted', cell: ({ createdAt }) => <Ago at={createdAt} />, sort: 'createdAt' },
  finished: { name: 'ended', cell: ({ finishedAt }) => <Ago at={finishedAt} />, sort: 'finishedAt' },
};

export const METRIC = 'metric:';
export const SPEC = 'spec:';

/** A column by its id: one of the above, `metric:KEY` or `spec:FIELD`. */
export function columnOf(id: string): Column | undefined {
  if (id.startsWith(METRIC)) {
    const name = id.slice(METRIC.length);
    const cell = ({ metrics }: Run) => (metrics[name] === undefined ? '' : shortNumber(metrics[name]));
    return { name, cell, sort: id };
  }
  if (id.startsWith(SPEC)) {
    const name = id.slice(SPEC.length);
    return { name, cell: ({ spec }) => fieldText(spec, name) ?? '', sort: id };
  }
  return COLUMNS[id];
}

/** The newest first, where the address does not say otherwise. */
export const USUAL_SORT = '-createdAt';

/** What a heading does when it is pressed: the largest first, then the smallest, then as usual. */
const nextSort = (sort: string, by: string) => ({ [`-${by}`]: by, [by]: '' })[sort] ?? `-${by}`;

export const USUAL = ['status', 'kind', 'progress', 'result', 'created'];

const DOWN = { order: 'descending', arrow: ' ↓' } as const;
const UP = { order: 'ascending', arrow: ' ↑' } as const;
const UNSORTED = { order: 'none', arrow: '' } as const;

/** The heading of a column; one that can be sorted by is a button. */
export function Heading({
  name,
  by,
  sort,
  onSort,
}: {
  name: string;
  by: string | undefined;
  sort: string;
  onSort: (sort: string) => void;
}) {
  if (by === undefined) return <th scope="col">{name}</th>;
  const { order, arrow } = { [`-${by}`]: DOWN, [by]: UP }[sort] ?? UNSORTED;
  return (
    <th scope="col" aria-sort={order}>
      <button className="heading" onClick={() => onSort(nextSort(sort, by))}>
        {name}
        <span aria-hidden="true">{arrow}</span>
      </button>
    </th>
  );
}
