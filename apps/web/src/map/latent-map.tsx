import { useState } from 'react';
import { Choice } from '../ui/controls.js';
import { Loaded } from '../ui/states.js';
import { MAP_NAMES, NOTHING, useLatent, type Focus } from './latent-run.js';
import { MapView } from './map-view.js';

/** A map on another page. */
export function LatentMap({ id, height }: { id: string; height: number }) {
  const latent = useLatent(id);
  const [focus, setFocus] = useState<Focus>(NOTHING);
  const [map, setMap] = useState<string>();
  return (
    <Loaded query={latent}>
      {(data) => {
        const names = Object.keys(data.file.maps);
        const shown = map ?? names.at(-1)!;
        return (
          <>
            <Choice
              label="Map"
              value={shown}
              onChange={setMap}
              options={names.map((each) => [each, MAP_NAMES[each] ?? each] as const)}
            />
            <MapView
              latent={data}
              frame={data}
              map={shown}
              colour="class"
              focus={focus}
              onFocus={setFocus}
              height={height}
            />
          </>
        );
      }}
    </Loaded>
  );
}
