/** Ways to look at the list that somebody has given names: everybody who uses this API sees them. */
import { SavedQuery } from '#libs/contracts';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { client, refresh, useLive } from '../data/queries.js';
import { link, useRoute } from '../route.js';
import { Dropdown } from '../ui/controls.js';
import { Loaded } from '../ui/states.js';
import { SureButton } from '../ui/sure-button.js';

/** What of the address makes the view: not the page of the list. */
const savedFrom = (query: Record<string, string>): SavedQuery =>
  Object.fromEntries(Object.entries(query).filter(([key, value]) => key in SavedQuery.shape && value !== ''));

export function SavedViews() {
  const views = useLive(['saved-views'], () => client.savedViews(), { live: false });
  return (
    <Dropdown title="Views" name="Saved views">
      <Loaded query={views} lines={2}>
        {(saved) =>
          saved.length === 0 ? (
            <p className="dim">None is saved yet.</p>
          ) : (
            <ul className="plain" aria-label="Saved views">
              {saved.map(({ name, query }) => (
                <li key={name} className="line">
                  <a href={link('runs', query)}>{name}</a>
                  <SureButton
                    action="Delete"
                    name={`the view ${name}`}
                    yes="delete it"
                    onYes={() => client.deleteSavedView(name)}
                  >
                    <p>Delete the view {name}, for all who use it?</p>
                  </SureButton>
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
      <SaveForm />
    </Dropdown>
  );
}

/** Saves what is looked at, in the place of the view of the same name. */
function SaveForm() {
  const { query } = useRoute();
  const [name, setName] = useState('');
  const save = useMutation({
    mutationFn: () => client.putSavedView(name.trim(), savedFrom(query)),
    onSuccess: () => {
      setName('');
      void refresh();
    },
  });
  return (
    <form
      className="line"
      onSubmit={(event) => {
        event.preventDefault();
        save.mutate();
      }}
    >
      <label>
        This one as{' '}
        <input
          value={name}
          maxLength={64}
          aria-invalid={save.error !== null}
          onChange={({ target }) => {
            save.reset();
            setName(target.value);
          }}
        />
      </label>
      <button type="submit" disabled={name.trim() === '' || save.isPending}>
        Save
      </button>
      {save.error && (
        <p className="bad" role="alert">
          {save.error.message}
        </p>
      )}
    </form>
  );
}
