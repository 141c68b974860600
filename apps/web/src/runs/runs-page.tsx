import { diffSpecs, ListRuns, type Run } from '#libs/contracts';
import { useEffect } from 'react';
import { client, meter, useLive } from '../data/queries.js';
import { link, listOf, toggled, useRoute } from '../route.js';
import { noChoice, useChosen } from '../ui/bulk-bar.js';
import { Pager, usePages } from '../ui/pager.js';
import { Panel } from '../ui/panel.js';
import { Damaged, Empty, Loaded } from '../ui/states.js';
import { Bulk } from './bulk.js';
import { columnOf, COLUMNS, METRIC, SPEC, USUAL, USUAL_SORT } from './columns.js';
import { FilterPanel } from './filter-panel.js';
import { filterFrom } from './filters.js';
import { groupFrom, Grouping, Groups } from './groups.js';
import { RunTable } from './run-table.js';

const PAGE = 50;

/** The order that the address names; what it doesn't know is the usual one. */
const sortFrom = ({ sort }: Record<string, string>): string =>
  sort && ListRuns.shape.sort.safeParse(sort).success ? sort : USUAL_SORT;

/** All runs, filtered and paged by the server; everything chosen is in the address. */
export function RunsPage() {
  const { query, change } = useRoute();
  const filter = filterFrom(query);
  const sort = sortFrom(query);
  const { trail, cursor } = usePages();
  const key = JSON.stringify([filter, sort, cursor]);
  const [chosen, setChosen] = useChosen(choice, JSON.stringify(filter));
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
  const total = Object.values(counts.data ?? {}).reduce((sum, count) => sum + count, 0);
  const items = runs.data?.items ?? [];
  const { shown, offered, metrics, fields, toggle } = useColumns(items);
  const group = groupFrom(query);
  return (
    <>
      <h1>Runs</h1>
      <FilterPanel
        filter={filter}
        counts={counts.data}
        sort={sort}
        columns={shown}
        offered={offered}
        metrics={metrics}
        grouping={<Grouping by={group} fields={fields} onBy={(by) => change({ group: by })} />}
        onRefine={refine}
        onColumn={toggle}
      />
      <Bulk
        filter={filter}
        chosen={chosen}
        matching={
          counts.data &&
          (filter.status ? filter.status.reduce((sum, each) => sum + (counts.data[each] ?? 0), 0) : total)
        }
        onDone={() => setChosen([])}
      />
      {group && <Groups filter={filter} by={group} metrics={metrics} shown={shown} />}
      <Damaged rows={runs.data?.damaged} />
      <Loaded query={runs} lines={12}>
        {({ items: listed, nextCursor }) =>
          listed.length === 0 ? (
            <NoRuns none={total === 0 && Object.values(filter).every((each) => each === undefined)} />
          ) : (
            <Panel className="flush">
              <RunTable
                runs={listed}
                columns={shown}
                sort={sort}
                chosen={chosen}
                onChoose={setChosen}
                onSort={(next) => refine({ sort: next })}
              />
              <Pager trail={trail} nextCursor={nextCursor} />
            </Panel>
          )
        }
      </Loaded>
    </>
  );
}

/** The runs that are chosen in the list of a filter. */
const choice = noChoice();

/**
 * Ids of the columns that the address names, else the usual ones, of those that there could be, and what the runs of
 * the page have of both kinds: metrics, and fields of their specs in which they differ.
 */
function useColumns(items: readonly Run[]) {
  const { query, change } = useRoute();
  const columns = listOf(query['columns']).filter((each) => columnOf(each));
  const shown = columns.length ? columns : USUAL;
  const namesOf = (prefix: string) => shown.filter((id) => id.startsWith(prefix)).map((id) => id.slice(prefix.length));
  const metrics = [...new Set([...items.flatMap((run) => Object.keys(run.metrics)), ...namesOf(METRIC)])].sort();
  const differing = diffSpecs(items.map(({ spec }) => spec)).filter(({ differs }) => differs);
  const fields = [...new Set([...differing.map(({ path }) => path), ...namesOf(SPEC)])].sort();
  const offered = [
    ...Object.keys(COLUMNS),
    ...metrics.map((each) => METRIC + each),
    ...fields.map((each) => SPEC + each),
  ];
  const toggle = (id: string) => {
    const next = offered.filter((each) => toggled(shown, id).includes(each));
    change({ columns: next.join() === USUAL.join() ? '' : next.join() });
  };
  return { shown, offered, metrics, fields, toggle };
}

/** `none`: there are no runs at all, not only none that match. */
function NoRuns({ none }: { none: boolean }) {
  const { query } = useRoute();
  const { status, search, name, kind, tag, archived, where } = query;
  const filtered =
    listOf(status).length > 0 || search || name || kind || tag || archived || filterFrom({ where: where ?? '' }).where;
  return (
    <Empty title={none ? 'There are no runs yet.' : 'No run is like that.'}>
      <p>{filtered ? <a href={link('runs')}>Show all</a> : <a href={link('new')}>Submit the first</a>}</p>
    </Empty>
  );
}
