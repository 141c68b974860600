/** What people say of a run: its name, its tags and notes, changed in place. */
import { type RunDetail } from '#libs/contracts';
import { useMutation } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';
import { client, refresh } from '../data/queries.js';
import { link } from '../route.js';
import { Panel } from '../ui/panel.js';

export function Described({ run, onDone }: { run: RunDetail; onDone: () => void }) {
  const [edits, setEdits] = useState(false);
  const edit = useRef<HTMLButtonElement>(null);
  const was = useRef(false);
  // Who used the keyboard is where they began when the form is gone.
  useEffect(() => {
    if (was.current && !edits) edit.current?.focus();
    was.current = edits;
  }, [edits]);
  return (
    <Panel
      title="Notes"
      aside={
        !edits && (
          <button ref={edit} className="quiet" onClick={() => setEdits(true)} aria-label="Edit name, tags and notes">
            Edit
          </button>
        )
      }
    >
      {edits ? (
        <DescriptionForm
          run={run}
          onClose={(changed) => {
            setEdits(false);
            if (changed) onDone();
          }}
        />
      ) : (
        <Description run={run} />
      )}
    </Panel>
  );
}

function Description({ run: { notes, tags } }: { run: RunDetail }) {
  return (
    <>
      {notes === null ? <p className="dim">None yet.</p> : <p className="notes">{notes}</p>}
      {tags.length > 0 && (
        <p>
          {tags.map((tag) => (
            <a key={tag} className="tag" href={link('runs', { tag })}>
              {tag}
            </a>
          ))}
        </p>
      )}
    </>
  );
}

function DescriptionForm({ run, onClose }: { run: RunDetail; onClose: (changed: boolean) => void }) {
  const [name, setName] = useState(run.name ?? '');
  const [tags, setTags] = useState(run.tags.join(' '));
  const [notes, setNotes] = useState(run.notes ?? '');
  const change = useMutation({
    mutationFn: () =>
      client.changeRun(run.id, {
        name: name.trim() || null,
        tags: [...new Set(tags.split(/[\s,]+/).filter(Boolean))],
        notes: notes.trim() || null,
      }),
    onSuccess: () => {
      void refresh();
      onClose(true);
    },
  });
  return (
    <form
      className="description"
      onSubmit={(event) => {
        event.preventDefault();
        change.mutate();
      }}
    >
      <label>
        Name <input autoFocus value={name} onChange={({ target }) => setName(target.value)} />
      </label>
      <label>
        Tags <input value={tags} onChange={({ target }) => setTags(target.value)} />
      </label>
      <label>
        Notes <textarea rows={5} value={notes} onChange={({ target }) => setNotes(target.value)} />
      </label>
      {change.error && (
        <p className="bad" role="alert">
          {change.error.message}
        </p>
      )}
      <p className="actions">
        <button type="button" onClick={() => onClose(false)}>
          Leave it
        </button>
        <button type="submit" className="primary" disabled={change.isPending}>
          Save
        </button>
      </p>
    </form>
  );
}
