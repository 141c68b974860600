import { sampleText } from '#libs/contracts';
import { client, SELDOM_MS, useLive } from '../data/queries.js';
import { link } from '../route.js';
import { Panel, Table } from '../ui/panel.js';
import { Damaged, Empty, Loaded } from '../ui/states.js';
import { DeleteButton } from '../ui/sure-button.js';
import { Ago } from '../ui/time.js';

/** All dataset versions, the newest first. */
export function DatasetsPage() {
  const datasets = useLive(['datasets'], () => client.datasets({ limit: 200 }), { everyMs: SELDOM_MS });
  return (
    <>
      <div className="title">
        <h1>Datasets</h1>
        <a className="button primary" href={link('add-dataset')}>
          Add a dataset
        </a>
      </div>
      <Panel title="Versions" className="flush">
        <Loaded query={datasets}>
          {({ items, damaged }) => (
            <>
              <Damaged rows={damaged} />
              <Table
                caption="Datasets"
                keys={items.map(({ name, digest }) => name + digest)}
                empty={
                  <Empty title="No datasets yet.">
                    <p>
                      <a href={link('add-dataset')}>Add a folder of images or sounds</a>, or let{' '}
                      <code>loom datasets add NAME PATH</code> prepare one.
                    </p>
                  </Empty>
                }
                head={['name', 'digest', 'samples', 'classes', 'each', 'prepared', 'delete']}
                rows={items.map(({ name, digest, manifest, createdAt }) => [
                  <a href={link(`datasets/${name}`)}>{name}</a>,
                  <code>{digest.slice(0, 12)}</code>,
                  Object.entries(manifest.splits)
                    .map(([split, part]) => `${part?.count.toLocaleString('en') ?? 0} ${split}`)
                    .join(' · '),
                  <span title={manifest.classes.join(', ')}>{manifest.classes.length}</span>,
                  sampleText(manifest.sample),
                  <Ago at={createdAt} />,
                  <DeleteVersion name={name} digest={digest} />,
                ])}
              />
            </>
          )}
        </Loaded>
      </Panel>
    </>
  );
}

export const DeleteVersion = ({ name, digest }: { name: string; digest: string }) => (
  <DeleteButton
    name={`${name}@${digest.slice(0, 12)}`}
    next={link('datasets')}
    onDelete={() => client.deleteDataset(`${name}@${digest}`)}
  />
);
