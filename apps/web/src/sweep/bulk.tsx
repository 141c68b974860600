import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { client, refresh } from '../data/queries.js';
import { actOnEach, BulkBar, SureDialog } from '../ui/bulk-bar.js';

const BULK = [
  { action: 'cancel', word: 'Cancel', danger: true, asks: true },
  { action: 'pause', word: 'Pause', danger: false, asks: false },
  { action: 'resume', word: 'Resume', danger: false, asks: false },
  { action: 'archive', word: 'Archive', danger: false, asks: false },
  { action: 'unarchive', word: 'Unarchive', danger: false, asks: false },
  { action: 'delete', word: 'Delete', danger: true, asks: true },
] as const;
type BulkAction = (typeof BULK)[number]['action'];

/** With their runs as the page of a sweep does it: what was archived with its runs is brought back with them. */
const CALLS: Record<BulkAction, (id: string, runs: boolean) => Promise<unknown>> = {
  cancel: (id) => client.cancelSweep(id),
  pause: (id) => client.pauseSweep(id),
  resume: (id) => client.resumeSweep(id),
  archive: (id) => client.archiveSweep(id),
  unarchive: (id) => client.unarchiveSweep(id, { runs: true }),
  delete: (id, runs) => client.deleteSweep(id, { runs }),
};

/** Whether a list can have sweeps that an action changes: those of the archive, or others. */
const isPossible = (action: BulkAction, archived: 'no' | 'yes' | 'all'): boolean =>
  action === 'unarchive' ? archived !== 'no' : action !== 'archive' || archived !== 'yes';

/** Actions on the sweeps that are chosen, on whatever page of the list: one after the other. */
export function Bulk({
  chosen,
  archived,
  listed,
  onDone,
}: {
  /** Ids. */
  chosen: readonly string[];
  archived: 'no' | 'yes' | 'all';
  /** How many are on the page. */
  listed: number;
  /** None is to be chosen any more. */
  onDone: () => void;
}) {
  const [asked, setAsked] = useState<BulkAction>();
  const [withRuns, setWithRuns] = useState(false);
  const [said, setSaid] = useState('');
  const [through, setThrough] = useState(0);
  const act = useMutation({
    mutationFn: async (action: BulkAction): Promise<void> => {
      setSaid('');
      setAsked(undefined);
      setSaid(await actOnEach((id) => CALLS[action](id, withRuns), chosen, setThrough));
      onDone();
    },
    onSettled: () => void refresh(),
  });
  const start = (action: BulkAction) => {
    if (BULK.find((each) => each.action === action)!.asks) setAsked(action);
    else act.mutate(action);
  };
  if (listed + chosen.length === 0 && !said && !act.isPending) return null;
  const count = `${chosen.length} ${chosen.length === 1 ? 'sweep' : 'sweeps'}`;
  return (
    <>
      <BulkBar
        actions={BULK.filter(({ action }) => isPossible(action, archived))}
        none={chosen.length === 0}
        busy={act.isPending ? `Working … ${through} of ${chosen.length}` : undefined}
        said={said}
        error={act.error}
        onAct={start}
        before={
          <>
            <span>{chosen.length} chosen</span>
            {chosen.length > 0 && <button onClick={onDone}>Choose none</button>}
          </>
        }
      />
      <SureDialog asked={asked !== undefined} onNo={() => setAsked(undefined)} onYes={() => act.mutate(asked!)}>
        {asked === 'cancel' && <p>Cancel {count}? Their runs that no other sweep needs are cancelled.</p>}
        {asked === 'delete' && (
          <>
            <p>Delete {count}? This can’t be undone.</p>
            <label>
              <input type="checkbox" checked={withRuns} onChange={({ target }) => setWithRuns(target.checked)} /> their
              own runs too, where nothing else needs them
            </label>
          </>
        )}
      </SureDialog>
    </>
  );
}
