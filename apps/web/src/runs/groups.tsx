/** The runs of the list in groups of equal fields. */
import { GroupRuns, shortNumber, valueText, type RunFilter, type RunGroups } from '#libs/contracts';
import { client, useLive } from '../data/queries.js';
import { link, useRoute } from '../route.js';
import { Panel, Table } from '../ui/panel.js';
import { Loaded } from '../ui/states.js';
import { METRIC, SPEC } from './columns.js';

const OTHERS = ['kind', 'status', 'project'] as const;
/** Metrics of groups where no column says which are wanted. */
const MOST_METRICS = 4;

/** What the address groups by; what can't be grouped by is nothing. */
export const groupFrom = ({ group = '' }: Record<string, string>): string =>
  GroupRuns.shape.by.safeParse(group).success ? group : '';

/** What the list is grouped by: nothing, or one of these fields of specs and what else runs share. */
export function Grouping({ by, fields, onBy }: { by: string; fields: readonly string[]; onBy: (by: string) => void }) {
  const options = [...new Set([...OTHERS, ...fields.map((each) => SPEC + each), ...(by ? [by] : [])])];
  return (
    <label className="group-by">
      Group by{' '}
      <select value={by} onChange={({ target }) => onBy(target.value)}>
        <option value="">nothing</option>
        {options.map((each) => (
          <option key={each} value={each}>
            {each.replace(SPEC, '')}
          </option>
        ))}
      </select>
    </label>
  );
}

type Group = RunGroups['groups'][number];

/** Means and spreads of each group of the runs that a filter names; each leads to its runs. */
export function Groups({
  filter,
  by,
  metrics,
  shown,
}: {
  filter: RunFilter;
  by: string;
  metrics: readonly string[];
  /** Ids of the columns of the list. */
  shown: readonly string[];
}) {
  const { query } = useRoute();
  const columns = shown.filter((id) => id.startsWith(METRIC)).map((id) => id.slice(METRIC.length));
  const metric = columns.length ? columns : metrics.filter((each) => each.startsWith('eval/')).slice(0, MOST_METRICS);
  const groups = useLive(
    ['groups', JSON.stringify([filter, by, metric])],
    // None at all would be the one without a name.
    () => client.runGroups({ ...filter, by: [by], ...(metric.length > 0 && { metric }) }),
    { keep: true },
  );
  const name = by.replace(SPEC, '');
  const cellOf = ({ metrics: found }: Group, key: string) => {
    const of = found[key];
    if (!of) return '';
    const spread = of.deviation === null ? '' : ` ± ${shortNumber(of.deviation)}`;
    return (
      <span title={`of ${of.runs}, ${shortNumber(of.min)} to ${shortNumber(of.max)}`}>
        {shortNumber(of.mean) + spread}
      </span>
    );
  };
  return (
    <Panel title={`By ${name}`} aside={<span className="dim">mean ± standard deviation</span>} className="flush">
      <Loaded query={groups} lines={4}>
        {({ groups: found, more }) => (
          <>
            <Table
              caption={`Runs by ${name}`}
              head={[name, 'runs', ...metric]}
              rows={found.map((group) => [
                <GroupName key="name" by={by} value={group.by[by] ?? null} query={query} />,
                group.runs.toLocaleString('en'),
                ...metric.map((key) => cellOf(group, key)),
              ])}
              empty="No run is like that."
            />
            {more > 0 && <p className="dim">and {more.toLocaleString('en')} smaller groups</p>}
          </>
        )}
      </Loaded>
    </Panel>
  );
}

/** The value that runs of a group have; where the list can be narrowed to it, a link to them. */
function GroupName({ by, value, query }: { by: string; value: Group['by'][string]; query: Record<string, string> }) {
  if (value === null) return <span className="dim">none</span>;
  const text = valueText(value);
  const narrowed = narrowedTo(by, text, query);
  return narrowed && typeof value !== 'object' ? <a href={link('runs', narrowed)}>{text}</a> : <>{text}</>;
}

function narrowedTo(by: string, text: string, query: Record<string, string>) {
  const rest = { ...query, group: '', at: '' };
  if (by === 'kind' || by === 'status') return { ...rest, [by]: text };
  if (!by.startsWith(SPEC) || text.includes(',')) return undefined;
  return { ...rest, where: [query['where'], `${by}=${text}`].filter(Boolean).join() };
}
