import { ListRuns, RUN_KINDS, type RunStatus } from '#libs/contracts';
import { useEffect, useState } from 'react';
import { client, meter, useLive } from '../data/queries.js';
import { link, listOf, toggled, useRoute } from '../route.js';
import { Menu } from '../ui/controls.js';
import { Panel } from '../ui/panel.js';
import { RunLink } from '../ui/run-status.js';
import { Empty, Loaded } from '../ui/states.js';
import { Bulk } from './bulk.js';
import { columnOf, COLUMNS, Heading, METRIC, USUAL, USUAL_SORT } from './columns.js';
import { Conditions, filterFrom, Search } from './filters.js';

const PAGE = 50;

/** Of a keyset: the cursors of the pages before this one. */
const DIVIDER = '~';

const STATUS_GROUPS: [string, RunStatus[]][] = [
  ['running', ['running', 'pausing', 'cancelling']],
  ['waiting', ['queued', 'retrying', 'pending', 'paused']],
  ['succeeded', ['succeeded', 'early_stopped']],
  ['failed', ['failed', 'timed_out', 'upstream_failed']],
  ['cancelled', ['cancelled']],
];

/** The order that the address names; what it doesn't know is the usual one. */
const sortFrom = ({ sort }: Record<string, string>): string =>
  sort && ListRuns.shape.sort.safeParse(sort).success ? sort : USUAL_SORT;

/** All runs, filtered and paged by the server; everything chosen is in the address. */
export function RunsPage() {
  const { query, change } = useRoute();
  const filter = filterFrom(query);
  const sort = sortFrom(query);
  const order = `by ${sort.replace(/^-?(metric:)?/, '')}, ${sort.startsWith('-') ? 'largest' : 'smallest'} first`;
  const trail = query['at'] ? query['at'].split(DIVIDER) : [];
  const cursor = trail.at(-1);
  const columns = listOf(query['columns']).filter((each) => columnOf(each));
  const shown = columns.length ? columns : USUAL;
  const key = JSON.stringify([filter, sort, cursor]);
  // What was chosen in one list is not chosen in another.
  const [choice, setChoice] = useState<{ key: string; ids: string[] }>({ key, ids: [] });
  const chosen = choice.key === key ? choice.ids : [];
  const setChosen = (ids: string[]) => setChoice({ key, ids });
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
                            onChange={() => setChosen(toggled(chosen, run.id))}
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
