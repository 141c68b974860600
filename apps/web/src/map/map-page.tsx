import { runLabel } from '#libs/contracts';
import { useMemo, useState } from 'react';
import { client, useLive } from '../data/queries.js';
import { link, useRoute } from '../route.js';
import { Choice } from '../ui/controls.js';
import { Loaded } from '../ui/states.js';
import { Checkpoints } from './checkpoints.js';
import {
  coloursOf,
  labelOf,
  MAP_NAMES,
  NOTHING,
  useLatent,
  type Colour,
  type Focus,
  type Latent,
} from './latent-run.js';
import { FileSearch } from './file-search.js';
import { MapPanel } from './map-panel.js';
import { Morph } from './morph.js';
import { Neighbours } from './neighbours.js';
import { Selection } from './selection.js';
import { TagChoice, useFocus } from './tags.js';

/** The page: one map or two side by side, a run's checkpoints one after the other, and what was chosen in them. */
export function MapPage({ id }: { id: string }) {
  const { query } = useRoute();
  const first = useLatent(id);
  const second = useLatent(query['with'] || undefined);
  const checkpoint = useLatent(query['at'] || undefined, { keep: true });
  return (
    <>
      <p className="crumbs">
        <a href={link('maps')}>Latent maps</a> / <a href={link(`runs/${id}`)}>the run</a>
      </p>
      <Loaded query={first} lines={10}>
        {(latent) => (
          <Maps
            latent={latent}
            second={second.data}
            secondError={second.error}
            checkpoint={query['at'] ? checkpoint.data : undefined}
          />
        )}
      </Loaded>
    </>
  );
}

/** The wanted map where the file has it, else its last. */
const mapIn = ({ file }: Latent, wanted: string | undefined): string => {
  const names = Object.keys(file.maps);
  return wanted !== undefined && names.includes(wanted) ? wanted : names.at(-1)!;
};

/** The wanted colouring where the file knows enough for it, else by class. */
const colouringIn = ({ file }: Latent, wanted: string | undefined): Colour =>
  coloursOf(file).find(([each]) => each === wanted)?.[0] ?? 'class';

interface MapsProps {
  latent: Latent;
  second: Latent | undefined;
  secondError: Error | null;
  /** A checkpoint of the same run, shown in the place of its last. */
  checkpoint: Latent | undefined;
}

function Maps({ latent, second, secondError, checkpoint }: MapsProps) {
  const { query, change } = useRoute();
  const { id } = latent.run;
  const [focus, setFocus] = useFocus(latent);
  const [apart, setApart] = useState<Focus>(NOTHING);
  // Undefined while no morph is asked for.
  const [ends, setEnds] = useState<readonly number[]>();
  const { picked } = focus;
  const pickedOnly = useMemo(() => (picked === undefined ? [] : [picked]), [picked]);
  const look = (next: Focus) => {
    if (ends && next.picked !== undefined && next.picked !== picked)
      setEnds(ends.length === 1 ? [...ends, next.picked] : [next.picked]);
    setFocus(next);
  };
  const same = second?.file.samplesDigest === latent.file.samplesDigest;
  const map = mapIn(latent, query['map']);
  const colour = colouringIn(latent, query['colour']);
  const shown =
    checkpoint?.file.samplesDigest === latent.file.samplesDigest && map in checkpoint.file.maps ? checkpoint : latent;
  return (
    <>
      <Title latent={latent} />
      <div className="controls">
        <Choices latent={latent} map={map} colour={colour} />
        <TagChoice latent={latent} />
        <button aria-pressed={ends !== undefined} onClick={() => setEnds(ends ? undefined : pickedOnly)}>
          Morph
        </button>
        <Warnings otherSamples={second !== undefined && !same} error={secondError} />
      </div>
      <Checkpoints
        latent={latent}
        at={query['at'] || undefined}
        onChange={(next) => change({ at: next === id ? '' : next })}
      />
      {ends && <Morph latent={latent} ends={ends} onClose={() => setEnds(undefined)} />}
      <div className={second ? 'pair maps' : 'maps'}>
        <MapPanel
          latent={shown}
          frame={latent}
          map={map}
          colour={colour}
          focus={focus}
          ends={ends}
          onFocus={look}
          height={second ? 460 : 620}
        />
        {second && (
          <MapPanel
            latent={second}
            frame={second}
            colour={colouringIn(second, colour)}
            map={mapIn(second, map)}
            focus={same ? focus : apart}
            ends={same ? ends : undefined}
            onFocus={same ? look : setApart}
            height={460}
          />
        )}
      </div>
      <Neighbours
        latent={shown}
        some={pickedOnly}
        title={(file) =>
          `Nearest to ${labelOf(file, picked!) || 'sample'} (row ${file.rows[picked!]}) in the space itself`
        }
        onPick={(next) => look({ ...focus, picked: next })}
      />
      <FileSearch latent={shown} onPick={(next) => look({ ...focus, picked: next })} />
      <Selection latent={shown} tagging={latent} focus={focus} onFocus={look} />
      <Neighbours
        latent={shown}
        some={focus.selected}
        title={() => `Nearest to the middle of the ${focus.selected.length.toLocaleString('en')} chosen, of the others`}
        onPick={(next) => look({ ...focus, picked: next })}
      />
    </>
  );
}

function Warnings({ otherSamples, error }: { otherSamples: boolean; error: Error | null }) {
  return (
    <>
      {otherSamples && (
        <span className="dim">They show other samples: what you choose in one is not marked in the other.</span>
      )}
      {error && (
        <span className="bad" role="alert">
          {error.message}
        </span>
      )}
    </>
  );
}

function Title({ latent: { name, file } }: { latent: Latent }) {
  return (
    <div className="title">
      <h1>{name}</h1>
      <span className="dim">
        {file.rows.length.toLocaleString('en')} samples of the {file.split} split of {file.dataset.split('@')[0]},{' '}
        {file.dimensions} features
      </span>
    </div>
  );
}

/** Which map, by what its points are coloured, and which run's map stands beside it; all of it is in the address. */
function Choices({ latent, map, colour }: { latent: Latent; map: string; colour: Colour }) {
  const { query, change } = useRoute();
  const others = useLive(['runs', 'embeds'], () => client.runs({ kind: ['embed'], status: ['succeeded'], limit: 200 }));
  return (
    <>
      <Choice
        label="Map"
        value={map}
        onChange={(next) => change({ map: next })}
        options={Object.keys(latent.file.maps).map((each) => [each, MAP_NAMES[each] ?? each] as const)}
      />
      <Choice
        label="Coloured by"
        value={colour}
        onChange={(next) => change({ colour: next === 'class' ? '' : next })}
        options={coloursOf(latent.file)}
      />
      {latent.file.labels && !latent.file.predictions && (
        <span className="dim" title="A map by t-SNE or UMAP seeks them anyway.">
          no predictions: of more than 20,000 points their neighbours are sought only where a map needs them
        </span>
      )}
      <label>
        Beside it{' '}
        <select value={query['with'] ?? ''} onChange={({ target }) => change({ with: target.value })}>
          <option value="">no other</option>
          {others.data?.items
            .filter((run) => run.id !== latent.run.id)
            .map((run) => (
              <option key={run.id} value={run.id}>
                {runLabel(run)}
              </option>
            ))}
        </select>
      </label>
    </>
  );
}
