import {
  duration,
  ListRuns,
  parseCondition,
  RUN_KINDS,
  RunStatus,
  shortNumber,
  type BulkResult,
  type BulkRuns,
  type Run,
  type RunAction,
  type RunFilter,
} from '#libs/contracts';
import { useMutation } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';
import { client, meter, refresh, useLive } from './data.js';
import { bestOf } from './overview.js';
import { link, listOf, toggled, useRoute } from './route.js';
import { Ago, Choice, Empty, Loaded, Menu, Panel, Progress, RunLink, Status } from './ui.js';

const MOST_COMPARED = 20;
const PAGE = 50;
/** Of a keyset: the cursors of the pages before this one. */
const DIVIDER = '~';

/** `sort`: what the list is sorted by through its heading. */
type Column = { name: string; cell: (run: Run) => React.ReactNode; sort?: string };
const COLUMNS: Record<string, Column> = {
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
const METRIC = 'metric:';
/** A column by its id: one of the above, or `metric:KEY`. */
const columnOf = (id: string): Column | undefined =>
  COLUMNS[id] ??
  (id.startsWith(METRIC)
    ? {
        name: id.slice(METRIC.length),
        cell: ({ metrics }) => {
          const value = metrics[id.slice(METRIC.length)];
          return value === undefined ? '' : shortNumber(value);
        },
        sort: id,
      }
    : undefined);
/** The newest first, where the address does not say otherwise. */
const USUAL_SORT = '-createdAt';
/** What a heading does when it is pressed: the largest first, then the smallest, then as usual. */
const nextSort = (sort: string, by: string) => (sort === `-${by}` ? by : sort === by ? '' : `-${by}`);
const USUAL = ['status', 'kind', 'progress', 'result', 'created'];

/** The filter that the address names; what it doesn't know is left out. */
export function filterFrom(query: Record<string, string>): RunFilter {
  const status = listOf(query['status']).filter((each): each is RunStatus => RunStatus.safeParse(each).success);
  const kind = listOf(query['kind']).filter((each): each is Run['kind'] =>
    (RUN_KINDS as readonly string[]).includes(each),
  );
  const where = listOf(query['where']).filter((each) => parseCondition(each));
  return {
    ...(where.length && { where }),
    status: status.length ? status : undefined,
    kind: kind.length ? kind : undefined,
    ...(query['name'] && { name: query['name'] }),
    ...(query['tag'] && { tag: query['tag'] }),
    ...(query['sweep'] && { sweep: query['sweep'] }),
    ...(query['parent'] && { parent: query['parent'] }),
  };
}

const STATUS_GROUPS: [string, RunStatus[]][] = [
  ['running', ['running', 'pausing', 'cancelling']],
  ['waiting', ['queued', 'retrying', 'pending', 'paused']],
  ['succeeded', ['succeeded', 'early_stopped']],
  ['failed', ['failed', 'timed_out', 'upstream_failed']],
  ['cancelled', ['cancelled']],
];

/** All runs, filtered and paged by the server; everything chosen is in the address. */
export function RunsPage() {
  const { query, change } = useRoute();
  const filter = filterFrom(query);
  const sort = query['sort'] && ListRuns.shape.sort.safeParse(query['sort']).success ? query['sort'] : USUAL_SORT;
  const order = `by ${sort.replace(/^-?(metric:)?/, '')}, ${sort.startsWith('-') ? 'largest' : 'smallest'} first`;
  const trail = query['at'] ? query['at'].split(DIVIDER) : [];
  const cursor = trail.at(-1);
  const columns = listOf(query['columns']).filter((each) => columnOf(each));
  const shown = columns.length ? columns : USUAL;
  const [chosen, setChosen] = useState<string[]>([]);
  const key = JSON.stringify([filter, sort, cursor]);
  const runs = useLive(
    ['runs', key],
    () => client.runs({ ...filter, sort, limit: PAGE, ...(cursor !== undefined && { cursor }) }),
    { keep: true },
  );
  const counts = useLive(
    ['counts', JSON.stringify({ ...filter, status: undefined })],
    () => client.runCounts({ ...filter, status: undefined }),
    { keep: true },
  );
  useEffect(() => {
    if (runs.data) meter.note(runs.data.items, Date.now());
  }, [runs.data]);
  useEffect(() => setChosen([]), [key]);
  const refine = (next: Record<string, string | undefined>) => change({ at: '', ...next });
  const status = listOf(query['status']);
  const total = Object.values(counts.data ?? {}).reduce((sum, count) => sum + count, 0);
  const items = runs.data?.items ?? [];
  const metrics = [
    ...new Set([
      ...items.flatMap((run) => Object.keys(run.metrics)),
      ...shown.filter((id) => id.startsWith(METRIC)).map((id) => id.slice(METRIC.length)),
    ]),
  ].sort();
  const choose = (id: string) => {
    const next = [...Object.keys(COLUMNS), ...metrics.map((each) => METRIC + each)].filter((each) =>
      toggled(shown, id).includes(each),
    );
    change({ columns: next.join() === USUAL.join() ? '' : next.join() });
  };
  return (
    <>
      <h1>Runs</h1>
      <Panel className="filters">
        <div className="controls">
          <Search value={query['name'] ?? ''} onChange={(name) => refine({ name })} />
          <label>
            Kind{' '}
            <select value={query['kind'] ?? ''} onChange={({ target }) => refine({ kind: target.value })}>
              <option value="">all</option>
              {RUN_KINDS.map((kind) => (
                <option key={kind}>{kind}</option>
              ))}
            </select>
          </label>
          <Conditions value={query['where'] ?? ''} metrics={metrics} onChange={(where) => refine({ where })} />
          <Menu
            title="Columns"
            name="Columns"
            options={[...Object.keys(COLUMNS), ...metrics.map((each) => METRIC + each)].map((id) => ({
              id,
              label: columnOf(id)!.name,
            }))}
            chosen={shown}
            onToggle={choose}
          />
        </div>
        <div className="chips" role="group" aria-label="Status">
          {STATUS_GROUPS.map(([name, statuses]) => {
            const on = statuses.some((each) => status.includes(each));
            const count = statuses.reduce((sum, each) => sum + (counts.data?.[each] ?? 0), 0);
            return (
              <button
                key={name}
                aria-pressed={on}
                className={`chip ${statuses[0]}`}
                onClick={() =>
                  refine({
                    status: (on
                      ? status.filter((each) => !(statuses as string[]).includes(each))
                      : [...status, ...statuses]
                    ).join(),
                  })
                }
              >
                {name} <b>{count.toLocaleString('en')}</b>
              </button>
            );
          })}
          {(['tag', 'sweep', 'parent'] as const).map(
            (each) =>
              query[each] && (
                <button
                  key={each}
                  className="chip"
                  onClick={() => refine({ [each]: '' })}
                  aria-label={`Remove the filter by ${each} ${query[each]}`}
                >
                  {each} {query[each].slice(0, 16)} ✕
                </button>
              ),
          )}
          {filter.where?.map((each) => (
            <button
              key={each}
              className="chip"
              onClick={() => refine({ where: toggled(filter.where!, each).join() })}
              aria-label={`Remove the condition ${each}`}
            >
              {each} ✕
            </button>
          ))}
          {sort !== USUAL_SORT && (
            <button className="chip" onClick={() => refine({ sort: '' })} aria-label={`Remove the order ${order}`}>
              {order} ✕
            </button>
          )}
          <span className="dim">{total.toLocaleString('en')} in all</span>
        </div>
      </Panel>
      <Bulk
        filter={filter}
        chosen={items.filter(({ id }) => chosen.includes(id))}
        matching={
          counts.data &&
          (filter.status ? filter.status.reduce((sum, each) => sum + (counts.data[each] ?? 0), 0) : total)
        }
        onDone={() => setChosen([])}
      />
      <Loaded query={runs} lines={12}>
        {({ items: listed, nextCursor }) =>
          listed.length === 0 ? (
            <Empty
              title={
                total === 0 && Object.values(filter).every((each) => each === undefined)
                  ? 'There are no runs yet.'
                  : 'No run is like that.'
              }
            >
              <p>
                {status.length || query['name'] || query['kind'] || query['tag'] || filter.where ? (
                  <a href={link('runs')}>Show all</a>
                ) : (
                  <a href={link('new')}>Submit the first</a>
                )}
              </p>
            </Empty>
          ) : (
            <Panel className="flush">
              <div className="scroll" tabIndex={0} role="region" aria-label="Runs">
                <table className="runs">
                  <thead>
                    <tr>
                      <th scope="col">
                        <input
                          type="checkbox"
                          aria-label="Choose all on this page"
                          checked={listed.every(({ id }) => chosen.includes(id))}
                          onChange={({ target }) => setChosen(target.checked ? listed.map(({ id }) => id) : [])}
                        />
                      </th>
                      <Heading name="run" by="name" sort={sort} onSort={(next) => refine({ sort: next })} />
                      {shown.map((id) => (
                        <Heading
                          key={id}
                          name={columnOf(id)!.name}
                          by={columnOf(id)!.sort}
                          sort={sort}
                          onSort={(next) => refine({ sort: next })}
                        />
                      ))}
                    </tr>
                  </thead>
                  <tbody>
                    {listed.map((run) => (
                      <tr key={run.id} className={chosen.includes(run.id) ? 'chosen' : ''}>
                        <td>
                          <input
                            type="checkbox"
                            aria-label={`Choose ${run.name ?? run.id}`}
                            checked={chosen.includes(run.id)}
                            onChange={() => setChosen((known) => toggled(known, run.id))}
                          />
                        </td>
                        <td className="name">
                          <RunLink run={run} />
                        </td>
                        {shown.map((id) => (
                          <td key={id}>{columnOf(id)!.cell(run)}</td>
                        ))}
                      </tr>
                    ))}
                  </tbody>
                </table>
              </div>
              <nav className="pager" aria-label="Pages of the list">
                <button
                  disabled={trail.length === 0}
                  onClick={() => change({ at: trail.slice(0, -1).join(DIVIDER) }, 'push')}
                >
                  ← Back
                </button>
                <span className="dim">page {trail.length + 1}</span>
                <button
                  disabled={nextCursor === null}
                  onClick={() => change({ at: [...trail, nextCursor!].join(DIVIDER) }, 'push')}
                >
                  Further →
                </button>
              </nav>
            </Panel>
          )
        }
      </Loaded>
    </>
  );
}

/** Of a column; one that can be sorted by is a button. */
function Heading({
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
  const [down, up] = [sort === `-${by}`, sort === by];
  return (
    <th scope="col" aria-sort={down ? 'descending' : up ? 'ascending' : 'none'}>
      <button className="heading" onClick={() => onSort(nextSort(sort, by))}>
        {name}
        <span aria-hidden="true">{down ? ' ↓' : up ? ' ↑' : ''}</span>
      </button>
    </th>
  );
}

/** Conditions on last values, sent when they can be read. */
function Conditions({
  value,
  metrics,
  onChange,
}: {
  value: string;
  metrics: readonly string[];
  onChange: (value: string) => void;
}) {
  const [text, setText] = useState(value);
  const last = useRef(value);
  useEffect(() => {
    if (value !== last.current) {
      last.current = value;
      setText(value);
    }
  }, [value]);
  const parts = text
    .split(',')
    .map((each) => each.replaceAll(/\s/g, ''))
    .filter(Boolean);
  const wrong = parts.find((each) => !parseCondition(each));
  const send = () => {
    if (wrong === undefined && parts.join() !== last.current) {
      last.current = parts.join();
      onChange(last.current);
    }
  };
  return (
    <label>
      Metrics{' '}
      <input
        value={text}
        placeholder={`${metrics.find((each) => each.startsWith('eval/')) ?? 'eval/knn'}>0.5`}
        maxLength={400}
        aria-invalid={wrong !== undefined}
        title={
          wrong === undefined
            ? 'a metric, one of < <= > >= = and a number; several with commas between'
            : `expected a condition such as eval/knn>0.5, got ${wrong}`
        }
        onChange={({ target }) => setText(target.value)}
        onBlur={send}
        onKeyDown={({ key }) => {
          if (key === 'Enter') send();
        }}
      />
    </label>
  );
}

/** Sent when one pauses. */
function Search({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const [text, setText] = useState(value);
  const last = useRef(value);
  useEffect(() => {
    if (value !== last.current) {
      last.current = value;
      setText(value);
    }
  }, [value]);
  useEffect(() => {
    if (text === last.current) return;
    const timer = setTimeout(() => {
      last.current = text;
      onChange(text);
    }, 250);
    return () => clearTimeout(timer);
  }, [text]);
  return (
    <label>
      Name{' '}
      <input
        type="search"
        value={text}
        placeholder="any part of it"
        maxLength={128}
        onChange={({ target }) => setText(target.value)}
      />
    </label>
  );
}

const BULK: [RunAction, string][] = [
  ['cancel', 'Cancel'],
  ['retry', 'Retry'],
  ['pause', 'Pause'],
  ['resume', 'Resume'],
];
type Outcome = Omit<BulkResult, 'nextCursor'>;
const outcomeText = ({ done, skipped }: Outcome, word: string) =>
  [
    `${done} ${word}`,
    ...Object.entries(skipped).map(([reason, count]) => `${count} left as they are (${reason.replaceAll('_', ' ')})`),
  ].join(', ');

/** For the runs that are chosen, or all that the filter names; the latter says first how many that would be. */
function Bulk({
  filter,
  chosen,
  matching,
  onDone,
}: {
  filter: RunFilter;
  chosen: Run[];
  matching: number | undefined;
  onDone: () => void;
}) {
  const [scope, setScope] = useState<'chosen' | 'all'>('chosen');
  const [asked, setAsked] = useState<{ action: RunAction; plan: Outcome }>();
  const [tagging, setTagging] = useState(false);
  const [said, setSaid] = useState('');
  const dialog = useRef<HTMLDialogElement>(null);
  const act = useMutation({
    mutationFn: async ({ action, sure }: { action: RunAction; sure: boolean }): Promise<void> => {
      setSaid('');
      if (scope === 'all') {
        const result = await client.bulkRuns({ action, filter }, { validateOnly: !sure });
        if (sure) {
          setSaid(outcomeText(result, 'done'));
          setAsked(undefined);
        } else setAsked({ action, plan: result });
        return;
      }
      const calls = {
        cancel: (id: string) => client.cancelRun(id),
        retry: (id: string) => client.retryRun(id),
        pause: (id: string) => client.pauseRun(id),
        resume: (id: string) => client.resumeRun(id),
      };
      const results = await Promise.allSettled(chosen.map(({ id }) => calls[action](id)));
      const refused = results.flatMap((result) =>
        result.status === 'rejected'
          ? [result.reason instanceof Error ? result.reason.message : String(result.reason)]
          : [],
      );
      setSaid(
        `${results.length - refused.length} done${refused.length ? `, ${refused.length} refused: ${refused[0]}` : ''}`,
      );
      onDone();
    },
    onSettled: () => void refresh(),
  });
  const tag = useMutation({
    mutationFn: async (tags: NonNullable<BulkRuns['tags']>): Promise<void> => {
      setSaid('');
      setSaid(
        outcomeText(
          await client.bulkRuns({
            action: 'tag',
            filter: scope === 'all' ? filter : { id: chosen.map(({ id }) => id) },
            tags,
          }),
          'tagged',
        ),
      );
      setTagging(false);
    },
    onSettled: () => void refresh(),
  });
  useEffect(() => {
    if (asked) dialog.current?.showModal();
    else dialog.current?.close();
  }, [asked]);
  const comparable = chosen.length >= 2 && chosen.length <= MOST_COMPARED;
  if (!matching && !said) return null;
  return (
    <div className="bulk">
      <Choice
        label="Which runs"
        value={scope}
        onChange={setScope}
        options={[
          ['chosen', `${chosen.length} chosen`],
          ['all', `all ${(matching ?? 0).toLocaleString('en')} that match`],
        ]}
      />
      {BULK.map(([action, word]) => (
        <button
          key={action}
          className={action === 'cancel' ? 'danger' : ''}
          disabled={act.isPending || (scope === 'chosen' ? chosen.length === 0 : !matching)}
          onClick={() => act.mutate({ action, sure: false })}
        >
          {word}
          {scope === 'all' ? ' …' : ''}
        </button>
      ))}
      <button disabled={scope === 'chosen' ? chosen.length === 0 : !matching} onClick={() => setTagging(true)}>
        Tag …
      </button>
      <a
        className={`button ${comparable ? '' : 'disabled'}`}
        aria-disabled={!comparable}
        title={comparable ? '' : `choose 2 to ${MOST_COMPARED} runs`}
        {...(comparable && { href: link('compare', { runs: chosen.map(({ id }) => id).join() }) })}
      >
        Compare
      </a>
      {tagging && (
        <TagDialog
          count={scope === 'all' ? (matching ?? 0) : chosen.length}
          error={tag.error}
          busy={tag.isPending}
          onTag={(tags) => tag.mutate(tags)}
          onClose={() => setTagging(false)}
        />
      )}
      <span role="status">
        {act.isPending ? 'Working …' : act.error ? <span className="bad">{act.error.message}</span> : said}
      </span>
      <dialog ref={dialog} onClose={() => setAsked(undefined)} aria-label="Are you sure?">
        {asked && (
          <>
            <p>
              {BULK.find(([action]) => action === asked.action)![1]} {asked.plan.done.toLocaleString('en')} runs?{' '}
              {outcomeText(asked.plan, 'would be done')}.
            </p>
            <div className="actions">
              <button onClick={() => setAsked(undefined)}>No</button>
              <button
                className="danger"
                disabled={asked.plan.done === 0}
                onClick={() => act.mutate({ action: asked.action, sure: true })}
              >
                Yes, all of them
              </button>
            </div>
          </>
        )}
      </dialog>
    </div>
  );
}

/** Which tags runs are given and which they lose. */
function TagDialog({
  count,
  error,
  busy,
  onTag,
  onClose,
}: {
  count: number;
  error: Error | null;
  busy: boolean;
  onTag: (tags: NonNullable<BulkRuns['tags']>) => void;
  onClose: () => void;
}) {
  const [add, setAdd] = useState('');
  const [remove, setRemove] = useState('');
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const names = (text: string) => text.split(/[\s,]+/).filter(Boolean);
  const tags = { add: names(add), remove: names(remove) };
  return (
    <dialog ref={dialog} onClose={onClose} aria-label="Tag runs">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onTag(tags);
        }}
      >
        <p>
          Tags of {count.toLocaleString('en')} {count === 1 ? 'run' : 'runs'}
        </p>
        <div className="controls">
          <label>
            Add <input value={add} autoFocus onChange={({ target }) => setAdd(target.value)} />
          </label>
          <label>
            Remove <input value={remove} onChange={({ target }) => setRemove(target.value)} />
          </label>
        </div>
        {error && (
          <p className="bad" role="alert">
            {error.message}
          </p>
        )}
        <div className="actions">
          <button type="button" onClick={onClose}>
            No
          </button>
          <button type="submit" disabled={busy || tags.add.length + tags.remove.length === 0}>
            Tag
          </button>
        </div>
      </form>
    </dialog>
  );
}
