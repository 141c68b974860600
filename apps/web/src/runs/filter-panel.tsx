import { RUN_KINDS, type RunFilter, type RunStatus } from '#libs/contracts';
import type { ReactNode } from 'react';
import { listOf, toggled, useRoute } from '../route.js';
import { ArchivedSelect } from '../ui/archived.js';
import { Menu } from '../ui/controls.js';
import { Panel } from '../ui/panel.js';
import { STATUS_GROUPS } from '../ui/run-status.js';
import { columnOf, USUAL_SORT } from './columns.js';
import { Conditions, Search } from './filters.js';
import { SavedViews } from './saved-views.js';

type Counts = Partial<Record<RunStatus, number>>;
type Refine = (next: Record<string, string | undefined>) => void;

/** Filters, order and columns of the list of runs. `counts`: runs that match without the filter by status. */
export function FilterPanel({
  filter,
  counts,
  sort,
  columns,
  offered,
  metrics,
  grouping,
  onRefine,
  onColumn,
}: {
  filter: RunFilter;
  counts: Counts | undefined;
  sort: string;
  columns: readonly string[];
  /** Columns that can be had. */
  offered: readonly string[];
  metrics: readonly string[];
  grouping: ReactNode;
  onRefine: Refine;
  onColumn: (id: string) => void;
}) {
  const { query } = useRoute();
  const total = Object.values(counts ?? {}).reduce((sum, count) => sum + count, 0);
  return (
    <Panel className="filters">
      <div className="controls">
        <Search value={query['search'] ?? ''} onChange={(search) => onRefine({ search })} />
        <label>
          Kind{' '}
          <select value={query['kind'] ?? ''} onChange={({ target }) => onRefine({ kind: target.value })}>
            <option value="">all</option>
            {RUN_KINDS.map((kind) => (
              <option key={kind}>{kind}</option>
            ))}
          </select>
        </label>
        <ArchivedSelect
          value={filter.archived}
          usual={(filter.sweep ?? filter.parent) ? 'all' : 'no'}
          onChange={(archived) => onRefine({ archived })}
        />
        <Conditions value={query['where'] ?? ''} metrics={metrics} onChange={(where) => onRefine({ where })} />
        <Menu
          title="Columns"
          name="Columns"
          options={offered.map((id) => ({ id, label: columnOf(id)!.name }))}
          chosen={columns}
          onToggle={onColumn}
        />
        {grouping}
        <SavedViews />
      </div>
      <div className="chips" role="group" aria-label="Status">
        <StatusChips counts={counts} onRefine={onRefine} />
        <FilterChips where={filter.where} sort={sort} onRefine={onRefine} />
        <span className="dim">{total.toLocaleString('en')} in all</span>
      </div>
    </Panel>
  );
}

function StatusChips({ counts, onRefine }: { counts: Counts | undefined; onRefine: Refine }) {
  const status = listOf(useRoute().query['status']);
  return Object.entries(STATUS_GROUPS).map(([name, statuses]: [string, readonly RunStatus[]]) => {
    const on = statuses.some((each) => status.includes(each));
    const count = statuses.reduce((sum, each) => sum + (counts?.[each] ?? 0), 0);
    const next = on
      ? status.filter((each) => !(statuses as readonly string[]).includes(each))
      : [...status, ...statuses];
    return (
      <button
        key={name}
        aria-pressed={on}
        className={`chip ${statuses[0]}`}
        onClick={() => onRefine({ status: next.join() })}
      >
        {name} <b>{count.toLocaleString('en')}</b>
      </button>
    );
  });
}

/** A chip to remove each filter that has no control of its own, and the order where it isn't the usual one. */
function FilterChips({ where, sort, onRefine }: { where: RunFilter['where']; sort: string; onRefine: Refine }) {
  const { query } = useRoute();
  const order = `by ${sort.replace(/^-?(metric:|spec:)?/, '')}, ${sort.startsWith('-') ? 'largest' : 'smallest'} first`;
  return (
    <>
      {(['name', 'tag', 'sweep', 'parent'] as const).map(
        (each) =>
          query[each] && (
            <button
              key={each}
              className="chip"
              onClick={() => onRefine({ [each]: '' })}
              aria-label={`Remove the filter by ${each} ${query[each]}`}
            >
              <span className="clipped">
                {each} {query[each]}
              </span>{' '}
              <span aria-hidden="true">✕</span>
            </button>
          ),
      )}
      {where?.map((each) => (
        <button
          key={each}
          className="chip"
          onClick={() => onRefine({ where: toggled(where, each).join() })}
          aria-label={`Remove the condition ${each}`}
        >
          {each} ✕
        </button>
      ))}
      {sort !== USUAL_SORT && (
        <button className="chip" onClick={() => onRefine({ sort: '' })} aria-label={`Remove the order ${order}`}>
          {order} ✕
        </button>
      )}
    </>
  );
}
