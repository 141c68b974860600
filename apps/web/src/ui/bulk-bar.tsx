/** Actions on several things of a list at once. */
import { useEffect, useRef, type ReactNode } from 'react';
import { Watched, useWatched } from '../data/watched.js';

/**
 * Acts on one after the other; says how many did and why the first of the others did not. `told` hears how many are
 * through.
 */
export async function actOnEach(
  call: (id: string) => Promise<unknown>,
  ids: readonly string[],
  told: (through: number) => void = () => undefined,
): Promise<string> {
  const refused: string[] = [];
  for (const [i, id] of ids.entries()) {
    told(i);
    await call(id).catch((error: unknown) => refused.push(error instanceof Error ? error.message : String(error)));
  }
  return `${ids.length - refused.length} done${refused.length ? `, ${refused.length} refused: ${refused[0]}` : ''}`;
}

/** Buttons for actions, and what the last one said. An action that `asks` says so by its dots. */
export function BulkBar<Action extends string>({
  actions,
  none,
  busy,
  said,
  error,
  onAct,
  before,
  after,
}: {
  actions: readonly { action: Action; word: string; danger: boolean; asks: boolean }[];
  /** Nothing is meant. */
  none: boolean;
  /** What is said meanwhile; undefined where nothing is under way. */
  busy: string | undefined;
  said: string;
  error: Error | null;
  onAct: (action: Action) => void;
  /** What is chosen, and further buttons. */
  before?: ReactNode;
  after?: ReactNode;
}) {
  return (
    <div className="bulk">
      {before}
      {actions.map(({ action, word, danger, asks }) => (
        <button
          key={action}
          className={danger ? 'danger' : ''}
          disabled={busy !== undefined || none}
          onClick={() => onAct(action)}
        >
          {word}
          {asks ? ' …' : ''}
        </button>
      ))}
      {after}
      <span role="status">{busy ?? (error ? <span className="bad">{error.message}</span> : said)}</span>
    </div>
  );
}

/** Asks whether an action shall be done to as many as it says. Closed while nothing is asked. */
export function SureDialog({
  asked,
  impossible = false,
  onNo,
  onYes,
  children,
}: {
  asked: boolean;
  impossible?: boolean;
  onNo: () => void;
  onYes: () => void;
  /** The question. */
  children: ReactNode;
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
          {children}
          <div className="actions">
            <button onClick={onNo}>No</button>
            <button className="danger" disabled={impossible} onClick={onYes}>
              Yes, all of them
            </button>
          </div>
        </>
      )}
    </dialog>
  );
}

/** Chooses all on the page of a list, or none of them; what is chosen elsewhere stays. `ids`: those on the page. */
export function ChooseAll({
  ids,
  chosen,
  onChoose,
}: {
  ids: readonly string[];
  chosen: readonly string[];
  onChoose: (ids: readonly string[]) => void;
}) {
  return (
    <input
      type="checkbox"
      aria-label="Choose all on this page"
      checked={ids.every((id) => chosen.includes(id))}
      onChange={({ target }) =>
        onChoose(target.checked ? [...new Set([...chosen, ...ids])] : chosen.filter((id) => !ids.includes(id)))
      }
    />
  );
}

/** What is chosen of a list: on all its pages, and when one comes back to it. */
export type Choice = Watched<{ list: string; ids: readonly string[] }>;
export const noChoice = (): Choice => new Watched<{ list: string; ids: readonly string[] }>({ list: '', ids: NONE });
const NONE: readonly string[] = [];

/** Ids of what is chosen of a list; what was chosen in one list is not chosen in another. */
export function useChosen(choice: Choice, list: string): [readonly string[], (ids: readonly string[]) => void] {
  const chosen = useWatched(choice);
  return [chosen.list === list ? chosen.ids : NONE, (ids) => choice.set({ list, ids })];
}
