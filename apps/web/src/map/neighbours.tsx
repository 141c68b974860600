import { shortNumber } from '#libs/contracts';
import { useMemo } from 'react';
import { useLive } from '../data/queries.js';
import { Panel } from '../ui/panel.js';
import { Empty, Loaded } from '../ui/states.js';
import { labelOf, type Latent } from './latent-run.js';
import { nearestTo, readFeatures, type MapsFile } from './latent.js';
import { usePaths } from './paths.js';
import { Thumbnail } from './thumbnail.js';

export const NEIGHBOURS = 12;
export const LARGEST_FEATURES = 96e6;

export interface Found {
  point: number;
  distance: number;
}

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
            <FoundList latent={latent} found={found} onPick={onPick} self={some.length === 1 ? some[0] : undefined} />
          )}
        </Loaded>
      )}
    </Panel>
  );
}

/** Samples with how far each is; `self`: what they are nearest to, where that is one. */
export function FoundList({
  latent,
  found,
  self,
  onPick,
}: {
  latent: Latent;
  found: readonly Found[];
  self?: number | undefined;
  onPick: (point: number) => void;
}) {
  const { file } = latent;
  const pathOf = usePaths(file);
  return (
    <ul className="thumbnails">
      {self !== undefined && (
        <li className="self">
          <Thumbnail latent={latent} point={self} size={64} />
          <small>{pathOf(self) ?? 'this one'}</small>
        </li>
      )}
      {found.map(({ point, distance }) => (
        <li key={point}>
          <button
            className="bare"
            onClick={() => onPick(point)}
            aria-label={`Row ${file.rows[point]}: ${labelOf(file, point)} · ${shortNumber(distance)}`}
            title={pathOf(point)}
          >
            <Thumbnail latent={latent} point={point} size={64} />
            <small>
              {labelOf(file, point)} · {shortNumber(distance)}
            </small>
          </button>
        </li>
      ))}
    </ul>
  );
}
