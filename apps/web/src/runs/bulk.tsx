import type { BulkResult, BulkRuns, Run, RunAction, RunFilter } from '#libs/contracts';
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
  ['delete', 'Delete'],
];

type Outcome = Omit<BulkResult, 'nextCursor'>;

const outcomeText = ({ done, skipped }: Outcome, word: string) =>
  [
    `${done} ${word}`,
    ...Object.entries(skipped).map(([reason, count]) => `${count} left as they are (${reason.replaceAll('_', ' ')})`),
  ].join(', ');

/**
 * For the runs that are chosen, or all that the filter names; the latter, and what can't be undone, says first how many
 * that would be.
 */
export function Bulk({
  filter,
  chosen,
  matching,
  onDone,
}: {
  filter: RunFilter;
  chosen: Run[];
  matching: number | undefined;
  onDone: () => void;
}) {
  const [scope, setScope] = useState<'chosen' | 'all'>('chosen');
  const [asked, setAsked] = useState<{ action: BulkAction; plan: Outcome }>();
  const [tagging, setTagging] = useState(false);
  const [said, setSaid] = useState('');
  const dialog = useRef<HTMLDialogElement>(null);
  const act = useMutation({
    mutationFn: async ({ action, sure }: { action: BulkAction; sure: boolean }): Promise<void> => {
      setSaid('');
      if (scope === 'all' || action === 'delete') {
        const meant = scope === 'all' ? filter : { id: chosen.map(({ id }) => id) };
        const result = await client.bulkRuns({ action, filter: meant }, { validateOnly: !sure });
        if (sure) {
          setSaid(outcomeText(result, 'done'));
          setAsked(undefined);
          if (scope === 'chosen') onDone();
        } else setAsked({ action, plan: result });
        return;
      }
      const calls = {
        cancel: (id: string) => client.cancelRun(id),
        retry: (id: string) => client.retryRun(id),
        pause: (id: string) => client.pauseRun(id),
        resume: (id: string) => client.resumeRun(id),
      };
      const results = await Promise.allSettled(chosen.map(({ id }) => calls[action](id)));
      const refused = results.flatMap((result) =>
        result.status === 'rejected'
          ? [result.reason instanceof Error ? result.reason.message : String(result.reason)]
          : [],
      );
      setSaid(
        `${results.length - refused.length} done${refused.length ? `, ${refused.length} refused: ${refused[0]}` : ''}`,
      );
      onDone();
    },
    onSettled: () => void refresh(),
  });
  const tag = useMutation({
    mutationFn: async (tags: NonNullable<BulkRuns['tags']>): Promise<void> => {
      setSaid('');
      setSaid(
        outcomeText(
          await client.bulkRuns({
            action: 'tag',
            filter: scope === 'all' ? filter : { id: chosen.map(({ id }) => id) },
            tags,
          }),
          'tagged',
        ),
      );
      setTagging(false);
    },
    onSettled: () => void refresh(),
  });
  useEffect(() => {
    if (asked) dialog.current?.showModal();
    else dialog.current?.close();
  }, [asked]);
  const comparable = chosen.length >= 2 && chosen.length <= MOST_COMPARED;
  if (!matching && !said) return null;
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
      {BULK.map(([action, word]) => (
        <button
          key={action}
          className={action === 'cancel' || action === 'delete' ? 'danger' : ''}
          disabled={act.isPending || (scope === 'chosen' ? chosen.length === 0 : !matching)}
          onClick={() => act.mutate({ action, sure: false })}
        >
          {word}
          {scope === 'all' || action === 'delete' ? ' …' : ''}
        </button>
      ))}
      <button disabled={scope === 'chosen' ? chosen.length === 0 : !matching} onClick={() => setTagging(true)}>
        Tag …
      </button>
      <a
        className={`button ${comparable ? '' : 'disabled'}`}
        aria-disabled={!comparable}
        title={comparable ? '' : `choose 2 to ${MOST_COMPARED} runs`}
        {...(comparable && { href: link('compare', { runs: chosen.map(({ id }) => id).join() }) })}
      >
        Compare
      </a>
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
      <dialog ref={dialog} onClose={() => setAsked(undefined)} aria-label="Are you sure?">
        {asked && (
          <>
            <p>
              {BULK.find(([action]) => action === asked.action)![1]} {asked.plan.done.toLocaleString('en')} runs?{' '}
              {outcomeText(asked.plan, 'would be done')}.
            </p>
            <div className="actions">
              <button onClick={() => setAsked(undefined)}>No</button>
              <button
                className="danger"
                disabled={asked.plan.done === 0}
                onClick={() => act.mutate({ action: asked.action, sure: true })}
              >
                Yes, all of them
              </button>
            </div>
          </>
        )}
      </dialog>
    </div>
  );
}
