import { useMemo, useState, type ReactNode } from 'react';
import { fileName, useWhole } from '../figures/files.js';
import { toggled } from '../route.js';
import { Choice, Menu } from '../ui/controls.js';
import { fullHeight } from '../ui/full-screen.js';
import { Empty } from '../ui/states.js';
import { ClusterLabels } from './cluster-labels.js';
import { clustersOf, contoursOf, densityOf, type Cluster } from './density.js';
import { Lasso } from './lasso.js';
import { labelOf, MAP_NAMES, type Colour, type Focus, type Latent } from './latent-run.js';
import { inside, normalised } from './latent.js';
import { Judgement, Legend, mistakesOf } from './legend.js';
import { circlesOf, pixelsOf } from './map-picture.js';
import { usePaths } from './paths.js';
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
  const [overlays, setOverlays] = useState<readonly string[]>([]);
  const { lines, clusters } = useDensity(points, kindsOf(file, colour), overlays);
  const { box, scatter } = useScatter(points, colours, frame, map, lines, {
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
  const title = `${MAP_NAMES[map] ?? map} of ${latent.name}`;
  const pathOf = usePaths(file);
  const { element, full, menu } = useWhole(title, {
    name: fileName(title),
    drawn: () => circlesOf(scatter.current!.shown()),
    pixels: () => pixelsOf(scatter.current!.shown()),
    rows: () => mapRows(file, map, pathOf),
  });
  return (
    <div className="map whole" ref={element as React.RefObject<HTMLDivElement>}>
      <Controls
        overlays={overlays}
        onOverlay={(id) => setOverlays(toggled(overlays, id))}
        menu={menu}
        mode={mode}
        onMode={setMode}
        selected={selected.length}
        onForget={() => select([])}
        onZoom={(by) => scatter.current?.zoom(by)}
        onFit={() => scatter.current?.fit()}
      />
      <div className="canvas" style={{ height: full ? fullHeight() - 60 : height }}>
        <div
          ref={box}
          className="plot"
          role="img"
          aria-label={`${MAP_NAMES[map] ?? map} of ${file.rows.length} samples, coloured by ${inWords(file, colour)}`}
        />
        {clusters.length > 0 && <ClusterLabels clusters={clusters} classes={file.classes} scatter={scatter} />}
        {mode === 'lasso' && <Lasso onDrawn={choose} />}
        {hovered !== undefined && mode === 'pan' && (
          <Tooltip latent={latent} path={pathOf(hovered.point)} {...hovered} />
        )}
      </div>
      <Judgement file={file} colour={colour} />
      <Legend file={file} colour={colour} only={only} onOnly={setOnly} onList={select} />
    </div>
  );
}

/** The contours and the clusters that are to be seen over a map. */
function useDensity(
  points: Float32Array,
  kinds: readonly number[] | null | undefined,
  overlays: readonly string[],
): { lines: Float32Array | undefined; clusters: readonly Cluster[] } {
  const wanted = overlays.length > 0;
  const density = useMemo(() => (wanted ? densityOf(points) : undefined), [points, wanted]);
  const lines = useMemo(
    () => (density && overlays.includes('contours') ? joined(contoursOf(density, LEVELS)) : undefined),
    [density, overlays],
  );
  const clusters = useMemo(
    () => (density && overlays.includes('clusters') ? clustersOf(points, density, kinds) : NONE),
    [points, density, kinds, overlays],
  );
  return { lines, clusters };
}
/** Parts of the largest density at which there is a contour. */
const LEVELS = [0.05, 0.15, 0.35, 0.65];
const NONE: readonly Cluster[] = [];

function joined(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** All points of a map as a table. */
function mapRows(file: Latent['file'], map: string, pathOf: (point: number) => string | undefined) {
  const { x, y } = file.maps[map]!;
  return [
    ['row', 'path', 'class', 'prediction', 'x', 'y'],
    ...file.rows.map((row, i) => [
      row,
      pathOf(i),
      labelOf(file, i),
      file.predictions ? file.classes[file.predictions[i]!] : undefined,
      x[i],
      y[i],
    ]),
  ];
}

function Controls({
  overlays,
  onOverlay,
  menu,
  mode,
  onMode,
  selected,
  onForget,
  onZoom,
  onFit,
}: {
  overlays: readonly string[];
  onOverlay: (id: string) => void;
  menu: ReactNode;
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
      <Menu
        title="Show"
        name="What is shown over the points"
        options={[
          { id: 'contours', label: 'contours of the density' },
          { id: 'clusters', label: 'what clusters are made of' },
        ]}
        chosen={overlays}
        onToggle={onOverlay}
      />
      {menu}
      {selected > 0 && <button onClick={onForget}>Forget the {selected.toLocaleString('en')} chosen</button>}
    </div>
  );
}

/** Meaning of the colours in words, for those who don't see them. */
function inWords(file: Latent['file'], colour: Colour): string {
  if (colour === 'error') return `what was taken for another class: ${mistakesOf(file).length}`;
  return `${file.classes.length} ${colour === 'prediction' ? 'predicted ' : ''}classes`;
}

function Tooltip({ latent, path, point, left, top }: { latent: Latent; path: string | undefined } & Hovered) {
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
        <small>
          row {file.rows[point]}
          {path && `, ${path}`}
        </small>
      </span>
    </div>
  );
}
