import { RUN_KINDS, type RunFilter, type RunStatus } from '#libs/contracts';
import { listOf, toggled, useRoute } from '../route.js';
import { Menu } from '../ui/controls.js';
import { Panel } from '../ui/panel.js';
import { columnOf, COLUMNS, METRIC, USUAL_SORT } from './columns.js';
import { Conditions, Search } from './filters.js';

const STATUS_GROUPS: [string, RunStatus[]][] = [
  ['running', ['running', 'pausing', 'cancelling']],
  ['waiting', ['queued', 'retrying', 'pending', 'paused']],
  ['succeeded', ['succeeded', 'early_stopped']],
  ['failed', ['failed', 'timed_out', 'upstream_failed']],
  ['cancelled', ['cancelled']],
];

type Counts = Partial<Record<RunStatus, number>>;
type Refine = (next: Record<string, string | undefined>) => void;

/** Filters, order and columns of the list of runs. `counts`: runs that match without the filter by status. */
export function FilterPanel({
  filter,
  counts,
  sort,
  columns,
  metrics,
  onRefine,
  onColumn,
}: {
  filter: RunFilter;
  counts: Counts | undefined;
  sort: string;
  columns: readonly string[];
  metrics: readonly string[];
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
        <Conditions value={query['where'] ?? ''} metrics={metrics} onChange={(where) => onRefine({ where })} />
        <Menu
          title="Columns"
          name="Columns"
          options={[...Object.keys(COLUMNS), ...metrics.map((each) => METRIC + each)].map((id) => ({
            id,
            label: columnOf(id)!.name,
          }))}
          chosen={columns}
          onToggle={onColumn}
        />
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
  return STATUS_GROUPS.map(([name, statuses]) => {
    const on = statuses.some((each) => status.includes(each));
    const count = statuses.reduce((sum, each) => sum + (counts?.[each] ?? 0), 0);
    const next = on ? status.filter((each) => !(statuses as string[]).includes(each)) : [...status, ...statuses];
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
  const order = `by ${sort.replace(/^-?(metric:)?/, '')}, ${sort.startsWith('-') ? 'largest' : 'smallest'} first`;
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
              {each} {query[each].slice(0, 16)} ✕
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
