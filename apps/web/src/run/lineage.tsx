import { runLabel, type RunDetail } from '#libs/contracts';
import { useLineage } from '../data/queries.js';
import { link } from '../route.js';
import { Panel } from '../ui/panel.js';
import { RunLink, Status } from '../ui/run-status.js';

export function Lineage({ run }: { run: RunDetail }) {
  const { data } = useLineage(run);
  if (!data || (data.parents.length === 0 && data.children.length === 0 && !('dataset' in run.spec))) return null;
  const row = (each: { id: string; name: string | null; kind: RunDetail['kind']; status: string }) => (
    <li key={each.id}>
      <RunLink run={each} /> <Status status={each.status} />
    </li>
  );
  return (
    <Panel title="Lineage">
      <ol className="lineage">
        {'dataset' in run.spec && (
          <li>
            <a href={link(`datasets/${run.spec.dataset.split('@')[0]}`)}>{run.spec.dataset.split('@')[0]}</a>{' '}
            <span className="dim">dataset</span>
          </li>
        )}
        {data.parents.map(row)}
        <li className="self">
          <b>{runLabel(run)}</b>
        </li>
        {data.children.length > 0 && (
          <li className="children">
            <ul>{data.children.slice(0, 12).map(row)}</ul>
            {(data.children.length > 12 || data.more) && (
              <a href={link('runs', { parent: run.id })}>All that build on it</a>
            )}
          </li>
        )}
      </ol>
    </Panel>
  );
}
