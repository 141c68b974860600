import { client, useLive } from '../data/queries.js';
import { link, useRoute } from '../route.js';
import { Ago } from '../ui/time.js';
import { Empty, Loaded } from '../ui/states.js';
import { Panel, Table } from '../ui/panel.js';
import { Status, StatusBar } from '../ui/run-status.js';

export function SweepsPage() {
  const { query, change } = useRoute();
  const trail = query['at'] ? query['at'].split('~') : [];
  const cursor = trail.at(-1);
  const sweeps = useLive(
    ['sweeps', cursor],
    () => client.sweeps({ limit: 50, ...(cursor !== undefined && { cursor }) }),
    { keep: true },
  );
  return (
    <>
      <div className="title">
        <h1>Sweeps</h1>
        <a className="button primary" href={link('new')}>
          New sweep
        </a>
      </div>
      <Loaded query={sweeps} lines={8}>
        {({ items, nextCursor }) => (
          <Panel className="flush">
            <Table
              caption="Sweeps"
              empty={
                <Empty title="No sweeps yet.">
                  <p>
                    A sweep trains every combination you ask for, shares what is the same, and says which views need the
                    fewest labels. <a href={link('new')}>Plan the first</a>
                  </p>
                </Empty>
              }
              keys={items.map(({ id }) => id)}
              head={['sweep', 'status', 'runs', 'trials', 'tags', 'submitted']}
              rows={items.map((sweep) => [
                <a href={link(`sweeps/${sweep.id}`)}>{sweep.name}</a>,
                <Status status={sweep.status} />,
                <StatusBar counts={sweep.runCounts} />,
                sweep.plan.trials,
                sweep.tags.map((tag) => (
                  <span key={tag} className="tag">
                    {tag}
                  </span>
                )),
                <Ago at={sweep.createdAt} />,
              ])}
            />
            {(trail.length > 0 || nextCursor !== null) && (
              <nav className="pager" aria-label="Pages of the list">
                <button
                  disabled={trail.length === 0}
                  onClick={() => change({ at: trail.slice(0, -1).join('~') }, 'push')}
                >
                  ← Back
                </button>
                <span className="dim">page {trail.length + 1}</span>
                <button
                  disabled={nextCursor === null}
                  onClick={() => change({ at: [...trail, nextCursor!].join('~') }, 'push')}
                >
                  Further →
                </button>
              </nav>
            )}
          </Panel>
        )}
      </Loaded>
    </>
  );
}
