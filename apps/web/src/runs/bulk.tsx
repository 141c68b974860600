import type { BulkResult, BulkRuns, RunAction, RunFilter } from '#libs/contracts';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { client, refresh } from '../data/queries.js';
import { link } from '../route.js';
import { actOnEach, BulkBar, SureDialog } from '../ui/bulk-bar.js';
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

const CALLS: Record<RunAction, (id: string) => Promise<unknown>> = {
  cancel: (id) => client.cancelRun(id),
  retry: (id) => client.retryRun(id),
  pause: (id) => client.pauseRun(id),
  resume: (id) => client.resumeRun(id),
  archive: (id) => client.archiveRun(id),
  unarchive: (id) => client.unarchiveRun(id),
};

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

/** The actions on a target, what the last one said, and the one that waits for a yes. */
function useBulkActions(target: Target, onDone: () => void) {
  const [asked, setAsked] = useState<Asked>();
  const [said, setSaid] = useState('');
  const [through, setThrough] = useState<number>();
  const act = useMutation({
    mutationFn: async ({ action, sure }: { action: BulkAction; sure: boolean }): Promise<void> => {
      setSaid('');
      setThrough(undefined);
      if (action !== 'delete' && !asksFirst(target.scope, action)) {
        setSaid(await actOnEach(CALLS[action], target.chosen, setThrough));
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
  const working = through === undefined ? 'Working …' : `Working … ${through} of ${target.chosen.length}`;
  return { act, asked, setAsked, said, setSaid, busy: act.isPending ? working : undefined };
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
  const { act, asked, setAsked, said, setSaid, busy } = useBulkActions(target, onDone);
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
    <>
      <BulkBar
        actions={BULK.filter(([action]) => isPossible(action, filter)).map(([action, word]) => ({
          action,
          word,
          danger: action === 'cancel' || action === 'delete',
          asks: asksFirst(scope, action),
        }))}
        none={none}
        busy={busy}
        said={said}
        error={act.error}
        onAct={(action) => act.mutate({ action, sure: false })}
        before={<WhichRuns scope={scope} onScope={setScope} chosen={chosen} matching={matching} onNone={onDone} />}
        after={
          <>
            <button disabled={none} onClick={() => setTagging(true)}>
              Tag …
            </button>
            <CompareLink ids={chosen} />
          </>
        }
      />
      {tagging && (
        <TagDialog
          count={scope === 'all' ? (matching ?? 0) : chosen.length}
          error={tag.error}
          busy={tag.isPending}
          onTag={(tags) => tag.mutate(tags)}
          onClose={() => setTagging(false)}
        />
      )}
      <SureDialog
        asked={asked !== undefined}
        impossible={asked?.plan.done === 0}
        onNo={() => setAsked(undefined)}
        onYes={() => act.mutate({ action: asked!.action, sure: true })}
      >
        {asked && (
          <p>
            {BULK.find(([action]) => action === asked.action)![1]} {asked.plan.done.toLocaleString('en')} runs?{' '}
            {outcomeText(asked.plan, 'would be done')}.
          </p>
        )}
      </SureDialog>
    </>
  );
}

/** What the actions are for: the runs that are chosen, or all that match. */
function WhichRuns({
  scope,
  onScope,
  chosen,
  matching,
  onNone,
}: {
  scope: Target['scope'];
  onScope: (scope: Target['scope']) => void;
  chosen: readonly string[];
  matching: number | undefined;
  onNone: () => void;
}) {
  return (
    <>
      <Choice
        label="Which runs"
        value={scope}
        onChange={onScope}
        options={[
          ['chosen', `${chosen.length} chosen`],
          ['all', `all ${(matching ?? 0).toLocaleString('en')} that match`],
        ]}
      />
      {chosen.length > 0 && <button onClick={onNone}>Choose none</button>}
    </>
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
