/** Actions that are not done by one click: a button that asks first. */
import { useMutation } from '@tanstack/react-query';
import { useRef, type ReactNode } from 'react';
import { refresh } from '../data/queries.js';

/**
 * Does something for good to what is called `name`, after asking with what the children say of it. A refusal is shown
 * in the dialog.
 */
export function SureButton({
  action,
  name,
  yes,
  danger = true,
  onYes,
  onDone,
  children,
}: {
  /** What the button says, such as "Drain". */
  action: string;
  name: string;
  /** What the answer says, such as "drain it". */
  yes: string;
  /** It can't be taken back. */
  danger?: boolean;
  onYes: () => Promise<unknown>;
  onDone?: () => void;
  children: ReactNode;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const look = danger ? 'danger' : '';
  const act = useMutation({
    mutationFn: onYes,
    onSuccess: () => {
      dialog.current?.close();
      onDone?.();
      void refresh();
    },
  });
  return (
    <>
      <button className={look} aria-label={`${action} … ${name}`} onClick={() => dialog.current?.showModal()}>
        {action} …
      </button>
      <dialog ref={dialog} aria-label={`${action} ${name}?`} onClose={() => act.reset()}>
        {children}
        {act.error && (
          <p role="alert" className="bad">
            {act.error.message}
          </p>
        )}
        <div className="actions">
          <button onClick={() => dialog.current?.close()}>No</button>
          <button className={look} disabled={act.isPending} onClick={() => act.mutate()}>
            Yes, {yes}
          </button>
        </div>
      </dialog>
    </>
  );
}

/** Deletes for good what a page is about, and goes to `next`. */
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
  const go = () => {
    location.hash = next;
  };
  return (
    <SureButton action="Delete" name={name} yes="delete it" onYes={onDelete} onDone={go}>
      <p>Delete {name}? This can’t be undone.</p>
      {children}
    </SureButton>
  );
}
