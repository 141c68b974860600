import { useMemo, useState } from 'react';
import { Choice } from '../ui/controls.js';
import { Empty } from '../ui/states.js';
import { Lasso } from './lasso.js';
import { labelOf, MAP_NAMES, type Colour, type Focus, type Latent } from './latent-run.js';
import { inside, normalised } from './latent.js';
import { Judgement, Legend, mistakesOf } from './legend.js';
import { isWrong, kindsOf, pointColours } from './point-colours.js';
import { drawsWebGl } from './scatter.js';
import { Thumbnail } from './thumbnail.js';
import { useScatter } from './use-scatter.js';

/** What dragging does. */
type Mode = 'pan' | 'lasso';

interface ViewProps {
  latent: Latent;
  /** The map whose extent fills the view: all checkpoints of a run are shown in the same frame. */
  frame: Latent;
  map: string;
  colour: Colour;
  focus: Focus;
  ends?: readonly number[] | undefined;
  height: number;
  onFocus: (focus: Focus) => void;
}

/** A point under the pointer, and where its tooltip goes. */
interface Hovered {
  point: number;
  left: number;
  top: number;
}

export function MapView(props: ViewProps) {
  if (drawsWebGl()) return <PointMap {...props} />;
  return (
    <Empty title="This browser draws no WebGL.">
      <p>
        The files of the run hold the map as <code>maps.json</code> and <code>embeddings.parquet</code>.
      </p>
    </Empty>
  );
}

function PointMap({ latent, frame, map, colour, focus, ends, onFocus, height }: ViewProps) {
  const { file } = latent;
  const [mode, setMode] = useState<Mode>('pan');
  const [hovered, setHovered] = useState<Hovered>();
  const [only, setOnly] = useState<number>();
  const points = useMemo(() => normalised(file.maps[map]!, frame.file.maps[map]), [file, frame, map]);
  const { selected, picked } = focus;
  const colours = useMemo(
    () =>
      pointColours(file, colour, {
        selected,
        marked: [...(ends ?? []), ...(picked === undefined ? [] : [picked])],
        only,
      }),
    [file, colour, selected, picked, ends, only],
  );
  const { box, scatter } = useScatter(points, colours, frame, map, {
    onHover: (point, x, y) =>
      setHovered(
        point === undefined
          ? undefined
          : { point, left: Math.min(x + 14, box.current!.clientWidth - 120), top: Math.min(y + 14, height - 130) },
      ),
    onPick: (point) => onFocus({ ...focus, picked: point }),
  });
  const choose = (corners: readonly [number, number][]) => {
    if (!scatter.current) return;
    const polygon = corners.map(([x, y]) => scatter.current!.unproject(x, y));
    const kinds = kindsOf(file, colour);
    onFocus({ ...focus, selected: inside(points, polygon).filter((i) => only === undefined || kinds?.[i] === only) });
    setMode('pan');
  };
  const select = (listed: number[]) => onFocus({ ...focus, selected: listed });
  return (
    <div className="map">
      <Controls
        mode={mode}
        onMode={setMode}
        selected={selected.length}
        onForget={() => select([])}
        onZoom={(by) => scatter.current?.zoom(by)}
        onFit={() => scatter.current?.fit()}
      />
      <div className="canvas" style={{ height }}>
        <div
          ref={box}
          className="plot"
          role="img"
          aria-label={`${MAP_NAMES[map] ?? map} of ${file.rows.length} samples, coloured by ${inWords(file, colour)}`}
        />
        {mode === 'lasso' && <Lasso onDrawn={choose} />}
        {hovered !== undefined && mode === 'pan' && <Tooltip latent={latent} {...hovered} />}
      </div>
      <Judgement file={file} colour={colour} />
      <Legend file={file} colour={colour} only={only} onOnly={setOnly} onList={select} />
    </div>
  );
}

function Controls({
  mode,
  onMode,
  selected,
  onForget,
  onZoom,
  onFit,
}: {
  mode: Mode;
  onMode: (mode: Mode) => void;
  selected: number;
  onForget: () => void;
  onZoom: (by: number) => void;
  onFit: () => void;
}) {
  return (
    <div className="controls">
      <Choice
        label="What dragging does"
        value={mode}
        onChange={onMode}
        options={[
          ['pan', 'Move'],
          ['lasso', 'Lasso'],
        ]}
      />
      <span className="actions">
        <button onClick={() => onZoom(0.7)} aria-label="Nearer">
          +
        </button>
        <button onClick={() => onZoom(-0.7)} aria-label="Farther">
          −
        </button>
        <button onClick={onFit}>Whole</button>
      </span>
      {selected > 0 && <button onClick={onForget}>Forget the {selected.toLocaleString('en')} chosen</button>}
    </div>
  );
}

/** Meaning of the colours in words, for those who don't see them. */
function inWords(file: Latent['file'], colour: Colour): string {
  if (colour === 'error') return `what was taken for another class: ${mistakesOf(file).length}`;
  return `${file.classes.length} ${colour === 'prediction' ? 'predicted ' : ''}classes`;
}

function Tooltip({ latent, point, left, top }: { latent: Latent } & Hovered) {
  const { file } = latent;
  return (
    <div className="tooltip" style={{ left, top }}>
      <Thumbnail latent={latent} point={point} size={88} />
      <span>
        {labelOf(file, point)}
        {file.predictions && file.labels && isWrong(file, point) && (
          <>
            <br />
            <span className="bad">taken for {file.classes[file.predictions[point]!]}</span>
          </>
        )}
        <br />
        <small>row {file.rows[point]}</small>
      </span>
    </div>
  );
}
