import { isOwnNetwork, sampleText } from '#libs/contracts';
import { client, SELDOM_MS, useLive } from '../data/queries.js';
import { link } from '../route.js';
import { Panel, Table } from '../ui/panel.js';
import { Damaged, Empty, Loaded } from '../ui/states.js';
import { DeleteButton } from '../ui/sure-button.js';
import { Ago } from '../ui/time.js';

/** All versions of models that were trained elsewhere, the newest first. */
export function ModelsPage() {
  const models = useLive(['models'], () => client.models({ limit: 200 }), { everyMs: SELDOM_MS });
  return (
    <>
      <div className="title">
        <h1>Models</h1>
        <a className="button primary" href={link('add-model')}>
          Add a model
        </a>
      </div>
      <Panel title="Versions" className="flush">
        <Loaded query={models}>
          {({ items, damaged }) => (
            <>
              <Damaged rows={damaged} />
              <Table
                caption="Models"
                keys={items.map(({ name, digest }) => name + digest)}
                empty={
                  <Empty title="No models yet.">
                    <p>
                      Weights that were trained elsewhere: <a href={link('add-model')}>add a file</a>, or let{' '}
                      <code>loom models add NAME FILE</code> take one in. What is trained here is among the{' '}
                      <a href={link('runs')}>runs</a>.
                    </p>
                  </Empty>
                }
                head={['name', 'digest', 'network', 'width', 'made for', 'parameters', 'taken in', 'delete']}
                rows={items.map(({ name, digest, manifest: { encoder, sample, parameters }, createdAt }) => [
                  <a href={link(`models/${name}`)}>{name}</a>,
                  <code>{digest.slice(0, 12)}</code>,
                  encoder.name,
                  isOwnNetwork(encoder) ? '' : encoder.width,
                  sampleText(sample),
                  parameters.toLocaleString('en'),
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
    next={link('models')}
    onDelete={() => client.deleteModel(`${name}@${digest}`)}
  />
);
