import { Panel } from '../ui/panel.js';
import { MAP_NAMES } from './latent-run.js';
import { MapView } from './map-view.js';

export function MapPanel(props: Parameters<typeof MapView>[0]) {
  const {
    latent: { metrics, name },
    map,
  } = props;
  const quality = (
    [
      ['trustworthiness', 'trustworthiness'],
      ['neighbours_kept', 'neighbours kept'],
      ['knn_purity', 'kNN purity'],
      ['disparity', 'disparity'],
    ] as const
  ).flatMap(([key, word]) => {
    const value = metrics[`map/${map}/${key}`];
    return value === undefined ? [] : [`${word} ${value.toFixed(2)}`];
  });
  return (
    <Panel
      title={`${MAP_NAMES[map] ?? map}: ${name}`}
      aside={
        <span className="dim" title="What this map is worth against the space itself">
          {quality.join(' · ')}
        </span>
      }
    >
      <MapView {...props} />
    </Panel>
  );
}
