import { shortNumber } from '#libs/contracts';
import { useMemo } from 'react';
import { useLive } from '../data/queries.js';
import { Panel } from '../ui/panel.js';
import { Empty, Loaded } from '../ui/states.js';
import { labelOf, type Latent } from './latent-run.js';
import { nearestTo, readFeatures, type MapsFile } from './latent.js';
import { Thumbnail } from './thumbnail.js';

const NEIGHBOURS = 12;

const LARGEST_FEATURES = 96e6;

/** The samples nearest to some in the space that was mapped: a map may show neighbours far apart. */
export function Neighbours({
  latent,
  some,
  title,
  onPick,
}: {
  latent: Latent;
  /** Points whose neighbours are sought: anew whenever this is another array. */
  some: readonly number[];
  title: (file: MapsFile) => string;
  onPick: (point: number) => void;
}) {
  const url = latent.features && latent.features.bytes <= LARGEST_FEATURES ? latent.features.url : undefined;
  const features = useLive(['features', url], async () => readFeatures(await (await fetch(url!)).arrayBuffer()), {
    live: false,
    enabled: url !== undefined && some.length > 0,
  });
  const found = useMemo(
    () => (features.data && some.length > 0 ? nearestTo(features.data, some, NEIGHBOURS) : []),
    [features.data, some],
  );
  if (some.length === 0 || some.length === latent.file.rows.length) return null;
  return (
    <Panel title={title(latent.file)}>
      {url === undefined ? (
        <Empty title="There are too many features to search them here." />
      ) : (
        <Loaded query={features} lines={1}>
          {() => (
            <ul className="thumbnails">
              {some.length === 1 && (
                <li className="self">
                  <Thumbnail latent={latent} point={some[0]!} size={64} />
                  <small>this one</small>
                </li>
              )}
              {found.map(({ point: other, distance }) => (
                <li key={other}>
                  <button
                    className="bare"
                    onClick={() => onPick(other)}
                    aria-label={`Row ${latent.file.rows[other]}: ${labelOf(latent.file, other)}`}
                  >
                    <Thumbnail latent={latent} point={other} size={64} />
                    <small>
                      {labelOf(latent.file, other)} · {shortNumber(distance)}
                    </small>
                  </button>
                </li>
              ))}
            </ul>
          )}
        </Loaded>
      )}
    </Panel>
  );
}
