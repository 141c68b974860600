import { runLabel, type Run, type Worker } from '#libs/contracts';
import { link } from '../route.js';
import { Status } from '../ui/run-status.js';
import { Ago } from '../ui/time.js';
import { Empty } from '../ui/states.js';

/** What a worker last said of itself; `silent` for one that stopped sending heartbeats without saying so. */
function statusOf({ alive, state }: Worker): Worker['state'] | 'silent' {
  if (alive || state === 'stopped') return state;
  return 'silent';
}

export function WorkerCard({ worker, runs }: { worker: Worker; runs: Run[] }) {
  const hardware = [
    ...worker.gpus.map(({ name, memoryMiB }) => `${name} (${Math.round(memoryMiB / 1024)} GB)`),
    ...Object.entries(worker.labels).map((label) => label.join('=')),
  ];
  return (
    <article className="card">
      <div className="line">
        <strong title={`on ${worker.host}, process ${worker.pid}`}>{worker.id}</strong>
        <Status status={statusOf(worker)} />
      </div>
      <meter
        min={0}
        max={worker.slots}
        value={runs.length}
        aria-label={`${runs.length} of ${worker.slots} slots busy`}
      />
      <p className="dim">
        {runs.length} of {worker.slots} {worker.slots === 1 ? 'slot' : 'slots'} ·{' '}
        {worker.gpus.length === 0 ? 'CPU' : ''}
        {hardware.join(' · ')} · heartbeat <Ago at={worker.heartbeatAt} />
      </p>
      {worker.impairment !== null && (
        <p className="bad" role="status">
          takes no runs: {worker.impairment}
        </p>
      )}
      {worker.alive && worker.state === 'draining' && (
        <p className="dim" role="status">
          Told to end: {runs.length > 0 ? 'its runs write a checkpoint and go on elsewhere. ' : ''}It takes no more runs
          and can’t be called back; {worker.host} has a worker again when another is started there.
        </p>
      )}
      {runs.map((run) => (
        <div key={run.id} className="dim">
          ↳ <a href={link(`runs/${run.id}`)}>{runLabel(run)}</a>
        </div>
      ))}
    </article>
  );
}

export const NoWorker = () => (
  <Empty title="No worker answers.">
    <p>
      Runs wait until one does. Where <code>loom up</code> keeps this machine’s, end it and begin it again; on any other
      that reaches Postgres and Redis, start one by <code>node dist/apps/worker/src/main.js</code>.
    </p>
  </Empty>
);
