import type { MapContent } from '#libs/contracts';
import * as Plot from '@observablehq/plot';
import { Figure } from '../figures/figure.js';
import { normalised } from '../map/latent.js';
import { link } from '../route.js';
import { colourOf } from '../ui/colours.js';

export const MAP_WORDS: Record<string, string> = { pca: 'PCA', tsne: 't-SNE', umap: 'UMAP' };

/** How far the picture reaches beyond the outermost points, which lie at 1. */
const EDGE = 1.05;

/** A latent map as a picture: what of it fits in a report. */
export function MapFigure({ map, title }: { map: NonNullable<MapContent['map']>; title: string | undefined }) {
  const { x, y, labels, classes, samples } = map;
  const places = normalised({ x, y });
  const points = x.map((_, i) => ({
    x: places[2 * i]!,
    y: places[2 * i + 1]!,
    kind: labels ? (classes[labels[i]!] ?? '') : '',
    fill: colourOf(labels ? Math.max(0, labels[i]!) : 0),
  }));
  const shown = labels ? classes.map((name, i) => ({ name, i })).filter(({ i }) => labels.includes(i)) : [];
  const some =
    x.length < samples ? `${x.length.toLocaleString('en')} of ${samples.toLocaleString('en')}` : String(x.length);
  const kinds = shown.length > 0 ? ` of ${shown.map(({ name }) => name).join(', ')}` : '';
  const what = `${MAP_WORDS[map.name] ?? map.name} of ${map.label}`;
  return (
    <Figure
      title={title ?? what}
      name={`${map.label}-${map.name}`}
      data={[map.id, map.name, x, labels]}
      axis="x"
      caption={
        <>
          <a href={link(`maps/${map.id}`)}>{what}</a>: {some} samples of the {map.split} split
          {shown.length > 0 && ', coloured by class'}.
          <span className="legends">
            {shown.map(({ name, i }) => (
              <span key={i} className="legend">
                <i style={{ background: colourOf(i) }} />
                {name}
              </span>
            ))}
          </span>
        </>
      }
      description={`${what}: ${some} samples${kinds}`}
      rows={() => [['x', 'y', 'class'], ...points.map((point, i) => [x[i], y[i], point.kind])]}
      draw={(width) => {
        const height = Math.min(520, Math.max(260, width * 0.6));
        return {
          height,
          margin: 0,
          x: { axis: null, domain: [(-EDGE * width) / height, (EDGE * width) / height] },
          y: { axis: null, domain: [-EDGE, EDGE] },
          marks: [
            Plot.dot(points, { x: 'x', y: 'y', fill: 'fill', r: points.length > 1000 ? 1.5 : 3, fillOpacity: 0.8 }),
          ],
        };
      }}
    />
  );
}
