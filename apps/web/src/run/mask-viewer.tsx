import { useEffect, useMemo, useRef, useState } from 'react';
import { useLive } from '../data/queries.js';
import { useWhole } from '../figures/files.js';
import { toggled } from '../route.js';
import { Choice } from '../ui/controls.js';
import { Loaded } from '../ui/states.js';
import { classesOf, painted, rgbOf } from './mask-layers.js';

interface PixelClass {
  name: string;
  colour?: string;
}

/** Images in rows: the first as they are, each of the others under the colours of a layer. */
interface Layers {
  width: number;
  height: number;
  image: Uint8ClampedArray;
  layers: Uint8ClampedArray[];
}

/** The rows of a picture that has one for the images and one for each layer. `gap`: pixels between two rows. */
async function layersIn(url: string, count: number, gap: number): Promise<Layers> {
  const image = new Image();
  image.src = url;
  await image.decode();
  const [width, height] = [image.naturalWidth, Math.round((image.naturalHeight - count * gap) / (count + 1))];
  const canvas = Object.assign(document.createElement('canvas'), { width, height: image.naturalHeight });
  const context = canvas.getContext('2d', { willReadFrequently: true })!;
  context.drawImage(image, 0, 0);
  const row = (i: number) => context.getImageData(0, i * (height + gap), width, height).data;
  return { width, height, image: row(0), layers: Array.from({ length: count }, (_, i) => row(i + 1)) };
}

/** Masks over their images: which classes of which layer are seen, and how much of the image through them. */
export function MaskViewer({
  url,
  classes,
  layers,
  gap = 0,
  name,
}: {
  url: string;
  classes: readonly PixelClass[];
  /** What the layers are called. */
  layers: readonly string[];
  gap?: number;
  name: string;
}) {
  const picture = useLive(['layers', url], () => layersIn(url, layers.length, gap), { live: false });
  return (
    <Loaded query={picture} lines={3}>
      {(found) => <Viewer found={found} classes={classes} layers={layers} name={name} />}
    </Loaded>
  );
}

function Viewer({
  found,
  classes,
  layers,
  name,
}: {
  found: Layers;
  classes: readonly PixelClass[];
  layers: readonly string[];
  name: string;
}) {
  const [layer, setLayer] = useState(layers[0]!);
  const [shown, setShown] = useState<readonly number[]>(() => classes.map((_, label) => label));
  const [opacity, setOpacity] = useState(60);
  const canvas = useRef<HTMLCanvasElement>(null);
  const colours = useMemo(() => classes.map(({ colour }) => rgbOf(colour ?? '#808080')), [classes]);
  const ofPixels = useMemo(
    () => classesOf(found.image, found.layers[layers.indexOf(layer)]!, colours),
    [found, layers, layer, colours],
  );
  useEffect(() => {
    const { image, width, height } = found;
    const pixels = painted(image, ofPixels, colours, { shown: new Set(shown), opacity: opacity / 100 });
    canvas.current!.getContext('2d')!.putImageData(new ImageData(pixels, width, height), 0, 0);
  }, [found, ofPixels, colours, shown, opacity]);
  const names = shown.map((label) => classes[label]!.name).join(', ');
  const { element, menu } = useWhole(`Masks of ${name}`, { name: 'masks', drawn: () => canvas.current! });
  return (
    <div className="masks whole" ref={element as React.RefObject<HTMLDivElement>}>
      <div className="controls">
        {layers.length > 1 && (
          <Choice
            label="Layer"
            value={layer}
            onChange={setLayer}
            options={layers.map((each) => [each, each] as const)}
          />
        )}
        <label>
          Opacity{' '}
          <input
            type="range"
            min={0}
            max={100}
            value={opacity}
            aria-valuetext={`${opacity} %`}
            onChange={({ target }) => setOpacity(target.valueAsNumber)}
          />
        </label>
        {menu}
      </div>
      <canvas
        ref={canvas}
        width={found.width}
        height={found.height}
        role="img"
        aria-label={`Images under their ${layer.toLowerCase()}: ${names || 'no class'}`}
      />
      <div className="chips" role="group" aria-label="Classes of pixels that are shown">
        {classes.map(({ name: each, colour }, label) => (
          <button
            key={each}
            className="chip"
            aria-pressed={shown.includes(label)}
            onClick={() => setShown(toggled(shown, label))}
          >
            <i style={{ background: colour }} />
            {each}
          </button>
        ))}
      </div>
    </div>
  );
}
