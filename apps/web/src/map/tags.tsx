/** Choices in a map that somebody has given a name: files of the run, for all who look at it. */
import { useMutation } from '@tanstack/react-query';
import { useMemo, useState } from 'react';
import { client, refresh, useLive } from '../data/queries.js';
import { readNumbers, writeNumbers } from '../number-list.js';
import { useRoute } from '../route.js';
import { fileOfTag, isTag, pointsOfTag, type Tagged } from './chosen.js';
import { NOTHING, type Focus, type Latent } from './latent-run.js';

/**
 * The focus of a map whose choice is in the address: by its points, or by the name of a tag where it has one; what is
 * too long for an address is kept by the page alone.
 */
export function useFocus(latent: Latent): [Focus, (focus: Focus) => void] {
  const { query, change } = useRoute();
  const { rows } = latent.file;
  const [picked, setPicked] = useState<number>();
  const [own, setOwn] = useState<readonly number[]>(NOTHING.selected);
  const { chosen, tag } = query;
  const url = tag === undefined ? undefined : latent.tags.get(tag);
  const tagged = useLive(['selection', url], async () => (await (await fetch(url!)).json()) as Tagged, {
    live: false,
    enabled: url !== undefined,
  });
  const selected = useMemo(() => {
    if (tag) return tagged.data ? pointsOfTag(tagged.data, rows) : NOTHING.selected;
    return chosen ? readNumbers(chosen, rows.length) : own;
  }, [tag, tagged.data, chosen, rows, own]);
  const look = (next: Focus) => {
    setPicked(next.picked);
    if (next.selected === selected) return;
    setOwn(next.selected);
    change({ chosen: writeNumbers(next.selected) ?? '', tag: '' });
  };
  return [{ picked, selected }, look];
}

/** The tags of a run; one is chosen by its name. */
export function TagChoice({ latent }: { latent: Latent }) {
  const { query, change } = useRoute();
  if (latent.tags.size === 0) return null;
  return (
    <label>
      Tagged{' '}
      <select value={query['tag'] ?? ''} onChange={({ target }) => change({ tag: target.value, chosen: '' })}>
        <option value="">choose a tag</option>
        {[...latent.tags.keys()].sort().map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
    </label>
  );
}

/** Gives what is chosen a name, by which it is found in the list of tags and by its address. */
export function TagForm({ latent, selected }: { latent: Latent; selected: readonly number[] }) {
  const { change } = useRoute();
  const [name, setName] = useState('');
  const { run, file } = latent;
  const save = useMutation({
    mutationFn: async () => {
      const tagged: Tagged = {
        name,
        samplesDigest: file.samplesDigest,
        rows: selected.map((point) => file.rows[point]!),
      };
      const content = new Blob([JSON.stringify(tagged)], { type: 'application/json' });
      await client.addArtifact(run.id, fileOfTag(name), content, { mime: 'application/json' });
      await refresh();
    },
    onSuccess: () => {
      change({ tag: name, chosen: '' });
      setName('');
    },
  });
  return (
    <form
      className="line start"
      onSubmit={(event) => {
        event.preventDefault();
        save.mutate();
      }}
    >
      <label>
        Tag{' '}
        <input
          value={name}
          maxLength={100}
          placeholder="odd-ones"
          aria-invalid={name !== '' && !isTag(name)}
          title="letters, digits, dots, dashes and underscores"
          onChange={({ target }) => setName(target.value)}
        />
      </label>
      <button disabled={!isTag(name) || save.isPending}>Save</button>
      {save.error && (
        <span role="alert" className="bad">
          {save.error.message}
        </span>
      )}
    </form>
  );
}
