import { useEffect, useEffectEvent, useMemo, useRef, useState } from 'react';
import { Choice } from '../ui/controls.js';
import { Empty } from '../ui/states.js';
import { Lasso } from './lasso.js';
import { labelOf, MAP_NAMES, type Colour, type Focus, type Latent } from './latent-run.js';
import { inside, normalised, onTheWay } from './latent.js';
import { Judgement, Legend, mistakesOf } from './legend.js';
import { isWrong, kindsOf, pointColours } from './point-colours.js';
import { drawsWebGl, Scatter } from './scatter.js';
import { Thumbnail } from './thumbnail.js';

/** How long points take from one checkpoint to the next. */
const MOVE_MS = 450;

interface ViewProps {
  latent: Latent;
  /** The map whose extent is the window: one run's checkpoints are seen in the same. */
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
  const box = useRef<HTMLDivElement>(null);
  const scatter = useRef<Scatter>(undefined);
  const [mode, setMode] = useState<'pan' | 'lasso'>('pan');
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

  const pick = useEffectEvent((point: number) => onFocus({ ...focus, picked: point }));
  const hover = useEffectEvent((point: number | undefined, x: number, y: number) =>
    setHovered(
      point === undefined
        ? undefined
        : { point, left: Math.min(x + 14, box.current!.clientWidth - 120), top: Math.min(y + 14, height - 130) },
    ),
  );
  const begin = useEffectEvent(() => ({ points, colours }));
  useEffect(() => {
    const created = (scatter.current = new Scatter(box.current!, {
      ...begin(),
      onHover: (point, x, y) => hover(point, x, y),
      onPick: (point) => pick(point),
    }));
    return () => {
      created.destroy();
      scatter.current = undefined;
    };
  }, []);
  useEffect(() => scatter.current?.update({ colours }), [colours]);
  const before = useRef({ points, frame, map });
  useEffect(() => {
    const { points: from, frame: window, map: was } = before.current;
    before.current = { points, frame, map };
    if (from === points) return;
    if (
      window !== frame ||
      was !== map ||
      from.length !== points.length ||
      matchMedia('(prefers-reduced-motion: reduce)').matches
    ) {
      scatter.current?.update({ points });
      if (window !== frame || was !== map) scatter.current?.fit();
      return;
    }
    // From checkpoint to checkpoint each point is followed by the eye.
    let timer = 0;
    const started = performance.now();
    const move = (now: number) => {
      const part = Math.min(1, Math.max(0, (now - started) / MOVE_MS));
      scatter.current?.update({ points: part === 1 ? points : onTheWay(from, points, part * part * (3 - 2 * part)) });
      if (part < 1) timer = requestAnimationFrame(move);
    };
    timer = requestAnimationFrame(move);
    return () => {
      cancelAnimationFrame(timer);
      scatter.current?.update({ points });
    };
  }, [points, frame, map]);

  const choose = (corners: readonly [number, number][]) => {
    if (!scatter.current) return;
    const polygon = corners.map(([x, y]) => scatter.current!.unproject(x, y));
    const kinds = kindsOf(file, colour);
    onFocus({ ...focus, selected: inside(points, polygon).filter((i) => only === undefined || kinds?.[i] === only) });
    setMode('pan');
  };
  return (
    <div className="map">
      <div className="controls">
        <Choice
          label="What dragging does"
          value={mode}
          onChange={setMode}
          options={[
            ['pan', 'Move'],
            ['lasso', 'Lasso'],
          ]}
        />
        <span className="actions">
          <button onClick={() => scatter.current?.zoom(0.7)} aria-label="Nearer">
            +
          </button>
          <button onClick={() => scatter.current?.zoom(-0.7)} aria-label="Farther">
            −
          </button>
          <button onClick={() => scatter.current?.fit()}>Whole</button>
        </span>
        {selected.length > 0 && (
          <button onClick={() => onFocus({ ...focus, selected: [] })}>
            Forget the {selected.length.toLocaleString('en')} chosen
          </button>
        )}
      </div>
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
      <Legend
        file={file}
        colour={colour}
        only={only}
        onOnly={setOnly}
        onList={(listed) => onFocus({ ...focus, selected: listed })}
      />
    </div>
  );
}

/** What the colours say, for those who don't see them. */
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
