import { ACTIVE_STATUSES, sampleText } from '#libs/contracts';
import { useMutation } from '@tanstack/react-query';
import { client, refresh, useLive } from '../data/queries.js';
import { WorkerCard } from './worker-card.js';
import { link } from '../route.js';
import { DeleteButton } from '../ui/delete-button.js';
import { Ago } from '../ui/time.js';
import { Empty, Loaded } from '../ui/states.js';
import { Panel, Table } from '../ui/panel.js';

export function MachinesPage() {
  const workers = useLive(['workers'], () => client.workers());
  const running = useLive(['runs', 'active'], () => client.runs({ status: [...ACTIVE_STATUSES], limit: 100 }));
  const datasets = useLive(['datasets'], () => client.datasets({ limit: 200 }));
  const drain = useMutation({ mutationFn: (id: string) => client.drainWorker(id), onSettled: () => void refresh() });
  return (
    <>
      <h1>Workers and datasets</h1>
      <Panel title="Workers">
        {drain.error && (
          <p role="alert" className="bad">
            {drain.error.message}
          </p>
        )}
        <Loaded query={workers}>
          {(all) => {
            const here = all.filter(({ state, alive }) => state !== 'stopped' && alive);
            const gone = all.filter((worker) => !here.includes(worker));
            return (
              <>
                {here.length === 0 && (
                  <Empty title="No worker answers.">
                    <p>
                      Runs wait until one does: <code>loom up</code>, or start one on another machine.
                    </p>
                  </Empty>
                )}
                <ul className="cards wide">
                  {here.map((worker) => (
                    <li key={worker.id}>
                      <WorkerCard
                        worker={worker}
                        runs={(running.data?.items ?? []).filter(({ workerId }) => workerId === worker.id)}
                      />
                      <div className="line">
                        <span className="dim">
                          {Object.entries(worker.versions)
                            .map(([what, version]) => `${what} ${version}`)
                            .join(' · ')}{' '}
                          · up since <Ago at={worker.startedAt} />
                        </span>
                        {worker.state === 'running' && (
                          <button
                            disabled={drain.isPending}
                            onClick={() => drain.mutate(worker.id)}
                            aria-label={`Drain ${worker.host}`}
                            title="It hands its runs back at a checkpoint and ends."
                          >
                            Drain
                          </button>
                        )}
                      </div>
                    </li>
                  ))}
                </ul>
                {gone.length > 0 && (
                  <details>
                    <summary>{gone.length} gone</summary>
                    <Table
                      caption="Workers that are gone"
                      empty=""
                      keys={gone.map(({ id }) => id)}
                      head={['worker', 'how', 'last heartbeat']}
                      rows={gone.map((worker) => [
                        worker.id,
                        worker.state === 'stopped' ? 'stopped' : 'silent',
                        <Ago at={worker.heartbeatAt} />,
                      ])}
                    />
                  </details>
                )}
              </>
            );
          }}
        </Loaded>
      </Panel>
      <Panel title="Datasets" className="flush">
        <Loaded query={datasets}>
          {({ items }) => (
            <Table
              caption="Datasets"
              keys={items.map(({ name, digest }) => name + digest)}
              empty={
                <Empty title="No datasets yet.">
                  <p>
                    <code>loom datasets add NAME PATH</code> prepares the images or sounds of a folder.
                  </p>
                </Empty>
              }
              head={['name', 'digest', 'samples', 'classes', 'each', 'prepared', 'delete']}
              rows={items.map(({ name, digest, manifest, runId, createdAt }) => [
                <a href={link(`runs/${runId}`)}>{name}</a>,
                <code>{digest.slice(0, 12)}</code>,
                Object.entries(manifest.splits)
                  .map(([split, part]) => `${part?.count.toLocaleString('en') ?? 0} ${split}`)
                  .join(' · '),
                <span title={manifest.classes.join(', ')}>{manifest.classes.length}</span>,
                sampleText(manifest.sample),
                <Ago at={createdAt} />,
                <DeleteButton
                  name={`${name}@${digest.slice(0, 12)}`}
                  next={link('machines')}
                  onDelete={() => client.deleteDataset(`${name}@${digest}`)}
                />,
              ])}
            />
          )}
        </Loaded>
      </Panel>
    </>
  );
}
