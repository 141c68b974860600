import type { BulkRuns } from '#libs/contracts';
import { useEffect, useRef, useState } from 'react';

/** Which tags runs are given and which they lose. */
export function TagDialog({
  count,
  error,
  busy,
  onTag,
  onClose,
}: {
  count: number;
  error: Error | null;
  busy: boolean;
  onTag: (tags: NonNullable<BulkRuns['tags']>) => void;
  onClose: () => void;
}) {
  const [add, setAdd] = useState('');
  const [remove, setRemove] = useState('');
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const names = (text: string) => text.split(/[\s,]+/).filter(Boolean);
  const tags = { add: names(add), remove: names(remove) };
  return (
    <dialog ref={dialog} onClose={onClose} aria-label="Tag runs">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onTag(tags);
        }}
      >
        <p>
          Tags of {count.toLocaleString('en')} {count === 1 ? 'run' : 'runs'}
        </p>
        <div className="controls">
          <label>
            Add <input value={add} autoFocus onChange={({ target }) => setAdd(target.value)} />
          </label>
          <label>
            Remove <input value={remove} onChange={({ target }) => setRemove(target.value)} />
          </label>
        </div>
        {error && (
          <p className="bad" role="alert">
            {error.message}
          </p>
        )}
        <div className="actions">
          <button type="button" onClick={onClose}>
            No
          </button>
          <button type="submit" disabled={busy || tags.add.length + tags.remove.length === 0}>
            Tag
          </button>
        </div>
      </form>
    </dialog>
  );
}
