import { useEffect, useMemo, useRef, useState } from 'react';
import { colourOf } from '../ui/colours.js';
import { Choice } from '../ui/controls.js';
import { Empty } from '../ui/states.js';
import { labelOf, MAP_NAMES, type Colour, type Focus, type Latent } from './latent-run.js';
import { inside, normalised, onTheWay } from './latent.js';
import { Scatter } from './scatter.js';
import { Thumbnail } from './thumbnail.js';

/** How long points take from one checkpoint to the next. */
const MOVE_MS = 450;

const rgb = (hex: string): [number, number, number] =>
  [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)) as [number, number, number];

const [RIGHT, WRONG, CHOSEN] = [rgb('#7a8694'), rgb('#d6455d'), [255, 140, 0, 255]] as const;

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

export function MapView({ latent, frame, map, colour, focus, ends, onFocus, height }: ViewProps) {
  const { file } = latent;
  const box = useRef<HTMLDivElement>(null);
  const scatter = useRef<Scatter>(undefined);
  const [mode, setMode] = useState<'pan' | 'lasso'>('pan');
  const [trace, setTrace] = useState<[number, number][]>([]);
  const [hovered, setHovered] = useState<{ point: number; x: number; y: number }>();
  const [only, setOnly] = useState<number>();
  const [fault, setFault] = useState<string>();
  const points = useMemo(() => normalised(file.maps[map]!, frame.file.maps[map]), [file, frame, map]);
  const latest = useRef({ focus, onFocus });
  useEffect(() => {
    latest.current = { focus, onFocus };
  });
  // What a point is shown as: its class, or what it is taken for.
  const kinds = colour === 'prediction' ? file.predictions : file.labels;
  const wrong = (i: number) => file.predictions?.[i] !== file.labels?.[i];

  const colours = useMemo(() => {
    const selected = new Set(focus.selected);
    const marked = new Set([...(ends ?? []), ...(focus.picked === undefined ? [] : [focus.picked])]);
    const table = file.classes.map((_, i) => rgb(colourOf(i)));
    const all = new Uint8Array(4 * file.rows.length);
    for (let i = 0; i < file.rows.length; i++) {
      const kind = kinds?.[i];
      const [r, g, b] =
        colour === 'error'
          ? wrong(i)
            ? WRONG
            : RIGHT
          : kind === undefined
            ? (table[0] ?? rgb(colourOf(0)))
            : table[kind]!;
      const faded = (selected.size > 0 && !selected.has(i)) || (only !== undefined && kind !== only);
      all.set(marked.has(i) ? CHOSEN : [r, g, b, faded ? 28 : colour === 'error' && !wrong(i) ? 90 : 205], 4 * i);
    }
    return all;
  }, [file, colour, focus.selected, focus.picked, ends, only]);

  useEffect(() => {
    try {
      const created = (scatter.current = new Scatter(box.current!, {
        points,
        colours,
        onHover: (point, x, y) => setHovered(point === undefined ? undefined : { point, x, y }),
        onPick: (picked) => latest.current.onFocus({ ...latest.current.focus, picked }),
      }));
      return () => {
        created.destroy();
        scatter.current = undefined;
      };
    } catch (error) {
      setFault(error instanceof Error ? error.message : String(error));
    }
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

  const at = ({ clientX, clientY }: { clientX: number; clientY: number }): [number, number] => {
    const { left, top } = box.current!.getBoundingClientRect();
    return [clientX - left, clientY - top];
  };
  const finish = () => {
    if (!scatter.current) return;
    const polygon = trace.map(([x, y]) => scatter.current!.unproject(x, y));
    setTrace([]);
    onFocus({ ...focus, selected: inside(points, polygon).filter((i) => only === undefined || kinds?.[i] === only) });
    setMode('pan');
  };
  if (fault)
    return (
      <Empty title="This browser draws no WebGL.">
        <p>
          {fault}. The files of the run hold the map as <code>maps.json</code> and <code>embeddings.parquet</code>.
        </p>
      </Empty>
    );
  const mistakes = colour === 'error' ? file.rows.reduce((sum, _, i) => sum + Number(wrong(i)), 0) : 0;
  const coloured =
    colour === 'error'
      ? `what was taken for another class: ${mistakes}`
      : `${file.classes.length} ${colour === 'prediction' ? 'predicted ' : ''}classes`;
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
        {focus.selected.length > 0 && (
          <button onClick={() => onFocus({ ...focus, selected: [] })}>
            Forget the {focus.selected.length.toLocaleString('en')} chosen
          </button>
        )}
      </div>
      <div className="canvas" style={{ height }}>
        <div
          ref={box}
          className="plot"
          role="img"
          aria-label={`${MAP_NAMES[map] ?? map} of ${file.rows.length} samples, coloured by ${coloured}`}
        />
        {mode === 'lasso' && (
          <svg
            className="lasso"
            onPointerDown={(event) => {
              event.currentTarget.setPointerCapture(event.pointerId);
              setTrace([at(event)]);
            }}
            onPointerMove={(event) => {
              if (trace.length) setTrace([...trace, at(event)]);
            }}
            onPointerUp={finish}
            onPointerCancel={() => setTrace([])}
          >
            {trace.length > 1 && <polygon points={trace.map((each) => each.join()).join(' ')} />}
          </svg>
        )}
        {hovered !== undefined && mode === 'pan' && (
          <div
            className="tooltip"
            style={{
              left: Math.min(hovered.x + 14, (box.current?.clientWidth ?? 300) - 120),
              top: Math.min(hovered.y + 14, height - 130),
            }}
          >
            <Thumbnail latent={latent} point={hovered.point} size={88} />
            <span>
              {labelOf(file, hovered.point)}
              {file.predictions && file.labels && wrong(hovered.point) && (
                <>
                  <br />
                  <span className="bad">taken for {file.classes[file.predictions[hovered.point]!]}</span>
                </>
              )}
              <br />
              <small>row {file.rows[hovered.point]}</small>
            </span>
          </div>
        )}
      </div>
      {file.predictions && colour !== 'class' && (
        <p className="dim">
          {file.predictedBy === 'classifier'
            ? 'What the run’s own classifier says of each sample'
            : 'What most of the nearest others in the space are'}
          {colour === 'error' && (
            <>
              : <b>{mistakes.toLocaleString('en')}</b> of {file.rows.length.toLocaleString('en')} are taken for another
              class than theirs
            </>
          )}
          .
        </p>
      )}
      {colour === 'error' ? (
        <div className="legends">
          <span className="legend">
            <i style={{ background: '#d6455d' }} />
            wrong
          </span>
          <span className="legend">
            <i style={{ background: '#7a8694' }} />
            right
          </span>
          {mistakes > 0 && (
            <button
              className="quiet"
              onClick={() => onFocus({ ...focus, selected: file.rows.flatMap((_, i) => (wrong(i) ? [i] : [])) })}
            >
              List what is wrong
            </button>
          )}
        </div>
      ) : (
        kinds && (
          <div className="chips" role="group" aria-label="Classes">
            {file.classes.map((name, i) => (
              <button
                key={name}
                className="chip"
                aria-pressed={only === i}
                onClick={() => setOnly(only === i ? undefined : i)}
              >
                <i style={{ background: colourOf(i) }} />
                {name}
              </button>
            ))}
            {only !== undefined && (
              <button
                className="quiet"
                onClick={() =>
                  onFocus({ ...focus, selected: file.rows.flatMap((_, i) => (kinds[i] === only ? [i] : [])) })
                }
              >
                List this class
              </button>
            )}
          </div>
        )
      )}
    </div>
  );
}
