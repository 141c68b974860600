/** Chooses runs for a block: those that are chosen, and more by a part of their name or id. */
import { runLabel, type Run } from '#libs/contracts';
import { useId, useState } from 'react';
import { client, useLive } from '../data/queries.js';
import { toggled } from '../route.js';
import { useSettled } from './settled.js';

const MOST_FOUND = 8;

/** The runs of these ids; null in the place of one that is gone. */
export const useRuns = (ids: readonly string[]) =>
  useLive(
    ['runs-by-id', ids],
    () => Promise.all(ids.map((id): Promise<Run | null> => client.run(id).catch(() => null))),
    { live: false, keep: true, enabled: ids.length > 0 },
  );

export function RunPicker({
  chosen,
  most,
  onChange,
}: {
  chosen: readonly string[];
  most: number;
  onChange: (ids: string[]) => void;
}) {
  const id = useId();
  const [search, setSearch] = useState('');
  const sought = useSettled(search.trim());
  const found = useLive(
    ['runs-for-report', sought],
    () => client.runs({ limit: MOST_FOUND, ...(sought !== '' && { search: sought }) }),
    { live: false, keep: true },
  );
  const known = useRuns(chosen).data ?? [];
  const labelOf = (run: string) => {
    const there = known.find((each) => each?.id === run) ?? found.data?.items.find((each) => each.id === run);
    return there ? runLabel(there) : run;
  };
  const others = (found.data?.items ?? []).filter((run) => !chosen.includes(run.id));
  return (
    <div>
      <ul className="plain chosen-runs" aria-label="Chosen runs">
        {chosen.map((run) => (
          <li key={run}>
            <span>{labelOf(run)}</span>
            <button
              className="quiet danger"
              aria-label={`Leave out ${labelOf(run)}`}
              onClick={() => onChange(toggled(chosen, run))}
            >
              Leave out
            </button>
          </li>
        ))}
      </ul>
      <label htmlFor={id}>Add runs, by a part of their name or id</label>
      <input id={id} type="search" className="wide" value={search} onChange={({ target }) => setSearch(target.value)} />
      <ul className="plain chosen-runs" aria-label="Runs to add">
        {others.map((run) => (
          <li key={run.id}>
            <span>{runLabel(run)}</span>
            <button
              className="quiet"
              disabled={chosen.length >= most}
              aria-label={`Add ${runLabel(run)}`}
              onClick={() => onChange([...chosen, run.id])}
            >
              Add
            </button>
          </li>
        ))}
      </ul>
      {found.data && found.data.nextCursor !== null && <p className="dim">There are more: type a part of a name.</p>}
    </div>
  );
}
