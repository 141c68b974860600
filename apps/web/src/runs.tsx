import { RUN_KINDS, RunStatus, type BulkResult, type Run, type RunAction, type RunFilter } from '#libs/contracts';
import { useMutation } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';
import { client, meter, refresh, useLive } from './data.js';
import { bestOf } from './overview.js';
import { shortNumber } from './progress.js';
import { link, listOf, toggled, useRoute } from './route.js';
import { Ago, Choice, Empty, Loaded, Panel, Progress, RunLink, Status } from './ui.js';

const MOST_COMPARED = 20;
const PAGE = 50;
/** Of a keyset: the cursors of the pages before this one. */
const DIVIDER = '~';

type Column = { name: string; cell: (run: Run) => React.ReactNode };
const COLUMNS: Record<string, Column> = {
  status: { name: 'status', cell: (run) => <Status status={run.status} reason={run.statusReason} /> },
  kind: { name: 'kind', cell: ({ kind }) => kind },
  progress: { name: 'progress', cell: (run) => <Progress run={run} /> },
  result: { name: 'result', cell: bestOf },
  dataset: { name: 'dataset', cell: ({ spec }) => ('dataset' in spec ? spec.dataset.split('@')[0] : '') },
  loss: { name: 'last loss', cell: ({ result }) => { const loss = result?.metrics['train/loss']; return loss === undefined ? '' : shortNumber(loss); } },
  tags: { name: 'tags', cell: ({ tags }) => tags.map((tag) => <a key={tag} className="tag" href={link('runs', { tag })}>{tag}</a>) },
  priority: { name: 'priority', cell: ({ priority }) => priority },
  attempt: { name: 'attempts', cell: ({ attempt }) => attempt },
  worker: { name: 'worker', cell: ({ workerId }) => workerId ?? '' },
  created: { name: 'submitted', cell: ({ createdAt }) => <Ago at={createdAt} /> },
  finished: { name: 'ended', cell: ({ finishedAt }) => <Ago at={finishedAt} /> },
};
const USUAL = ['status', 'kind', 'progress', 'result', 'created'];

/** The filter that the address names; what it doesn't know is left out. */
export function filterFrom(query: Record<string, string>): RunFilter {
  const status = listOf(query['status']).filter((each): each is RunStatus => RunStatus.safeParse(each).success);
  const kind = listOf(query['kind']).filter((each): each is Run['kind'] => (RUN_KINDS as readonly string[]).includes(each));
  return {
    status: status.length ? status : undefined, kind: kind.length ? kind : undefined,
    ...(query['name'] && { name: query['name'] }), ...(query['tag'] && { tag: query['tag'] }), ...(query['sweep'] && { sweep: query['sweep'] }), ...(query['parent'] && { parent: query['parent'] }),
  };
}

const STATUS_GROUPS: [string, RunStatus[]][] = [['running', ['running', 'pausing', 'cancelling']], ['waiting', ['queued', 'retrying', 'pending', 'paused']], ['succeeded', ['succeeded', 'early_stopped']], ['failed', ['failed', 'timed_out', 'upstream_failed']], ['cancelled', ['cancelled']]];

/** All runs, filtered and paged by the server; everything chosen is in the address. */
export function RunsPage() {
  const { query, change } = useRoute();
  const filter = filterFrom(query);
  const order = query['order'] === 'oldest' ? 'oldest' as const : 'newest' as const;
  const trail = query['at'] ? query['at'].split(DIVIDER) : [];
  const cursor = trail.at(-1);
  const columns = listOf(query['columns']).filter((each) => each in COLUMNS);
  const shown = columns.length ? columns : USUAL;
  const [chosen, setChosen] = useState<string[]>([]);
  const key = JSON.stringify([filter, order, cursor]);
  const runs = useLive(['runs', key], () => client.runs({ ...filter, order, limit: PAGE, ...(cursor !== undefined && { cursor }) }), { keep: true });
  const counts = useLive(['counts', JSON.stringify({ ...filter, status: undefined })], () => client.runCounts({ ...filter, status: undefined }), { keep: true });
  useEffect(() => { if (runs.data) meter.note(runs.data.items, Date.now()); }, [runs.data]);
  useEffect(() => setChosen([]), [key]);
  const refine = (next: Record<string, string | undefined>) => change({ at: '', ...next });
  const status = listOf(query['status']);
  const total = Object.values(counts.data ?? {}).reduce((sum, count) => sum + count, 0);
  const items = runs.data?.items ?? [];
  return (
    <>
      <h1>Runs</h1>
      <Panel className="filters">
        <div className="controls">
          <Search value={query['name'] ?? ''} onChange={(name) => refine({ name })} />
          <label>Kind <select value={query['kind'] ?? ''} onChange={({ target }) => refine({ kind: target.value })}><option value="">all</option>{RUN_KINDS.map((kind) => <option key={kind}>{kind}</option>)}</select></label>
          <label>Order <select value={order} onChange={({ target }) => refine({ order: target.value === 'newest' ? '' : target.value })}><option value="newest">newest first</option><option value="oldest">oldest first</option></select></label>
          <details className="menu"><summary>Columns</summary><fieldset><legend className="hidden">Columns</legend>{Object.entries(COLUMNS).map(([id, { name }]) => (
            <label key={id}><input type="checkbox" checked={shown.includes(id)} onChange={() => { const next = Object.keys(COLUMNS).filter((each) => toggled(shown, id).includes(each)); change({ columns: next.join() === USUAL.join() ? '' : next.join() }); }} /> {name}</label>
          ))}</fieldset></details>
        </div>
        <div className="chips" role="group" aria-label="Status">
          {STATUS_GROUPS.map(([name, statuses]) => {
            const on = statuses.some((each) => status.includes(each));
            const count = statuses.reduce((sum, each) => sum + (counts.data?.[each] ?? 0), 0);
            return <button key={name} aria-pressed={on} className={`chip ${statuses[0]}`} onClick={() => refine({ status: (on ? status.filter((each) => !(statuses as string[]).includes(each)) : [...status, ...statuses]).join() })}>{name} <b>{count.toLocaleString('en')}</b></button>;
          })}
          {(['tag', 'sweep', 'parent'] as const).map((each) => query[each] && <button key={each} className="chip" onClick={() => refine({ [each]: '' })} aria-label={`Remove the filter by ${each} ${query[each]}`}>{each} {query[each].slice(0, 16)} ✕</button>)}
          <span className="dim">{total.toLocaleString('en')} in all</span>
        </div>
      </Panel>
      <Bulk filter={filter} chosen={items.filter(({ id }) => chosen.includes(id))} matching={counts.data && (filter.status ? filter.status.reduce((sum, each) => sum + (counts.data[each] ?? 0), 0) : total)} onDone={() => setChosen([])} />
      <Loaded query={runs} lines={12}>{({ items: listed, nextCursor }) => (listed.length === 0
        ? <Empty title={total === 0 && Object.values(filter).every((each) => each === undefined) ? 'There are no runs yet.' : 'No run is like that.'}><p>{status.length || query['name'] || query['kind'] || query['tag'] ? <a href={link('runs')}>Show all</a> : <a href={link('new')}>Submit the first</a>}</p></Empty>
        : (
          <Panel className="flush">
            <div className="scroll" tabIndex={0} role="region" aria-label="Runs">
              <table className="runs">
                <thead><tr>
                  <th scope="col"><input type="checkbox" aria-label="Choose all on this page" checked={listed.every(({ id }) => chosen.includes(id))} onChange={({ target }) => setChosen(target.checked ? listed.map(({ id }) => id) : [])} /></th>
                  <th scope="col">run</th>{shown.map((id) => <th key={id} scope="col">{COLUMNS[id]!.name}</th>)}
                </tr></thead>
                <tbody>{listed.map((run) => (
                  <tr key={run.id} className={chosen.includes(run.id) ? 'chosen' : ''}>
                    <td><input type="checkbox" aria-label={`Choose ${run.name ?? run.id}`} checked={chosen.includes(run.id)} onChange={() => setChosen((known) => toggled(known, run.id))} /></td>
                    <td className="name"><RunLink run={run} /></td>{shown.map((id) => <td key={id}>{COLUMNS[id]!.cell(run)}</td>)}
                  </tr>
                ))}</tbody>
              </table>
            </div>
            <nav className="pager" aria-label="Pages of the list">
              <button disabled={trail.length === 0} onClick={() => change({ at: trail.slice(0, -1).join(DIVIDER) }, 'push')}>← Back</button>
              <span className="dim">page {trail.length + 1}</span>
              <button disabled={nextCursor === null} onClick={() => change({ at: [...trail, nextCursor!].join(DIVIDER) }, 'push')}>Further →</button>
            </nav>
          </Panel>
        ))}</Loaded>
    </>
  );
}

/** Sent when one pauses. */
function Search({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const [text, setText] = useState(value);
  const last = useRef(value);
  useEffect(() => { if (value !== last.current) { last.current = value; setText(value); } }, [value]);
  useEffect(() => {
    if (text === last.current) return;
    const timer = setTimeout(() => { last.current = text; onChange(text); }, 250);
    return () => clearTimeout(timer);
  }, [text]);
  return <label>Name <input type="search" value={text} placeholder="any part of it" maxLength={128} onChange={({ target }) => setText(target.value)} /></label>;
}

const BULK: [RunAction, string][] = [['cancel', 'Cancel'], ['retry', 'Retry'], ['pause', 'Pause'], ['resume', 'Resume']];
type Outcome = Omit<BulkResult, 'nextCursor'>;
const outcomeText = ({ done, skipped }: Outcome, word: string) => [`${done} ${word}`, ...Object.entries(skipped).map(([reason, count]) => `${count} left as they are (${reason.replaceAll('_', ' ')})`)].join(', ');

/** For the runs that are chosen, or all that the filter names; the latter says first how many that would be. */
function Bulk({ filter, chosen, matching, onDone }: { filter: RunFilter; chosen: Run[]; matching: number | undefined; onDone: () => void }) {
  const [scope, setScope] = useState<'chosen' | 'all'>('chosen');
  const [asked, setAsked] = useState<{ action: RunAction; plan: Outcome }>();
  const [said, setSaid] = useState('');
  const dialog = useRef<HTMLDialogElement>(null);
  const act = useMutation({
    mutationFn: async ({ action, sure }: { action: RunAction; sure: boolean }): Promise<void> => {
      setSaid('');
      if (scope === 'all') {
        const result = await client.bulkRuns({ action, filter }, { validateOnly: !sure });
        if (sure) { setSaid(outcomeText(result, 'done')); setAsked(undefined); } else setAsked({ action, plan: result });
        return;
      }
      const calls = { cancel: (id: string) => client.cancelRun(id), retry: (id: string) => client.retryRun(id), pause: (id: string) => client.pauseRun(id), resume: (id: string) => client.resumeRun(id) };
      const results = await Promise.allSettled(chosen.map(({ id }) => calls[action](id)));
      const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason instanceof Error ? result.reason.message : String(result.reason)] : []));
      setSaid(`${results.length - refused.length} done${refused.length ? `, ${refused.length} refused: ${refused[0]}` : ''}`);
      onDone();
    },
    onSettled: () => void refresh(),
  });
  useEffect(() => { if (asked) dialog.current?.showModal(); else dialog.current?.close(); }, [asked]);
  const comparable = chosen.length >= 2 && chosen.length <= MOST_COMPARED;
  if (!matching && !said) return null;
  return (
    <div className="bulk">
      <Choice label="Which runs" value={scope} onChange={setScope} options={[['chosen', `${chosen.length} chosen`], ['all', `all ${(matching ?? 0).toLocaleString('en')} that match`]]} />
      {BULK.map(([action, word]) => <button key={action} className={action === 'cancel' ? 'danger' : ''} disabled={act.isPending || (scope === 'chosen' ? chosen.length === 0 : !matching)} onClick={() => act.mutate({ action, sure: false })}>{word}{scope === 'all' ? ' …' : ''}</button>)}
      <a className={`button ${comparable ? '' : 'disabled'}`} aria-disabled={!comparable} title={comparable ? '' : `choose 2 to ${MOST_COMPARED} runs`} {...(comparable && { href: link('compare', { runs: chosen.map(({ id }) => id).join() }) })}>Compare</a>
      <span role="status">{act.isPending ? 'Working …' : act.error ? <span className="bad">{act.error.message}</span> : said}</span>
      <dialog ref={dialog} onClose={() => setAsked(undefined)} aria-label="Are you sure?">
        {asked && <>
          <p>{BULK.find(([action]) => action === asked.action)![1]} {asked.plan.done.toLocaleString('en')} runs? {outcomeText(asked.plan, 'would be done')}.</p>
          <div className="actions"><button onClick={() => setAsked(undefined)}>No</button><button className="danger" disabled={asked.plan.done === 0} onClick={() => act.mutate({ action: asked.action, sure: true })}>Yes, all of them</button></div>
        </>}
      </dialog>
    </div>
  );
}
