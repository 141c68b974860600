import { useMutation } from '@tanstack/react-query';
import { useRef, type ReactNode } from 'react';
import { refresh } from '../data/queries.js';

/** Deletes for good what a page is about, after asking, and goes to `next`. A refusal is shown in the dialog. */
export function DeleteButton({
  name,
  next,
  onDelete,
  children,
}: {
  name: string;
  next: string;
  onDelete: () => Promise<unknown>;
  children?: ReactNode;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const act = useMutation({
    mutationFn: onDelete,
    onSuccess: () => {
      location.hash = next;
      void refresh();
    },
  });
  return (
    <>
      <button className="danger" aria-label={`Delete … ${name}`} onClick={() => dialog.current?.showModal()}>
        Delete …
      </button>
      <dialog ref={dialog} aria-label={`Delete ${name}?`} onClose={() => act.reset()}>
        <p>Delete {name}? This can’t be undone.</p>
        {children}
        {act.error && (
          <p role="alert" className="bad">
            {act.error.message}
          </p>
        )}
        <div className="actions">
          <button onClick={() => dialog.current?.close()}>No</button>
          <button className="danger" disabled={act.isPending} onClick={() => act.mutate()}>
            Yes, delete it
          </button>
        </div>
      </dialog>
    </>
  );
}
