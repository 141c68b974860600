import { client, SELDOM_MS, useLive } from '../data/queries.js';
import { link, toggled, useRoute } from '../route.js';
import { ArchivedSelect, archivedFrom } from '../ui/archived.js';
import { ChooseAll, noChoice, useChosen } from '../ui/bulk-bar.js';
import { Ago } from '../ui/time.js';
import { Damaged, Empty, Loaded } from '../ui/states.js';
import { Pager, usePages } from '../ui/pager.js';
import { Panel, Table } from '../ui/panel.js';
import { Status, StatusBar } from '../ui/run-status.js';
import { Bulk } from './bulk.js';

/** The sweeps that are chosen. */
const choice = noChoice();

export function SweepsPage() {
  const { trail, cursor } = usePages();
  const { query, change } = useRoute();
  const archived = archivedFrom(query);
  const sweeps = useLive(
    ['sweeps', cursor, archived],
    () => client.sweeps({ limit: 50, archived, ...(cursor !== undefined && { cursor }) }),
    { keep: true, everyMs: SELDOM_MS },
  );
  const [chosen, setChosen] = useChosen(choice, archived ?? 'no');
  return (
    <>
      <div className="title">
        <h1>Sweeps</h1>
        <ArchivedSelect value={archived} onChange={(next) => change({ archived: next, at: '' })} />
        <a className="button primary" href={link('new')}>
          New sweep
        </a>
      </div>
      <Bulk
        chosen={chosen}
        archived={archived ?? 'no'}
        listed={sweeps.data?.items.length ?? 0}
        onDone={() => setChosen([])}
      />
      <Damaged rows={sweeps.data?.damaged} />
      <Loaded query={sweeps} lines={8}>
        {({ items, nextCursor }) => (
          <Panel className="flush">
            <Table
              caption="Sweeps"
              empty={
                <Empty title={archived === 'yes' ? 'No sweep is archived.' : 'No sweeps yet.'}>
                  <p>
                    A sweep trains every combination you ask for, shares what is the same, and says which views need the
                    fewest labels. <a href={link('new')}>Plan the first</a>
                  </p>
                </Empty>
              }
              keys={items.map(({ id }) => id)}
              head={[
                <ChooseAll ids={items.map(({ id }) => id)} chosen={chosen} onChoose={setChosen} />,
                ...['sweep', 'status', 'runs', 'trials', 'tags', 'submitted'],
              ]}
              rows={items.map((sweep) => [
                <input
                  type="checkbox"
                  aria-label={`Choose ${sweep.name}`}
                  checked={chosen.includes(sweep.id)}
                  onChange={() => setChosen(toggled(chosen, sweep.id))}
                />,
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
            {(trail.length > 0 || nextCursor !== null) && <Pager trail={trail} nextCursor={nextCursor} />}
          </Panel>
        )}
      </Loaded>
    </>
  );
}
