import { useState } from 'react';
import { client, useLive } from '../data/queries.js';
import { link, useRoute } from '../route.js';
import { Choice } from '../ui/controls.js';
import { nameOf } from '../ui/run-status.js';
import { Loaded } from '../ui/states.js';
import { Checkpoints } from './checkpoints.js';
import { coloursOf, labelOf, MAP_NAMES, NOTHING, useLatent, type Colour, type Focus } from './latent-run.js';
import { MapPanel } from './map-panel.js';
import { Morph } from './morph.js';
import { Neighbours } from './neighbours.js';
import { Selection } from './selection.js';

/** The page: one map or two side by side, a run's checkpoints one after the other, and what was chosen in them. */
export function MapPage({ id }: { id: string }) {
  const { query, change } = useRoute();
  const other = query['with'] || undefined;
  const [first, second] = [useLatent(id), useLatent(other)];
  const others = useLive(['runs', 'embeds'], () => client.runs({ kind: ['embed'], status: ['succeeded'], limit: 200 }));
  const [focus, setFocus] = useState<Focus>(NOTHING);
  const [apart, setApart] = useState<Focus>(NOTHING);
  // Undefined while no morph is asked for.
  const [ends, setEnds] = useState<readonly number[]>();
  const then = useLatent(query['at'] || undefined, { keep: true });
  const look = (next: Focus) => {
    if (ends && next.picked !== undefined && next.picked !== focus.picked)
      setEnds(ends.length === 1 ? [...ends, next.picked] : [next.picked]);
    setFocus(next);
  };
  return (
    <>
      <p className="crumbs">
        <a href={link('maps')}>Latent maps</a> / <a href={link(`runs/${id}`)}>the run</a>
      </p>
      <Loaded query={first} lines={10}>
        {(latent) => {
          const same = second.data?.file.samplesDigest === latent.file.samplesDigest;
          const names = Object.keys(latent.file.maps);
          const map = names.includes(query['map'] ?? '') ? query['map']! : names.at(-1)!;
          const shown =
            query['at'] && then.data?.file.samplesDigest === latent.file.samplesDigest && map in then.data.file.maps
              ? then.data
              : latent;
          const colour = coloursOf(latent.file).some(([each]) => each === query['colour'])
            ? (query['colour'] as Colour)
            : 'class';
          return (
            <>
              <div className="title">
                <h1>{latent.name}</h1>
                <span className="dim">
                  {latent.file.rows.length.toLocaleString('en')} samples of the {latent.file.split} split of{' '}
                  {latent.file.dataset.split('@')[0]}, {latent.file.dimensions} features
                </span>
              </div>
              <div className="controls">
                <Choice
                  label="Map"
                  value={map}
                  onChange={(next) => change({ map: next })}
                  options={names.map((each) => [each, MAP_NAMES[each] ?? each] as const)}
                />
                <Choice
                  label="Coloured by"
                  value={colour}
                  onChange={(next) => change({ colour: next === 'class' ? '' : next })}
                  options={coloursOf(latent.file)}
                />
                <label>
                  Beside it{' '}
                  <select value={other ?? ''} onChange={({ target }) => change({ with: target.value })}>
                    <option value="">no other</option>
                    {others.data?.items
                      .filter((run) => run.id !== id)
                      .map((run) => (
                        <option key={run.id} value={run.id}>
                          {nameOf(run)}
                        </option>
                      ))}
                  </select>
                </label>
                <button
                  aria-pressed={ends !== undefined}
                  onClick={() => setEnds(ends ? undefined : focus.picked === undefined ? [] : [focus.picked])}
                >
                  Morph
                </button>
                {second.data && !same && (
                  <span className="dim">
                    They show other samples: what you choose in one is not marked in the other.
                  </span>
                )}
                {second.error && (
                  <span className="bad" role="alert">
                    {second.error.message}
                  </span>
                )}
              </div>
              <Checkpoints
                latent={latent}
                at={query['at'] || undefined}
                onChange={(next) => change({ at: next === id ? '' : next })}
              />
              {ends && <Morph latent={latent} ends={ends} onClose={() => setEnds(undefined)} />}
              <div className={second.data ? 'pair maps' : 'maps'}>
                <MapPanel
                  latent={shown}
                  frame={latent}
                  map={map}
                  colour={colour}
                  focus={focus}
                  ends={ends}
                  onFocus={look}
                  height={second.data ? 460 : 620}
                />
                {second.data && (
                  <MapPanel
                    latent={second.data}
                    frame={second.data}
                    colour={coloursOf(second.data.file).some(([each]) => each === colour) ? colour : 'class'}
                    map={map in second.data.file.maps ? map : Object.keys(second.data.file.maps).at(-1)!}
                    focus={same ? focus : apart}
                    ends={same ? ends : undefined}
                    onFocus={same ? look : setApart}
                    height={460}
                  />
                )}
              </div>
              <Neighbours
                latent={shown}
                some={focus.picked === undefined ? [] : [focus.picked]}
                title={(file) =>
                  `Nearest to ${labelOf(file, focus.picked!) || 'sample'} (row ${file.rows[focus.picked!]}) in ` +
                  'the space itself'
                }
                onPick={(picked) => look({ ...focus, picked })}
              />
              <Selection latent={shown} focus={focus} onFocus={look} />
              <Neighbours
                latent={shown}
                some={focus.selected}
                title={() =>
                  `Nearest to the middle of the ${focus.selected.length.toLocaleString('en')} chosen, of the others`
                }
                onPick={(picked) => look({ ...focus, picked })}
              />
            </>
          );
        }}
      </Loaded>
    </>
  );
}
