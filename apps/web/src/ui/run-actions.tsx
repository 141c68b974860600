import { runLabel, type Run, RUN_ACTIONS, type RunAction } from '#libs/contracts';
import { useMutation } from '@tanstack/react-query';
import { client, refresh } from '../data/queries.js';
import { ActionGroup } from './controls.js';

const ACTIONS: Record<RunAction, { word: string; call: (id: string) => Promise<Run> }> = {
  pause: { word: 'Pause', call: (id) => client.pauseRun(id) },
  resume: { word: 'Resume', call: (id) => client.resumeRun(id) },
  retry: { word: 'Retry', call: (id) => client.retryRun(id) },
  cancel: { word: 'Cancel', call: (id) => client.cancelRun(id) },
  archive: { word: 'Archive', call: (id) => client.archiveRun(id) },
  unarchive: { word: 'Unarchive', call: (id) => client.unarchiveRun(id) },
};

/** The one of the two that changes something. */
const isNeeded = (action: RunAction, { archivedAt }: Pick<Run, 'archivedAt'>): boolean =>
  action !== (archivedAt ? 'archive' : 'unarchive');

/** What can be done with a run in its status. */
export function RunActions({
  run,
  only,
  onDone,
}: {
  run: Pick<Run, 'id' | 'status' | 'name' | 'kind' | 'archivedAt'>;
  only?: RunAction[];
  onDone?: () => void;
}) {
  const act = useMutation({
    mutationFn: (action: RunAction) => ACTIONS[action].call(run.id),
    onSettled: () => {
      void refresh();
      onDone?.();
    },
  });
  const possible = (Object.keys(ACTIONS) as RunAction[]).filter(
    (action) =>
      (RUN_ACTIONS[action] as readonly string[]).includes(run.status) &&
      isNeeded(action, run) &&
      (only?.includes(action) ?? true),
  );
  return (
    <ActionGroup label={`Actions on ${runLabel(run)}`}>
      {possible.map((action) => (
        <button
          key={action}
          className={action === 'cancel' ? 'danger' : ''}
          disabled={act.isPending}
          onClick={() => act.mutate(action)}
          aria-label={`${ACTIONS[action].word} ${runLabel(run)}`}
        >
          {ACTIONS[action].word}
        </button>
      ))}
      {act.error && (
        <span role="alert" className="bad">
          {act.error.message}
        </span>
      )}
    </ActionGroup>
  );
}
