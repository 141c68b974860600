import { runLabel, type Run } from '#libs/contracts';
import { client, useLive } from '../data/queries.js';
import { link } from '../route.js';
import { Ago } from '../ui/time.js';
import { Empty, Loaded } from '../ui/states.js';
import { Panel, Table } from '../ui/panel.js';
import { Progress, RunLink, Status } from '../ui/run-status.js';

/** Everything that looks into a latent space: maps and walks. */
export function MapsPage() {
  const runs = useLive(['runs', 'latent'], () => client.runs({ kind: ['embed', 'interpolate'], limit: 200 }));
  return (
    <>
      <div className="title">
        <h1>Latent maps</h1>
        <a className="button primary" href={link('new', { example: 'embed' })}>
          New map
        </a>
      </div>
      <Loaded query={runs} lines={8}>
        {({ items }) => (
          <>
            <MapsPanel maps={items.filter(({ kind }) => kind === 'embed')} />
            <WalksPanel walks={items.filter(({ kind }) => kind === 'interpolate')} />
          </>
        )}
      </Loaded>
    </>
  );
}

function MapsPanel({ maps }: { maps: readonly Run[] }) {
  return (
    <Panel title="Maps" className="flush">
      <Table
        caption="Maps"
        keys={maps.map(({ id }) => id)}
        head={['map', 'status', 'progress', 'samples', 'purity', 'trustworthiness', 'submitted']}
        empty={<NoMaps />}
        rows={maps.map((run) => {
          const metrics = run.result?.metrics ?? {};
          const trust = Object.entries(metrics)
            .filter(([key]) => key.endsWith('/trustworthiness'))
            .map(([key, value]) => `${key.split('/')[1]} ${value.toFixed(2)}`)
            .join(' · ');
          return [
            run.status === 'succeeded' ? <a href={link(`maps/${run.id}`)}>{runLabel(run)}</a> : <RunLink run={run} />,
            <Status status={run.status} reason={run.statusReason} />,
            <Progress run={run} />,
            metrics['data/samples']?.toLocaleString('en') ?? '–',
            metrics['embedding/knn_purity']?.toFixed(2) ?? '–',
            trust || '–',
            <Ago at={run.createdAt} />,
          ];
        })}
      />
    </Panel>
  );
}

const NoMaps = () => (
  <Empty title="No maps yet.">
    <p>
      A run of kind <code>embed</code> takes samples through an encoder and maps them by PCA, t-SNE and UMAP.{' '}
      <a href={link('new', { example: 'embed' })}>Submit one</a>
    </p>
  </Empty>
);

function WalksPanel({ walks }: { walks: readonly Run[] }) {
  return (
    <Panel title="Walks" className="flush">
      <Table
        caption="Walks"
        keys={walks.map(({ id }) => id)}
        head={['walk', 'status', 'progress', 'submitted']}
        empty={
          <Empty title="No walks yet.">
            <p>
              A run of kind <code>interpolate</code> decodes the way between two points.{' '}
              <a href={link('new', { example: 'interpolate' })}>Submit one</a>
            </p>
          </Empty>
        }
        rows={walks.map((run) => [
          <RunLink run={run} />,
          <Status status={run.status} reason={run.statusReason} />,
          <Progress run={run} />,
          <Ago at={run.createdAt} />,
        ])}
      />
    </Panel>
  );
}
