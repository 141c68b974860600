import { ACTIVE_STATUSES, type Worker } from '#libs/contracts';
import { client, useLive, useWorkers } from '../data/queries.js';
import { NoWorker, WorkerCard } from './worker-card.js';
import { SureButton } from '../ui/sure-button.js';
import { Ago } from '../ui/time.js';
import { Loaded } from '../ui/states.js';
import { Panel, Table } from '../ui/panel.js';

export function MachinesPage() {
  return (
    <>
      <h1>Workers</h1>
      <WorkersPanel />
    </>
  );
}

function WorkersPanel() {
  const workers = useWorkers();
  const running = useLive(['runs', 'active'], () => client.runs({ status: [...ACTIVE_STATUSES], limit: 100 }));
  return (
    <Panel title="Processes">
      <Loaded query={workers}>
        {(all) => {
          const here = all.filter(({ state, alive }) => state !== 'stopped' && alive);
          return (
            <>
              {here.length === 0 && <NoWorker />}
              <ul className="cards wide">
                {here.map((worker) => {
                  const runs = (running.data?.items ?? []).filter(({ workerId }) => workerId === worker.id);
                  return (
                    <li key={worker.id}>
                      <WorkerCard worker={worker} runs={runs} />
                      <WorkerFooter worker={worker} runs={runs.length} />
                    </li>
                  );
                })}
              </ul>
              <GoneWorkers workers={all.filter((worker) => !here.includes(worker))} />
            </>
          );
        }}
      </Loaded>
    </Panel>
  );
}

/** `runs`: how many it has. */
function WorkerFooter({ worker, runs }: { worker: Worker; runs: number }) {
  return (
    <div className="line">
      <span className="dim">
        {Object.entries(worker.versions)
          .map(([what, version]) => `${what} ${version}`)
          .join(' · ')}{' '}
        · up since <Ago at={worker.startedAt} />
      </span>
      {worker.state === 'running' && (
        <SureButton action="Drain" name={worker.id} yes="drain it" onYes={() => client.drainWorker(worker.id)}>
          <p>
            Drain {worker.id}? {runs > 0 && `Its ${runs === 1 ? 'run goes' : `${runs} runs go`} on elsewhere. `}
            It takes no more runs, and its process ends: another has to be started in its place.
          </p>
        </SureButton>
      )}
    </div>
  );
}

function GoneWorkers({ workers }: { workers: readonly Worker[] }) {
  if (workers.length === 0) return null;
  return (
    <details>
      <summary>{workers.length} gone</summary>
      <Table
        caption="Workers that are gone"
        empty=""
        keys={workers.map(({ id }) => id)}
        head={['worker', 'how', 'last heartbeat']}
        rows={workers.map((worker) => [
          worker.id,
          worker.state === 'stopped' ? 'stopped' : 'silent',
          <Ago at={worker.heartbeatAt} />,
        ])}
      />
    </details>
  );
}
