import type { BulkResult, BulkRuns, RunAction, RunFilter } from '#libs/contracts';
import { useMutation } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';
import { client, refresh } from '../data/queries.js';
import { link } from '../route.js';
import { Choice } from '../ui/controls.js';
import { TagDialog } from './tag-dialog.js';

const MOST_COMPARED = 20;

type BulkAction = RunAction | 'delete';
const BULK: [BulkAction, string][] = [
  ['cancel', 'Cancel'],
  ['retry', 'Retry'],
  ['pause', 'Pause'],
  ['resume', 'Resume'],
  ['archive', 'Archive'],
  ['unarchive', 'Unarchive'],
  ['delete', 'Delete'],
];

type Outcome = Omit<BulkResult, 'nextCursor'>;

/** An action that waits for a yes, and what it would do. */
interface Asked {
  action: BulkAction;
  plan: Outcome;
}

const outcomeText = ({ done, skipped }: Outcome, word: string) =>
  [
    `${done} ${word}`,
    ...Object.entries(skipped).map(([reason, count]) => `${count} left as they are (${reason.replaceAll('_', ' ')})`),
  ].join(', ');

/** Runs that an action is for: those that are chosen, or all that the filter names. */
interface Target {
  scope: 'chosen' | 'all';
  filter: RunFilter;
  /** Ids. */
  chosen: readonly string[];
}

/** The filter that names the runs of a target. */
const meantBy = ({ scope, filter, chosen }: Target): RunFilter => (scope === 'all' ? filter : { id: [...chosen] });

/** Whether an action first says how many runs it would change: for all that match, and for what can't be undone. */
const asksFirst = (scope: Target['scope'], action: BulkAction): boolean => scope === 'all' || action === 'delete';

/** Whether a list can have runs that an action changes: those of the archive, or others. */
const isPossible = (action: BulkAction, { archived, sweep, parent }: RunFilter): boolean => {
  const listed = archived ?? ((sweep ?? parent) ? 'all' : 'no');
  return action === 'unarchive' ? listed !== 'no' : action !== 'archive' || listed !== 'yes';
};

/** Acts on one run after the other; says how many did and why the first of the others did not. */
async function actOnEach(action: RunAction, ids: readonly string[]): Promise<string> {
  const calls = {
    cancel: (id: string) => client.cancelRun(id),
    retry: (id: string) => client.retryRun(id),
    pause: (id: string) => client.pauseRun(id),
    resume: (id: string) => client.resumeRun(id),
    archive: (id: string) => client.archiveRun(id),
    unarchive: (id: string) => client.unarchiveRun(id),
  };
  const results = await Promise.allSettled(ids.map((id) => calls[action](id)));
  const refused = results.flatMap((result) =>
    result.status === 'rejected'
      ? [result.reason instanceof Error ? result.reason.message : String(result.reason)]
      : [],
  );
  return `${results.length - refused.length} done${refused.length ? `, ${refused.length} refused: ${refused[0]}` : ''}`;
}

/** The actions on a target, what the last one said, and the one that waits for a yes. */
function useBulkActions(target: Target, onDone: () => void) {
  const [asked, setAsked] = useState<Asked>();
  const [said, setSaid] = useState('');
  const act = useMutation({
    mutationFn: async ({ action, sure }: { action: BulkAction; sure: boolean }): Promise<void> => {
      setSaid('');
      if (action !== 'delete' && !asksFirst(target.scope, action)) {
        setSaid(await actOnEach(action, target.chosen));
        onDone();
        return;
      }
      const result = await client.bulkRuns({ action, filter: meantBy(target) }, { validateOnly: !sure });
      if (sure) {
        setSaid(outcomeText(result, 'done'));
        setAsked(undefined);
        if (target.scope === 'chosen') onDone();
      } else setAsked({ action, plan: result });
    },
    onSettled: () => void refresh(),
  });
  return { act, asked, setAsked, said, setSaid };
}

/** Actions on the runs that are chosen, on whatever page of the list, or on all that the filter names. */
export function Bulk({
  filter,
  chosen,
  matching,
  onDone,
}: {
  filter: RunFilter;
  chosen: readonly string[];
  matching: number | undefined;
  /** None is to be chosen any more. */
  onDone: () => void;
}) {
  const [scope, setScope] = useState<Target['scope']>('chosen');
  const [tagging, setTagging] = useState(false);
  const target: Target = { scope, filter, chosen };
  const { act, asked, setAsked, said, setSaid } = useBulkActions(target, onDone);
  const tag = useMutation({
    mutationFn: async (tags: NonNullable<BulkRuns['tags']>): Promise<void> => {
      setSaid('');
      setSaid(outcomeText(await client.bulkRuns({ action: 'tag', filter: meantBy(target), tags }), 'tagged'));
      setTagging(false);
    },
    onSettled: () => void refresh(),
  });
  if (!matching && !said) return null;
  const none = scope === 'chosen' ? chosen.length === 0 : !matching;
  return (
    <div className="bulk">
      <Choice
        label="Which runs"
        value={scope}
        onChange={setScope}
        options={[
          ['chosen', `${chosen.length} chosen`],
          ['all', `all ${(matching ?? 0).toLocaleString('en')} that match`],
        ]}
      />
      {chosen.length > 0 && <button onClick={onDone}>Choose none</button>}
      {BULK.filter(([action]) => isPossible(action, filter)).map(([action, word]) => (
        <button
          key={action}
          className={action === 'cancel' || action === 'delete' ? 'danger' : ''}
          disabled={act.isPending || none}
          onClick={() => act.mutate({ action, sure: false })}
        >
          {word}
          {asksFirst(scope, action) ? ' …' : ''}
        </button>
      ))}
      <button disabled={none} onClick={() => setTagging(true)}>
        Tag …
      </button>
      <CompareLink ids={chosen} />
      {tagging && (
        <TagDialog
          count={scope === 'all' ? (matching ?? 0) : chosen.length}
          error={tag.error}
          busy={tag.isPending}
          onTag={(tags) => tag.mutate(tags)}
          onClose={() => setTagging(false)}
        />
      )}
      <span role="status">
        {act.isPending && 'Working …'}
        {!act.isPending && (act.error ? <span className="bad">{act.error.message}</span> : said)}
      </span>
      <SureDialog
        asked={asked}
        onNo={() => setAsked(undefined)}
        onYes={(action) => act.mutate({ action, sure: true })}
      />
    </div>
  );
}

function CompareLink({ ids }: { ids: readonly string[] }) {
  const comparable = ids.length >= 2 && ids.length <= MOST_COMPARED;
  return (
    <a
      className={`button ${comparable ? '' : 'disabled'}`}
      aria-disabled={!comparable}
      title={comparable ? '' : `choose 2 to ${MOST_COMPARED} runs`}
      {...(comparable && { href: link('compare', { runs: ids.join() }) })}
    >
      Compare
    </a>
  );
}

/** Asks whether an action shall be done to as many runs as it says. Closed while nothing is asked. */
function SureDialog({
  asked,
  onNo,
  onYes,
}: {
  asked: Asked | undefined;
  onNo: () => void;
  onYes: (action: BulkAction) => void;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (asked) dialog.current?.showModal();
    else dialog.current?.close();
  }, [asked]);
  return (
    <dialog ref={dialog} onClose={onNo} aria-label="Are you sure?">
      {asked && (
        <>
          <p>
            {BULK.find(([action]) => action === asked.action)![1]} {asked.plan.done.toLocaleString('en')} runs?{' '}
            {outcomeText(asked.plan, 'would be done')}.
          </p>
          <div className="actions">
            <button onClick={onNo}>No</button>
            <button className="danger" disabled={asked.plan.done === 0} onClick={() => onYes(asked.action)}>
              Yes, all of them
            </button>
          </div>
        </>
      )}
    </dialog>
  );
}
