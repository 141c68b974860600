import type { Latent } from './latent-run.js';
import type { MapsFile } from './latent.js';

const tiles = new WeakMap<MapsFile, ReadonlyMap<number, number>>();

/** Which tile of the atlas a point has. */
function tileOf(file: MapsFile, point: number): number | undefined {
  let known = tiles.get(file);
  if (!known) tiles.set(file, (known = new Map(file.atlas.points.map((each, i) => [each, i]))));
  return known.get(point);
}

/** A sample's tile of the atlas; nothing where it has none. */
export function Thumbnail({
  latent: { file, atlas: urls },
  point,
  size,
}: {
  latent: Latent;
  point: number;
  size: number;
}) {
  const { atlas, classes, labels } = file;
  const place = tileOf(file, point);
  const perFile = atlas.perFile ?? atlas.points.length;
  const [part, tile] = place === undefined ? [-1, 0] : [Math.floor(place / perFile), place % perFile];
  if (!urls[part]) return null;
  const scale = size / Math.max(atlas.tile.width, atlas.tile.height);
  const rows = Math.ceil(Math.min(perFile, atlas.points.length - part * perFile) / atlas.columns);
  return (
    <i
      className="thumbnail"
      role="img"
      aria-label={labels ? (classes[labels[point]!] ?? 'sample') : 'sample'}
      style={{
        width: atlas.tile.width * scale,
        height: atlas.tile.height * scale,
        backgroundImage: `url(${urls[part]})`,
        backgroundSize: `${atlas.columns * atlas.tile.width * scale}px ${rows * atlas.tile.height * scale}px`,
        backgroundPosition:
          `-${(tile % atlas.columns) * atlas.tile.width * scale}px ` +
          `-${Math.floor(tile / atlas.columns) * atlas.tile.height * scale}px`,
      }}
    />
  );
}
