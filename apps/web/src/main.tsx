import { isTerminal, LoomClient, sampleText, type Artifact, type Estimate, type MetricPoint, type Run, type RunDetail, type RunEvent, type Sweep, type SweepTable, type Worker } from '#libs/contracts';
import { StrictMode, useEffect, useState, type ReactNode } from 'react';
import { createRoot } from 'react-dom/client';
import './style.css';

const client = new LoomClient({ url: location.origin });
const REFRESH_MS = 3000;

/** What `load` gives, asked again every few seconds while the page is looked at. */
function useLive<T>(load: () => Promise<T>, key: string): { value?: T; error?: string } {
  const [state, setState] = useState<{ value?: T; error?: string }>({});
  useEffect(() => {
    let current = true;
    const refresh = () => {
      if (document.hidden) return;
      load().then((value) => { if (current) setState({ value }); }, (error: unknown) => { if (current) setState((last) => ({ ...last, error: String(error) })); });
    };
    setState({});
    refresh();
    const timer = setInterval(refresh, REFRESH_MS);
    return () => { current = false; clearInterval(timer); };
  }, [key]);
  return state;
}

function Loaded<T>({ state, children }: { state: { value?: T; error?: string }; children: (value: T) => ReactNode }) {
  return (
    <>
      {state.error !== undefined && <p role="alert">{state.error}</p>}
      {state.value !== undefined ? children(state.value) : state.error === undefined && <p className="dim">Loading …</p>}
    </>
  );
}

const Status = ({ run: { status, statusReason } }: { run: Pick<Run, 'status' | 'statusReason'> }) => <span className={status}>{status}{statusReason && status !== 'succeeded' ? ` (${statusReason})` : ''}</span>;
const Progress = ({ run }: { run: Run }) => (run.totalSteps ? <><progress max={run.totalSteps} value={run.step} aria-label="progress" /> {run.step} / {run.totalSteps}</> : null);
const time = (iso: string | null) => (iso ? new Date(iso).toLocaleString() : '–');

function Table({ head, rows, empty }: { head: string[]; rows: ReactNode[][]; empty: string }) {
  if (rows.length === 0) return <p className="dim">{empty}</p>;
  return (
    <div className="scroll">
      <table>
        <thead><tr>{head.map((title) => <th key={title}>{title}</th>)}</tr></thead>
        <tbody>{rows.map((cells, row) => <tr key={row}>{cells.map((cell, column) => <td key={column}>{cell}</td>)}</tr>)}</tbody>
      </table>
    </div>
  );
}

const RunTable = ({ runs }: { runs: Run[] }) => (
  <Table empty="No runs yet. Submit one with `loom submit FILE`." head={['run', 'kind', 'status', 'progress', 'result', 'created']} rows={runs.map((run) => [
    <a href={`#/runs/${run.id}`}>{run.name ?? run.id.slice(0, 13)}</a>, run.kind, <Status run={run} />, <Progress run={run} />,
    Object.entries(run.result?.metrics ?? {}).filter(([key]) => key.startsWith('eval/')).map(([key, value]) => `${key.slice(5)} ${value.toFixed(3)}`).join('  '), time(run.createdAt),
  ])} />
);

function RunsPage() {
  const state = useLive(() => client.runs({ limit: 100 }), 'runs');
  return <><h1>Runs</h1><Loaded state={state}>{(page) => <RunTable runs={page.items} />}</Loaded></>;
}

/** A curve with its last value. */
function Curve({ name, points }: { name: string; points: { step: number; value: number }[] }) {
  const [steps, values] = [points.map(({ step }) => step), points.map(({ value }) => value)];
  const [x0, x1, y0, y1] = [Math.min(...steps), Math.max(...steps), Math.min(...values), Math.max(...values)];
  const line = points.map(({ step, value }) => `${((step - x0) / (x1 - x0 || 1)) * 100},${100 - ((value - y0) / (y1 - y0 || 1)) * 96 - 2}`).join(' ');
  return (
    <figure>
      <figcaption>{name}<b>{values.at(-1)?.toPrecision(4)}</b></figcaption>
      <svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label={`${name} from ${y0.toPrecision(3)} to ${y1.toPrecision(3)} over ${x1} steps`}><polyline points={line} /></svg>
    </figure>
  );
}

function RunPage({ id }: { id: string }) {
  const [run, setRun] = useState<RunDetail>();
  const [events, setEvents] = useState<RunEvent[]>([]);
  const [curves, setCurves] = useState<Map<string, Map<number, number>>>(new Map());
  const [files, setFiles] = useState<Artifact[]>([]);
  const [error, setError] = useState<string>();
  useEffect(() => {
    const stop = new AbortController();
    const fail = (reason: unknown) => { if (!stop.signal.aborted) setError(String(reason)); };
    setEvents([]);
    setCurves(new Map());
    const refresh = () => {
      client.run(id).then(setRun, fail);
      client.artifacts(id, { limit: 200 }).then((page) => setFiles(page.items), fail);
    };
    const add = (points: MetricPoint[]) => setCurves((known) => {
      const next = new Map(known);
      for (const { key, step, value } of points) next.set(key, new Map(next.get(key)).set(step, value));
      return next;
    });
    refresh();
    client.follow(id, {
      onRun: (news) => setRun((last) => (last ? { ...last, ...news } : last)),
      onEvent: (event) => { setEvents((known) => [...known, event]); refresh(); }, onMetrics: add,
    }, { signal: stop.signal }).catch(fail);
    return () => stop.abort();
  }, [id]);
  if (error) return <p role="alert">{error}</p>;
  if (!run) return <p className="dim">Loading …</p>;
  const act = (action: Promise<Run>) => { action.then((news) => setRun({ ...run, ...news }), (reason: unknown) => setError(String(reason))); };
  const sorted = [...curves].map(([name, points]) => ({ name, points: [...points].sort(([a], [b]) => a - b).map(([step, value]) => ({ step, value })) }));
  return (
    <>
      <h1>{run.name ?? run.kind}</h1>
      <p><Status run={run} /> <Progress run={run} /> {run.statusDetail}</p>
      <p>
        {isTerminal(run.status) ? run.status !== 'succeeded' && <button onClick={() => act(client.retryRun(id))}>Retry</button> : <button onClick={() => act(client.cancelRun(id))}>Cancel</button>}
        {['queued', 'retrying', 'running'].includes(run.status) && <button onClick={() => act(client.pauseRun(id))}>Pause</button>}
        {['pausing', 'paused'].includes(run.status) && <button onClick={() => act(client.resumeRun(id))}>Resume</button>}
        {run.parents.map((parent) => <span key={parent}> from <a href={`#/runs/${parent}`}>{parent.slice(0, 13)}</a></span>)}
      </p>
      <div className="curves">{sorted.map(({ name, points }) => <Curve key={name} name={name} points={points} />)}</div>
      <h2>Files</h2>
      {files.filter(({ mime }) => mime.startsWith('image/')).map((file) => <figure key={file.id}><img src={client.artifactUrl(id, file.id)} alt={file.name} loading="lazy" /><figcaption>{file.name}</figcaption></figure>)}
      {files.filter(({ mime }) => mime.startsWith('audio/')).map((file) => <figure key={file.id}><audio controls preload="none" src={client.artifactUrl(id, file.id)} /><figcaption>{file.name}</figcaption></figure>)}
      <Table empty="None yet." head={['name', 'kind', 'bytes', 'sha256']} rows={files.map((file) => [<a href={client.artifactUrl(id, file.id)}>{file.name}</a>, file.kind, file.sizeBytes, <code>{file.sha256.slice(0, 16)}</code>])} />
      <h2>Attempts</h2>
      <Table empty="None yet." head={['attempt', 'worker', 'started', 'from step', 'outcome']} rows={run.attempts.map((each) => [each.attempt, each.workerId, time(each.startedAt), each.resumedFromStep, each.outcome ?? '–'])} />
      <h2>Events</h2>
      <Table empty="None yet." head={['at', 'attempt', 'what']} rows={events.map((event) => [time(event.at), event.attempt, `${event.type} ${Object.values(event.data).filter((value) => typeof value === 'string').join(' ')}`])} />
      <h2>Spec</h2>
      <pre>{JSON.stringify(run.spec, null, 2)}</pre>
    </>
  );
}

function SweepsPage() {
  const state = useLive(() => client.sweeps({ limit: 100 }), 'sweeps');
  return (
    <>
      <h1>Sweeps</h1>
      <Loaded state={state}>{(page) => (
        <Table empty="No sweeps yet. See examples/sweep.yaml." head={['sweep', 'status', 'runs', 'created']} rows={page.items.map((sweep: Sweep) => [
          <a href={`#/sweeps/${sweep.id}`}>{sweep.name}</a>, <span className={sweep.status}>{sweep.status}</span>, Object.entries(sweep.runCounts).map(([status, count]) => `${count} ${status}`).join(', '), time(sweep.createdAt),
        ])} />
      )}</Loaded>
    </>
  );
}

const points = (estimate: Estimate | null | undefined, sign = false) => (estimate ? `${sign && estimate.mean >= 0 ? '+' : ''}${(estimate.mean * 100).toFixed(1)}${estimate.ci95 === null ? '' : ` ± ${(estimate.ci95 * 100).toFixed(1)}`}` : '–');

function Results({ table }: { table: SweepTable }) {
  const fractions = [...new Set(table.rows.flatMap((row) => Object.keys(row.accuracy)))].sort((a, b) => Number(a) - Number(b));
  const share = (fraction: string) => `${Number((Number(fraction) * 100).toPrecision(3))} %`;
  return (
    <Table empty="Nothing has finished yet." head={['combination', 'kNN', ...fractions.map((f) => `accuracy ${share(f)}`), ...fractions.map((f) => `scratch ${share(f)}`), ...fractions.map((f) => `gain ${share(f)}`)]}
      rows={table.rows.map((row) => [row.combo, points(row.knn), ...fractions.map((f) => points(row.accuracy[f])), ...fractions.map((f) => points(row.scratch[f])), ...fractions.map((f) => points(row.gain[f], true))])} />
  );
}

function SweepPage({ id }: { id: string }) {
  const state = useLive(async () => ({ sweep: await client.sweep(id), table: await client.sweepResults(id), runs: (await client.runs({ sweep: id, limit: 500 })).items }), id);
  return (
    <Loaded state={state}>{({ sweep, table, runs }) => (
      <>
        <h1>{sweep.name}</h1>
        <p><span className={sweep.status}>{sweep.status}</span> <span className="dim">{sweep.plan.summary}</span></p>
        <h2>Which views need the fewest labels</h2>
        <p className="dim">In %; gains are over the from-scratch control on the same labels.</p>
        <Results table={table} />
        <h2>Runs</h2>
        <RunTable runs={runs} />
      </>
    )}</Loaded>
  );
}

function MachinesPage() {
  const state = useLive(async () => ({ workers: await client.workers(), datasets: (await client.datasets({ limit: 200 })).items }), 'machines');
  return (
    <Loaded state={state}>{({ workers, datasets }) => (
      <>
        <h1>Workers</h1>
        <Table empty="No worker has registered." head={['worker', 'state', 'slots', 'heartbeat']} rows={workers.map((worker: Worker) => [worker.id, worker.alive ? worker.state : worker.state === 'stopped' ? 'stopped' : 'silent', worker.slots, time(worker.heartbeatAt)])} />
        <h1>Datasets</h1>
        <Table empty="None yet: `loom datasets add NAME PATH`." head={['name', 'digest', 'images', 'classes', 'size', 'prepared']} rows={datasets.map(({ name, digest, manifest, createdAt }) =>
          [name, <code>{digest.slice(0, 12)}</code>, Object.values(manifest.splits).reduce((sum, split) => sum + (split?.count ?? 0), 0), manifest.classes.length, sampleText(manifest.sample), time(createdAt)])} />
      </>
    )}</Loaded>
  );
}

function App() {
  const [route, setRoute] = useState(location.hash);
  useEffect(() => {
    const change = () => setRoute(location.hash);
    addEventListener('hashchange', change);
    return () => removeEventListener('hashchange', change);
  }, []);
  const [page, id] = route.replace(/^#\//, '').split('/');
  return (
    <>
      <header><strong>Latent Loom</strong><nav aria-label="pages"><a href="#/runs">Runs</a> · <a href="#/sweeps">Sweeps</a> · <a href="#/machines">Workers and datasets</a> · <a href="/docs">API</a></nav></header>
      <main>{page === 'sweeps' ? (id ? <SweepPage id={id} /> : <SweepsPage />) : page === 'machines' ? <MachinesPage /> : page === 'runs' && id ? <RunPage id={id} /> : <RunsPage />}</main>
    </>
  );
}

createRoot(document.getElementById('root')!).render(<StrictMode><App /></StrictMode>);
